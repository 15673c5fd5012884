"""The supervisor with real processes: what it does when they die, cannot start, or it dies."""

import asyncio
import itertools
import logging
import os
import signal
import sys
from pathlib import Path

import pytest
from tests.support.waiting import until

from verismo.control import supervisor as supervisor_module
from verismo.control.supervisor import Child, Supervisor

pytestmark = pytest.mark.slow

READY = """
import asyncio, signal, sys
from verismo.control.supervisor import tell_ready

async def main():
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    tell_ready(int(sys.argv[-1]))
    await told.wait()
    print("drained", file=open(sys.argv[1], "a"))

asyncio.run(main())
"""

SUPERVISE = """
import asyncio, sys
from verismo.control.supervisor import Child, Supervisor

async def main():
    supervisor = Supervisor([Child("one", tuple(sys.argv[1:]))], 5)
    running = asyncio.create_task(supervisor.run())
    assert await supervisor.wait_ready()
    print(supervisor._running["one"].pid, flush=True)
    await running

asyncio.run(main())
"""


def python(code: str, *arguments: str, name: str = "one") -> Child:
    return Child(name, (sys.executable, "-c", code, *arguments))


class Ended:
    """The lines that a supervisor logs about ended processes."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        caplog.set_level(logging.INFO, "verismo.supervisor")

    def records(self, message: str = "process ended") -> list[logging.LogRecord]:
        return [record for record in self._caplog.records if record.message == message]

    def fields(self, message: str = "process ended") -> list[dict]:
        return [record.fields for record in self.records(message)]


@pytest.fixture
def ended(caplog: pytest.LogCaptureFixture) -> Ended:
    return Ended(caplog)


async def test_ready_child_drains_when_the_whole_ends(tmp_path: Path):
    supervisor = Supervisor([python(READY, str(tmp_path / "said"))], 5)
    running = asyncio.create_task(supervisor.run())
    assert await supervisor.wait_ready()
    supervisor.end()
    assert await asyncio.wait_for(running, 10) == 0
    assert (tmp_path / "said").read_text() == "drained\n"


async def test_child_that_cannot_be_started_is_tried_again(
    tmp_path: Path, ended: Ended, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(supervisor_module, "PAUSE_S", 0.05)
    program = tmp_path / "program"
    open_before = len(os.listdir("/proc/self/fd"))
    supervisor = Supervisor([Child("one", (str(program), str(tmp_path / "said")))], 5)
    running = asyncio.create_task(supervisor.run())
    await until(lambda: len(ended.fields()) >= 2)
    assert "No such file" in ended.fields()[0]["error"]
    assert len(os.listdir("/proc/self/fd")) <= open_before + 2, "a tether was left open"
    written = tmp_path / "written"
    written.write_text(f"#!{sys.executable}\n{READY}")
    written.chmod(0o700)
    written.rename(program)
    assert await asyncio.wait_for(supervisor.wait_ready(), 10)
    supervisor.end()
    assert await asyncio.wait_for(running, 10) == 0


async def test_pause_doubles_and_the_log_says_the_one_that_is_waited(
    ended: Ended, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(supervisor_module, "PAUSE_S", 0.2)
    supervisor = Supervisor([python("import sys; sys.exit(3)")], 5)
    running = asyncio.create_task(supervisor.run())
    await until(lambda: len(ended.fields()) >= 4)
    supervisor.end()
    assert await asyncio.wait_for(running, 10) == 0
    assert [one["exit_code"] for one in ended.fields()[:4]] == [3] * 4
    pauses = [one["pause_s"] for one in ended.fields()[:4]]
    assert pauses == [0.2, 0.4, 0.8, 1.6]
    times = [one.created for one in ended.records()[:4]]
    took = [then - began for began, then in itertools.pairwise(times)]
    waited = [took_s / pause_s for took_s, pause_s in zip(took, pauses[:3], strict=True)]
    # A pause and the start of a process; twice every pause would be others than were said.
    assert 0.9 <= min(waited) < 2


async def test_child_that_ends_for_its_configuration_ends_the_whole(ended: Ended):
    supervisor = Supervisor([python("import sys; sys.exit(2)")], 5)
    assert await asyncio.wait_for(supervisor.run(), 10) == 2
    assert not await supervisor.wait_ready()
    assert ended.fields("process cannot start") == [{"process": "one", "exit_code": 2}]


async def test_child_that_does_not_drain_is_killed(monkeypatch: pytest.MonkeyPatch, ended: Ended):
    monkeypatch.setattr(supervisor_module, "KILL_AFTER_DRAIN_S", 0.1)
    deaf = READY.replace("told.set)", "lambda: None)")
    supervisor = Supervisor([python(deaf, "/dev/null")], 0.1)
    running = asyncio.create_task(supervisor.run())
    assert await supervisor.wait_ready()
    supervisor.end()
    assert await asyncio.wait_for(running, 10) == 0
    assert ended.fields("killed: did not drain") == [{"process": "one"}]


async def test_killed_supervisor_leaves_no_child_behind(tmp_path: Path):
    said = tmp_path / "said"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SUPERVISE, sys.executable, "-c", READY, str(said)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    child = int(await asyncio.wait_for(process.stdout.readline(), 10))
    assert not said.exists()
    process.send_signal(signal.SIGKILL)
    await process.wait()
    await until(lambda: said.exists() and said.read_text() == "drained\n")
    await until(lambda: has_ended(child))


def has_ended(pid: int) -> bool:
    """Say whether a process is gone, or waits only for somebody to take its exit code."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"
