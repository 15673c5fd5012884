"""The supervisor: starts the worker processes and the control process, and keeps them running.

A process that dies is started again, after a pause that doubles while it keeps dying. One that
cannot start at all because of its configuration (exit code 2) ends the whole: starting it again
would not help. SIGTERM and SIGINT are passed on, and the processes get their time to drain.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Sequence

import msgspec

PAUSE_S = 0.5
PAUSE_S_MAX = 30.0
STEADY_S = 60.0
"""A process that ran this long is not counted as one that keeps dying."""
KILL_AFTER_DRAIN_S = 5.0
EXIT_USAGE = 2
READY_BYTE = b"1"

log = logging.getLogger("verismo.supervisor")


class Child(msgspec.Struct, frozen=True):
    """A process to run.

    Args:
        name: for the log: `s0`, `control`.
        command: program and arguments; the number of the descriptor on which the process tells
            that it is ready is appended.
    """

    name: str
    command: tuple[str, ...]


class Supervisor:
    """Runs the children until it is told to end.

    Args:
        children: the processes.
        drain_s: how long they may take to end.
    """

    def __init__(self, children: Sequence[Child], drain_s: float) -> None:
        self._children = children
        self._drain_s = drain_s
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._ready: dict[str, asyncio.Event] = {one.name: asyncio.Event() for one in children}
        self._ending = asyncio.Event()
        self._exit_code = 0

    def end(self, exit_code: int = 0) -> None:
        """Tell every child to end; the first exit code other than 0 stands."""
        self._exit_code = self._exit_code or exit_code
        self._ending.set()
        for process in self._running.values():
            if process.returncode is None:
                process.terminate()

    async def wait_ready(self) -> bool:
        """Wait until every child is ready; False if the whole ends first."""
        ready = asyncio.create_task(self._all_ready())
        ending = asyncio.create_task(self._ending.wait())
        await asyncio.wait({ready, ending}, return_when=asyncio.FIRST_COMPLETED)
        is_ready = ready.done()
        ready.cancel()
        ending.cancel()
        return is_ready

    async def _all_ready(self) -> None:
        for event in self._ready.values():
            await event.wait()

    async def run(self) -> int:
        """Run until told to end; returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.end)
        keepers = [asyncio.create_task(self._keep(child)) for child in self._children]
        try:
            await self._ending.wait()
            await asyncio.wait(keepers, timeout=self._drain_s + KILL_AFTER_DRAIN_S)
            for name, process in self._running.items():
                if process.returncode is None:
                    log.error("killed: did not drain", extra={"fields": {"process": name}})
                    process.kill()
            await asyncio.gather(*keepers)
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
        return self._exit_code

    async def _keep(self, child: Child) -> None:
        """Start a child, and again when it dies, until the whole ends."""
        loop = asyncio.get_running_loop()
        pause_s = PAUSE_S
        while not self._ending.is_set():
            started = loop.time()
            code = await self._run_once(child)
            if self._ending.is_set():
                return
            fields = {"process": child.name, "exit_code": code, "pause_s": pause_s}
            log.error("process ended", extra={"fields": fields})
            if code == EXIT_USAGE and not self._ready[child.name].is_set():
                self.end(EXIT_USAGE)
                return
            pause_s = PAUSE_S if loop.time() - started > STEADY_S else min(2 * pause_s, PAUSE_S_MAX)
            try:
                await asyncio.wait_for(self._ending.wait(), pause_s)
            except TimeoutError:
                continue

    async def _run_once(self, child: Child) -> int:
        readable, writable = os.pipe()
        os.set_blocking(readable, False)
        try:
            process = await asyncio.create_subprocess_exec(
                *child.command, str(writable), pass_fds=(writable,), start_new_session=True
            )
        finally:
            os.close(writable)
        self._running[child.name] = process
        if self._ending.is_set():
            process.terminate()
        loop = asyncio.get_running_loop()
        loop.add_reader(readable, self._note_ready, child.name, readable)
        try:
            return await process.wait()
        finally:
            loop.remove_reader(readable)
            os.close(readable)

    def _note_ready(self, name: str, descriptor: int) -> None:
        said = os.read(descriptor, 1)
        asyncio.get_running_loop().remove_reader(descriptor)
        if said == READY_BYTE:
            self._ready[name].set()


def tell_ready(descriptor: int) -> None:
    """Tell the supervisor, from within a child, that it is ready."""
    os.write(descriptor, READY_BYTE)
    os.close(descriptor)
