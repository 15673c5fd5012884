"""The syslog sink: RFC 5424 messages, octet-counted, handed over before `send` returns."""

import asyncio
import re
import shutil
import socket
from pathlib import Path

import msgspec
import pytest
from tests.ports.siem_conformance import SinkConformance, arrived, events_of
from tests.ports.upstream_tls import ELSEWHERE, authority, server_context
from tests.support.collector import SyslogReceiver
from tests.support.waiting import until

from verismo.adapters.siem_file import FileSinkReader
from verismo.adapters.siem_syslog import SyslogSettings, SyslogSink, syslog_message
from verismo.ports.siem import SinkUnavailable

SHIPPED = Path(__file__).parents[2] / "deploy" / "siem" / "rsyslog.conf"
SETTINGS = SyslogSettings("127.0.0.1", 1, hostname="gw.example")
HEADER = re.compile(
    rb"<(?P<pri>\d{1,3})>1 (?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) "
    rb"(?P<host>[!-~]{1,255}) (?P<app>[!-~]{1,48}) - (?P<msgid>[!-~]{1,32}) "
    rb'(?P<sd>\[[!-~]{1,32}(?: [!-~]{1,32}="(?:[^"\\\]]|\\["\\\]])*")*\]) (?P<msg>\{.*)',
    re.DOTALL,
)


def event_in(message):
    return HEADER.fullmatch(message)["msg"]


class ReceiverPlace:
    def __init__(self) -> None:
        self.receiver = SyslogReceiver()
        self.sink: SyslogSink

    async def received(self):
        return [event_in(message) for message in self.receiver.messages]

    async def go_away(self) -> None:
        await self.receiver.stop()

    async def come_back(self) -> None:
        await self.receiver.start()


@pytest.fixture
async def place():
    place = ReceiverPlace()
    await place.receiver.start()
    place.sink = SyslogSink(SyslogSettings("127.0.0.1", place.receiver.port, timeout_s=2.0))
    yield place
    await place.sink.aclose()
    await place.receiver.stop()


class TestSyslogSink(SinkConformance):
    pass


