"""The file sink: on the disk before `send` returns, whole lines only, nothing written twice."""

import asyncio
import errno
import gzip
import os
import stat
from pathlib import Path

import pytest
from tests.ports.siem_conformance import SinkConformance, events_of

from verismo.adapters.siem_file import CURRENT, FileSink, FileSinkReader, FileSinkSettings
from verismo.model.errors import StateError
from verismo.ports.siem import SinkUnavailable

DAY_S = 86_400


class FilePlace:
    def __init__(self, folder: Path) -> None:
        self.folder = folder / "siem"
        self.sink = FileSink(FileSinkSettings(self.folder), lambda: os.stat(folder).st_mtime)

    async def received(self):
        path = self.folder / CURRENT
        return path.read_bytes().splitlines() if path.exists() else []

    async def go_away(self) -> None:
        await self.sink.aclose()
        if self.folder.exists():
            self.folder.rename(self.folder.with_name("aside"))
        self.folder.write_text("not a folder")

    async def come_back(self) -> None:
        self.folder.unlink()
        aside = self.folder.with_name("aside")
        if aside.exists():
            aside.rename(self.folder)


@pytest.fixture
async def place(tmp_path):
    place = FilePlace(tmp_path)
    yield place
    await place.sink.aclose()


@pytest.fixture
async def make_sink(tmp_path):
    made = []

    def make(now_s=None, **settings):
        clock = now_s or (lambda: (tmp_path / CURRENT).stat().st_mtime)
        made.append(FileSink(FileSinkSettings(tmp_path, **settings), clock))
        return made[-1]

    yield make
    for sink in made:
        await sink.aclose()


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def lines(folder):
    return [line.rstrip(b"\n") for line in FileSinkReader(folder).lines(0, 1)]


class TestFileSink(SinkConformance):
    pass


async def test_file_is_its_groups_to_read_and_nobody_elses(make_sink, tmp_path):
    await make_sink().send(events_of(1))
    assert stat.S_IMODE((tmp_path / CURRENT).stat().st_mode) & ~0o640 == 0


async def test_lines_are_flushed_before_send_returns(make_sink, tmp_path, monkeypatch):
    flushed = []
    real = os.fsync

    def noting(descriptor):
        flushed.append((os.fstat(descriptor).st_ino, os.fstat(descriptor).st_size))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    events = events_of(3)
    await make_sink().send(events)
    status = (tmp_path / CURRENT).stat()
    assert flushed[-1] == (status.st_ino, status.st_size)
    assert status.st_size == sum(len(event.data) + 1 for event in events)


@pytest.mark.parametrize("failing", ["write", "fsync"])
async def test_full_disk_leaves_no_part_of_the_batch(make_sink, tmp_path, monkeypatch, failing):
    sink = make_sink()
    await sink.send(events_of(1))
    before = (tmp_path / CURRENT).read_bytes()
    with monkeypatch.context() as patched:

        def full(descriptor, data=b""):
            if data:
                real_write(descriptor, data[:100])
            raise OSError(errno.ENOSPC, "No space left on device")

        real_write = os.write
        patched.setattr(os, failing, full)
        with pytest.raises(SinkUnavailable, match="No space"):
            await sink.send(events_of(2, first=1))
    assert (tmp_path / CURRENT).read_bytes() == before
    await sink.send(events_of(2, first=1))
    assert len(lines(tmp_path)) == 3


async def test_short_writes_are_gone_on_with(make_sink, tmp_path, monkeypatch):
    real_write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real_write(fd, data[:97]))
    events = events_of(3)
    await make_sink().send(events)
    assert lines(tmp_path) == [event.data for event in events]


@pytest.mark.parametrize("tail", [b'{"torn":', b"x" * 200_000])
async def test_torn_last_line_of_a_crash_is_cut_off(make_sink, tmp_path, tail):
    events = events_of(2)
    path = tmp_path / CURRENT
    path.write_bytes(events[0].data + b"\n" + tail)
    await make_sink().send(events[1:])
    assert path.read_bytes() == b"".join(event.data + b"\n" for event in events)


async def test_file_without_any_line_end_is_emptied(make_sink, tmp_path):
    (tmp_path / CURRENT).write_bytes(b"torn" * 50_000)
    [event] = events_of(1)
    await make_sink().send([event])
    assert (tmp_path / CURRENT).read_bytes() == event.data + b"\n"


