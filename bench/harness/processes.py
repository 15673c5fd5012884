"""Programs under test: started on one core, watched through /proc, ended by their own pids."""

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
START_S_MAX = 90.0
STOP_S_MAX = 20.0
POLL_S = 0.05


class NotStarted(RuntimeError):
    """A program did not come up; says what it printed."""


class Program:
    """One program under test with every process that it started.

    Args:
        name: for messages.
        process: its first process.
        log: where its output goes.
    """

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self._process = process
        self._log = log

    @property
    def pids(self) -> list[int]:
        """Its first process and all descendants that run now."""
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                parent = _stat(int(entry.name))
                if parent is not None:
                    children.setdefault(int(parent[1]), []).append(int(entry.name))
        found, new = [], [self._process.pid]
        while new:
            found += new
            new = [child for pid in new for child in children.get(pid, [])]
        return found

    def pid_of(self, word: str) -> int:
        """Return the process whose command line has a word in it.

        Raises:
            NotStarted: none of its processes has.
        """
        for pid in self.pids:
            if word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                return pid
        raise NotStarted(f"{self.name} has no process {word}")

    def cpu_s(self) -> float:
        """Return the CPU time that its processes have used, all threads, user and system."""
        fields = [_stat(pid) for pid in self.pids]
        # Fields 14 to 17 of proc(5): own time and that of children which have ended.
        ticks = sum(int(number) for one in fields if one is not None for number in one[11:15])
        return ticks / TICKS_PER_S

    def memory_mb(self) -> float:
        """Return its processes' memory: PSS, which counts shared pages once over all of them."""
        return sum(_pss_kb(pid) for pid in self.pids) / 1_024

    def wait_ready(self, port: int, path: str, headers: Mapping[str, str]) -> None:
        """Wait until it answers 200.

        Raises:
            NotStarted: it ended, or took too long.
        """
        deadline = time.monotonic() + START_S_MAX
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise NotStarted(f"{self.name} ended at its start:\n{self._tail()}")
            if _status(port, path, headers) == 200:
                return
            time.sleep(POLL_S)
        raise NotStarted(f"{self.name} did not answer in {START_S_MAX:.0f} s:\n{self._tail()}")

    def stop(self) -> None:
        """End it: SIGTERM to its first process, SIGKILL to what is left after a while."""
        pids = self.pids
        self._process.terminate()
        try:
            self._process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pid in pids[1:]:
            if _stat(pid) is not None:
                _kill(pid)

    def _tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])


@contextmanager
def running(
    name: str,
    command: Sequence[str],
    core: int,
    folder: Path,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Program]:
    """Run a program on one core; its output goes to a file in a folder.

    Args:
        name: for messages and the file.
        command: program and arguments.
        core: the only core that it and its children may use.
        folder: an existing folder.
        environment: added to a bare environment; credentials of the caller are not passed on.
    """
    log = folder / f"{name}.log"
    bare = {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            env={**bare, **(environment or {})},
        )
    program = Program(name, process, log)
    try:
        yield program
    finally:
        program.stop()


def loop_and_other_cpu_s(pid: int) -> tuple[float, float]:
    """Return the CPU time of a process's first thread, and that of all its other threads."""
    ticks = {
        int(thread.name): sum(int(number) for number in fields[11:13])
        for thread in Path(f"/proc/{pid}/task").iterdir()
        if (fields := _stat(pid, int(thread.name))) is not None
    }
    return ticks[pid] / TICKS_PER_S, (sum(ticks.values()) - ticks[pid]) / TICKS_PER_S


def free_port() -> int:
    """Return a port of the loopback interface that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def resident_mb(pid: int) -> float:
    """Return the resident memory of one process."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1_024
    raise NotStarted(f"process {pid} has ended")


def _stat(pid: int, thread: int | None = None) -> list[str] | None:
    """Return the fields of /proc/PID/stat after the name, which may hold spaces.

    Args:
        pid: the process.
        thread: one of its threads instead of all of them.
    """
    folder = Path(f"/proc/{pid}") if thread is None else Path(f"/proc/{pid}/task/{thread}")
    try:
        text = (folder / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] == "Z" else fields


def _pss_kb(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))


def _status(port: int, path: str, headers: Mapping[str, str]) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers=dict(headers))
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
