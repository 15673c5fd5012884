"""The supervisor: starts the worker processes and the control process, and keeps them running.

A process that dies is started again, after a pause that doubles while it keeps dying. One that
cannot start at all because of its configuration (exit code 2) ends the whole: starting it again
would not help. SIGTERM and SIGINT are passed on, and the processes get their time to drain.

Each process has a tether to the supervisor, a pair of sockets: it says over it that it is ready,
and it ends by itself, as after SIGTERM, when the other end closes because the supervisor died.
"""

import asyncio
import logging
import signal
import socket
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
        command: program and arguments; the number of the tether's descriptor is appended.
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
        for keeper in keepers:
            keeper.add_done_callback(self._note_kept)
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

    def _note_kept(self, keeper: asyncio.Task[None]) -> None:
        """End the whole if a keeper failed: its child would not be started again."""
        if not keeper.cancelled() and keeper.exception() is not None:
            log.error("a keeper failed", exc_info=keeper.exception())
            self.end(1)

    async def _keep(self, child: Child) -> None:
        """Start a child, and again when it dies, until the whole ends."""
        loop = asyncio.get_running_loop()
        pause_s = PAUSE_S
        while not self._ending.is_set():
            started = loop.time()
            fields: dict[str, str | int | float] = {"process": child.name}
            code: int | None = None
            try:
                fields["exit_code"] = code = await self._run_once(child)
            except OSError as error:
                # No memory, no process or no descriptor left: as passing as a child's death.
                fields["error"] = str(error)
            if self._ending.is_set():
                return
            if code == EXIT_USAGE and not self._ready[child.name].is_set():
                log.error("process cannot start", extra={"fields": fields})
                self.end(EXIT_USAGE)
                return
            if loop.time() - started > STEADY_S:
                pause_s = PAUSE_S
            fields["pause_s"] = pause_s
            log.error("process ended", extra={"fields": fields})
            try:
                await asyncio.wait_for(self._ending.wait(), pause_s)
            except TimeoutError:
                pause_s = min(2 * pause_s, PAUSE_S_MAX)

    async def _run_once(self, child: Child) -> int:
        """Run a child to its end; returns its exit code.

        Raises:
            OSError: it could not be started.
        """
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *child.command,
                    str(theirs.fileno()),
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
            self._running[child.name] = process
            if self._ending.is_set():
                process.terminate()
            ours.setblocking(False)
            loop = asyncio.get_running_loop()
            loop.add_reader(ours, self._note_ready, child.name, ours)
            try:
                return await process.wait()
            finally:
                loop.remove_reader(ours)

    def _note_ready(self, name: str, tether: socket.socket) -> None:
        asyncio.get_running_loop().remove_reader(tether)
        try:
            said = tether.recv(1)
        except OSError as error:
            log.warning("tether broke", extra={"fields": {"process": name, "error": str(error)}})
            return
        if said == READY_BYTE:
            self._ready[name].set()


def tell_ready(descriptor: int) -> None:
    """Tell the supervisor, from within a child's event loop, that the child is ready.

    From then on the child gets a SIGTERM of its own if the supervisor dies, so that nothing goes
    on unsupervised; a supervisor that died earlier is noticed now.

    Args:
        descriptor: of the tether.
    """
    loop = asyncio.get_running_loop()
    tether = socket.socket(fileno=descriptor)

    def end() -> None:
        loop.remove_reader(tether)
        tether.close()
        log.error("the supervisor is gone: ending")
        signal.raise_signal(signal.SIGTERM)

    try:
        tether.sendall(READY_BYTE)
    except BrokenPipeError:
        # The reader below finds the same and ends this process, once it can drain.
        log.warning("nobody waits for this process to be ready")
    tether.setblocking(False)
    loop.add_reader(tether, end)