async def test_full_file_is_rotated_before_it_grows_past_its_limit(make_sink, tmp_path):
    sink = make_sink(rotate_bytes_max=10_000)
    events = events_of(30)
    for start in range(0, 30, 2):
        await sink.send(events[start : start + 2])
    assert len(files(tmp_path)) > 3
    assert all(path.stat().st_size <= 10_000 for path in tmp_path.iterdir())
    assert sorted(lines(tmp_path)) == sorted(event.data for event in events)


async def test_new_period_begins_a_new_file(make_sink, tmp_path):
    now_s = [DAY_S * 20_000.0]
    sink = make_sink(lambda: now_s[0])
    await sink.send(events_of(1))
    os.utime(tmp_path / CURRENT, (now_s[0], now_s[0]))
    await sink.send(events_of(1, first=1))
    assert files(tmp_path) == [CURRENT]
    now_s[0] += DAY_S
    os.utime(tmp_path / CURRENT, (now_s[0] - DAY_S, now_s[0] - DAY_S))
    await sink.send(events_of(1, first=2))
    assert files(tmp_path) == ["events-20241005T000000Z-2.ndjson", CURRENT]


async def test_rotated_file_is_never_written_over(make_sink, tmp_path):
    sink = make_sink(lambda: 0.0, rotate_bytes_max=1, rotate_s_max=10**12)
    for _ in range(3):
        await sink.send(events_of(1))
    assert len(files(tmp_path)) == 3
    assert len(lines(tmp_path)) == 3


async def test_file_that_a_rotation_tool_moved_is_begun_anew(make_sink, tmp_path):
    sink = make_sink()
    events = events_of(2)
    await sink.send(events[:1])
    (tmp_path / CURRENT).rename(tmp_path / "events-moved.ndjson")
    await sink.send(events[1:])
    assert (tmp_path / CURRENT).read_bytes() == events[1].data + b"\n"
    assert lines(tmp_path) == [events[1].data, events[0].data]


async def test_second_writer_is_refused(make_sink):
    first, second = make_sink(), make_sink()
    await first.send(events_of(1))
    with pytest.raises(SinkUnavailable, match="another process"):
        await second.send(events_of(1))
    await first.aclose()
    await second.send(events_of(1))


async def test_path_that_is_no_file_is_refused(make_sink, tmp_path):
    os.mkfifo(tmp_path / CURRENT)
    with pytest.raises(SinkUnavailable, match="regular file"):
        await make_sink().send(events_of(1))


async def test_line_being_written_is_not_read_back(make_sink, tmp_path):
    await make_sink().send(events_of(1))
    with (tmp_path / CURRENT).open("ab") as stream:
        stream.write(b'{"half":')
    assert lines(tmp_path) == [events_of(1)[0].data]


def test_compressed_files_are_read_back(tmp_path):
    (tmp_path / "events-1.ndjson.gz").write_bytes(gzip.compress(b"one\n"))
    (tmp_path / "events-2.ndjson").write_bytes(b"two\n")
    assert sorted(lines(tmp_path)) == [b"one", b"two"]


def test_one_file_is_read_back(tmp_path):
    (tmp_path / "received.log").write_bytes(b"one\ntwo\nhal")
    assert lines(tmp_path / "received.log") == [b"one", b"two"]


def test_file_renamed_while_it_is_read_is_read_once(tmp_path):
    (tmp_path / CURRENT).write_bytes(b"one\ntwo\n")
    reading = FileSinkReader(tmp_path).lines(0, 1)
    assert next(reading) == b"one\n"
    (tmp_path / CURRENT).rename(tmp_path / "events-9.ndjson")
    assert list(reading) == [b"two\n"]


@pytest.mark.parametrize("damage", ["absent", "cut"])
def test_what_cannot_be_read_back_says_what_to_do(tmp_path, damage):
    path = tmp_path / "events-1.ndjson.gz"
    if damage == "cut":
        path.write_bytes(gzip.compress(b"one\n")[:-3])
    with pytest.raises(StateError, match="read back"):
        lines(path)


async def test_cancelled_send_leaves_whole_lines(make_sink, tmp_path):
    sink = make_sink()
    sending = asyncio.create_task(sink.send(events_of(50)))
    await asyncio.sleep(0)
    sending.cancel()
    await asyncio.wait({sending})
    await sink.send(events_of(1))
    found = lines(tmp_path)
    assert set(found) <= {event.data for event in events_of(50)}
