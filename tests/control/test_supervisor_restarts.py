"""The supervisor beside its children: when all are ready, and which one is started again."""

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.waiting import until

from verismo.control import supervisor as supervising
from verismo.control.supervisor import EXIT_USAGE, Child, Supervisor

pytestmark = pytest.mark.slow

READY = "import os, sys, signal, time; os.write(int(sys.argv[-1]), b'1');"
SLEEP = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); time.sleep(60)"


def child(name: str, code: str, *arguments: object) -> Child:
    return Child(name, (sys.executable, "-c", code, *map(str, arguments)))


def counting(path: Path, then: str) -> str:
    """Return code that adds a line with its pid to a file and then does something."""
    return f"{READY} open({str(path)!r}, 'a').write(str(os.getpid()) + '\\n'); {then}"


def pids(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()] if path.exists() else []


@asynccontextmanager
async def running(*children: Child, drain_s: float = 5.0):
    """Run a supervisor; it is ended with the block if the test has not done so."""
    supervisor = Supervisor(children, drain_s)
    task = asyncio.create_task(supervisor.run())
    try:
        yield supervisor, task
    finally:
        supervisor.end()
        await asyncio.wait_for(task, 20)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervising, "PAUSE_S", 0.05)


async def test_it_is_ready_once_every_child_said_so(tmp_path: Path):
    go = tmp_path / "go"
    late = (
        "import os, sys, time, pathlib\n"
        f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)\n"
        f"exec({(READY + SLEEP)!r})"
    )
    async with running(child("a", READY + SLEEP), child("b", late)) as (supervisor, _):
        waiting = asyncio.create_task(supervisor.wait_ready())
        done, _ = await asyncio.wait({waiting}, timeout=0.3)
        assert not done
        go.touch()
        assert await asyncio.wait_for(waiting, 10) is True


async def test_killed_child_is_started_again_and_its_siblings_are_left_alone(tmp_path: Path):
    one, other = tmp_path / "one", tmp_path / "other"
    async with running(
        child("one", counting(one, SLEEP)), child("other", counting(other, SLEEP))
    ) as (supervisor, _):
        assert await asyncio.wait_for(supervisor.wait_ready(), 10)
        await until(lambda: bool(pids(one) and pids(other)))
        os.kill(pids(one)[0], signal.SIGKILL)
        await until(lambda: len(pids(one)) == 2, 10)
        assert len(pids(other)) == 1


async def test_sigterm_ends_it_like_end(tmp_path: Path):
    async with running(child("a", READY + SLEEP)) as (supervisor, task):
        assert await asyncio.wait_for(supervisor.wait_ready(), 10)
        os.kill(os.getpid(), signal.SIGTERM)
        assert await asyncio.wait_for(task, 10) == 0


async def test_usage_error_of_a_child_that_had_run_is_a_death_like_any_other(tmp_path: Path):
    """Its configuration was good when it started; ending everything would make it worse."""
    seen = tmp_path / "pids"
    code = counting(seen, f"time.sleep(0.1); os._exit({EXIT_USAGE})")
    async with running(child("a", code)) as (supervisor, task):
        assert await asyncio.wait_for(supervisor.wait_ready(), 10)
        await until(lambda: len(pids(seen)) >= 2, 10)
        assert not task.done()