class RsyslogPlace:
    """Debian's rsyslog as a process of its own, on a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.file = folder / "received.ndjson"
        self.process: asyncio.subprocess.Process
        self.sink: SyslogSink

    async def start(self) -> None:
        port_file = self.folder / "port"
        config = self.folder / "rsyslog.conf"
        listener = f'port="{self.port}" listenPortFileName="{port_file}"'
        text = SHIPPED.read_text().replace('port="6514"', listener)
        text = text.replace("/var/log/verismo.ndjson", str(self.file))
        config.write_text(f'global(workDirectory="{self.folder}")\n{text}')
        program = shutil.which("rsyslogd")
        self.process = await asyncio.create_subprocess_exec(
            program, "-n", "-i", "NONE", "-f", str(config)
        )
        await until(lambda: port_file.exists() and port_file.read_text().strip() != "", 10.0)
        self.port = int(port_file.read_text())
        await until(self._listens, 10.0)

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except ConnectionRefusedError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    async def received(self):
        return list(FileSinkReader(self.file).lines(0, 1)) if self.file.exists() else []

    async def go_away(self) -> None:
        if self.process.returncode is None:
            self.process.terminate()
            await asyncio.wait_for(self.process.wait(), 10)

    async def come_back(self) -> None:
        await self.start()


@pytest.mark.slow
@pytest.mark.external("rsyslogd")
class TestRsyslog(SinkConformance):
    @pytest.fixture
    async def place(self, tmp_path):
        place = RsyslogPlace(tmp_path)
        await place.start()
        place.sink = SyslogSink(SyslogSettings("127.0.0.1", place.port, timeout_s=5.0))
        yield place
        await place.sink.aclose()
        await place.go_away()


@pytest.mark.parametrize(("severity", "priority"), [(1, 110), (2, 109), (3, 108), (4, 107)])
def test_header_says_when_who_what_and_how_grave(severity, priority):
    [event] = events_of(1)
    graver = msgspec.structs.replace(event, severity=severity, time_ms=1_790_000_000_007)
    found = HEADER.fullmatch(syslog_message(graver, SETTINGS))
    assert int(found["pri"]) == priority
    assert found["time"] == b"2026-09-21T14:13:20.007Z"
    assert (found["host"], found["app"], found["msgid"]) == (b"gw.example", b"verismo", b"answer")
    assert found["msg"] == event.data


def test_structured_data_names_the_leaf():
    [event] = events_of(1, first=41)
    found = HEADER.fullmatch(syslog_message(event, SETTINGS))["sd"].decode()
    assert found == f'[verismo@32473 uid="{event.uid}" sequence="41" log="{event.log}"]'


def test_structured_data_cannot_be_broken_out_of():
    [event] = events_of(1)
    hostile = msgspec.structs.replace(event, log='x"] [evil@1 a="\\')
    found = HEADER.fullmatch(syslog_message(hostile, SETTINGS))
    assert found["sd"].endswith(b'log="x\\"\\] [evil@1 a=\\"\\\\"]')
    assert found["msg"] == event.data


async def test_message_over_the_limit_is_refused_and_never_cut(place):
    events = events_of(3)
    sizes = [len(syslog_message(event, SETTINGS)) for event in events]
    long = msgspec.structs.replace(events[1], data=events[1].data + b" " * 9_000)
    settings = SyslogSettings("127.0.0.1", place.receiver.port, message_bytes_max=max(sizes) + 50)
    sink = SyslogSink(settings)
    [refusal] = await sink.send([events[0], long, events[2]])
    await sink.aclose()
    assert refusal.position == 1
    assert "message_bytes_max" in refusal.reason
    assert await arrived(place, 2) == [events[0].data, events[2].data]


async def test_batch_of_nothing_but_long_messages_needs_no_receiver(place):
    await place.go_away()
    sink = SyslogSink(SyslogSettings("127.0.0.1", place.receiver.port, message_bytes_max=480))
    assert [one.position for one in await sink.send(events_of(2))] == [0, 1]


async def test_connection_that_the_receiver_closed_is_not_trusted_with_a_batch(place):
    await place.sink.send(events_of(1))
    await arrived(place, 1)
    await place.go_away()
    await place.come_back()
    # Nothing is lost in the closed connection: either the sink noticed, or it says so.
    try:
        await place.sink.send(events_of(1, first=1))
    except SinkUnavailable:
        await place.sink.send(events_of(1, first=1))
    found = await arrived(place, 2)
    assert events_of(1, first=1)[0].data in found


async def test_receiver_that_does_not_read_is_given_up_on():
    with socket.socket() as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        stalled.bind(("127.0.0.1", 0))
        stalled.listen(1)
        settings = SyslogSettings("127.0.0.1", stalled.getsockname()[1], timeout_s=0.1)
        with pytest.raises(SinkUnavailable, match="not taken within"):
            await SyslogSink(settings).send(events_of(50))


@pytest.mark.slow
async def test_receiver_is_trusted_by_its_authority_alone(tmp_path: Path):
    ours = authority()
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(ours.pem)
    receiver = SyslogReceiver(server_context(ours, tmp_path))
    await receiver.start()
    trusting = SyslogSink(SyslogSettings("127.0.0.1", receiver.port, tls=True, ca_file=ca_file))
    doubting = SyslogSink(SyslogSettings("127.0.0.1", receiver.port, tls=True))
    try:
        await trusting.send(events_of(20))
        await until(lambda: len(receiver.messages) == 20)
        with pytest.raises(SinkUnavailable, match=r"(?i)certificate"):
            await doubting.send(events_of(1))
    finally:
        await trusting.aclose()
        await doubting.aclose()
        await receiver.stop()


@pytest.mark.slow
async def test_certificate_of_another_host_is_refused(tmp_path: Path):
    ours = authority()
    (tmp_path / "ca.pem").write_bytes(ours.pem)
    receiver = SyslogReceiver(server_context(ours, tmp_path, ELSEWHERE))
    await receiver.start()
    settings = SyslogSettings("127.0.0.1", receiver.port, tls=True, ca_file=tmp_path / "ca.pem")
    sink = SyslogSink(settings)
    try:
        with pytest.raises(SinkUnavailable):
            await sink.send(events_of(1))
    finally:
        await sink.aclose()
        await receiver.stop()
    assert receiver.messages == []
