"""`verismo serve` and `verismo demo` as processes: how they refuse, end and are killed."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.waiting import until

from verismo.config.install import install, prepare
from verismo.config.scaffold import recipe_for

pytestmark = pytest.mark.slow

START_S_MAX = 60.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    install(prepare(tmp_path, recipe_for("simulator")))
    path = tmp_path / "verismo.toml"
    path.write_text(path.read_text().replace("# port = 8081", "port = 0"))
    return tmp_path


async def verismo(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "verismo", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    out, err = await asyncio.wait_for(process.communicate(), START_S_MAX)
    return process.returncode, out.decode(), err.decode()


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Run `verismo serve`; yields the process and its port."""
    config = str(folder / "verismo.toml")
    process = await verismo("serve", "--config", config, "--port", "0")
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), START_S_MAX)
    try:
        assert line.startswith(b"base URL: "), (await ended(process))[2]
        yield process, line.decode().strip().rpartition(":")[2]
    finally:
        if process.returncode is None:
            process.terminate()
        await ended(process)


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


async def test_end_by_sigterm_leaves_no_process_and_no_socket(folder: Path):
    async with serving(folder) as (process, _):
        started = children(process.pid)
        assert len(started) == 2
        assert sorted(os.listdir(folder / "var" / "run")) == ["s0.ready.sock", "s0.sock"]
        process.send_signal(signal.SIGTERM)
        code, _, err = await ended(process)
        assert code == 0
        assert all(line.startswith("made ") for line in err.splitlines()), err
    assert not any(map(is_running, started))
    assert os.listdir(folder / "var" / "run") == []


async def test_second_instance_on_the_port_is_refused(folder: Path, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    install(prepare(other, recipe_for("simulator")))
    async with serving(folder) as (_, port):
        config = str(other / "verismo.toml")
        code, out, err = await ended(await verismo("serve", "--config", config, "--port", port))
    assert (code, out) == (2, "")
    assert f"error: cannot bind 127.0.0.1:{port}: the port is taken" in err
    assert "next:  " in err


async def test_killed_supervisor_leaves_nothing_behind_and_can_be_started_again(folder: Path):
    async with serving(folder) as (process, _):
        started = children(process.pid)
        process.kill()
        await process.wait()
        await until(lambda: not any(map(is_running, started)), 10)
    async with serving(folder) as (process, _):
        assert len(children(process.pid)) == 2


async def test_demo_whose_show_fails_ends_with_1(tmp_path: Path):
    (tmp_path / "file").touch()
    lost = tmp_path / "file" / "exchange.json"
    options = ("--data", str(tmp_path / "demo"), "--port", "0", "--once", "--save", str(lost))
    code, out, err = await ended(await verismo("demo", *options))
    assert code == 1
    assert "VERIFIED" not in out
    assert "error: " in err
    assert "next:  " in err
