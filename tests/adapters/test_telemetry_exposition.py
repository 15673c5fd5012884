"""Metrics over unix sockets: whole or nothing, private, and never waiting for ever."""

import asyncio
import select
import socket
import stat

import pytest

from verismo.adapters import telemetry_exposition
from verismo.adapters.telemetry_exposition import (
    PATH_BYTES_MAX,
    read_expositions,
    serve_exposition,
    socket_path,
)
from verismo.model.errors import StateError

TEXT = b"# TYPE a gauge\na 1\n# EOF\n"


@pytest.fixture
def run(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(telemetry_exposition, "READ_S_MAX", 0.05)


async def test_every_worker_is_asked(run):
    texts = {"s0": TEXT, "s1": b"# EOF\n"}
    servers = [await serve_exposition(socket_path(run, s), lambda t=t: t) for s, t in texts.items()]
    try:
        assert await read_expositions(run, ["s0", "s1"]) == texts
        assert await read_expositions(run, ["s0"]) == {"s0": TEXT}
    finally:
        for server in servers:
            server.close()


async def test_a_large_text_arrives_whole(run):
    large = b"x" * 5_000_000 + b"\n# EOF\n"
    async with await serve_exposition(socket_path(run, "s0"), lambda: large):
        assert await read_expositions(run, ["s0"]) == {"s0": large}


async def test_the_socket_is_its_owners_alone(run):
    path = socket_path(run, "s0")
    async with await serve_exposition(path, lambda: TEXT):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(run.stat().st_mode) == 0o700


async def test_a_socket_that_a_dead_worker_left_is_replaced(run):
    path = socket_path(run, "s0")
    first = await serve_exposition(path, lambda: b"old\n# EOF\n")
    first.close()
    path.touch()
    async with await serve_exposition(path, lambda: TEXT):
        assert await read_expositions(run, ["s0"]) == {"s0": TEXT}


async def test_a_worker_that_is_not_there_gives_nothing(run):
    assert await read_expositions(run, ["s0"]) == {"s0": b""}


async def test_a_socket_that_nobody_serves_gives_nothing(run):
    path = socket_path(run, "s0")
    server = await serve_exposition(path, lambda: TEXT)
    server.close()
    await server.wait_closed()
    assert await read_expositions(run, ["s0"]) == {"s0": b""}


async def test_a_text_that_was_cut_off_counts_as_none(run):
    async with await serve_exposition(socket_path(run, "s0"), lambda: TEXT[:-3]):
        assert await read_expositions(run, ["s0"]) == {"s0": b""}


async def test_a_text_over_the_limit_counts_as_none(run, monkeypatch):
    monkeypatch.setattr(telemetry_exposition, "EXPOSITION_BYTES_MAX", 10)
    async with await serve_exposition(socket_path(run, "s0"), lambda: TEXT):
        assert await read_expositions(run, ["s0"]) == {"s0": b""}


async def test_a_worker_that_hangs_is_given_up(run, impatient):
    run.mkdir()
    ended = asyncio.Event()

    async def hang(_, writer):
        await ended.wait()
        writer.close()

    async with await asyncio.start_unix_server(hang, socket_path(run, "s0")):
        assert await read_expositions(run, ["s0"]) == {"s0": b""}
        ended.set()


async def test_a_reader_that_does_not_read_is_cut_off(run, impatient):
    path = socket_path(run, "s0")
    async with await serve_exposition(path, lambda: b"x" * 20_000_000):
        with socket.socket(socket.AF_UNIX) as idle:
            idle.connect(str(path))
            watch = select.poll()
            watch.register(idle, 0)
            [(_, what)] = await asyncio.to_thread(watch.poll, 5_000)
            assert what & select.POLLHUP


async def test_a_path_too_long_for_a_socket_names_the_remedy(tmp_path):
    path = tmp_path / ("x" * PATH_BYTES_MAX)
    with pytest.raises(StateError) as raised:
        await serve_exposition(path, lambda: TEXT)
    assert "shorter path" in raised.value.advice


async def test_a_folder_that_cannot_be_made_is_a_state_error(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(StateError):
        await serve_exposition(socket_path(tmp_path / "run", "s0"), lambda: TEXT)
