"""Work that goes on although the request that began it is over."""

import asyncio
from collections.abc import Callable, Coroutine


class Aside:
    """Runs what must come to its end, whoever left.

    Args:
        lost: told what such work failed with; nobody else is left to be told.
    """

    def __init__(self, lost: Callable[[BaseException], None]) -> None:
        self._lost = lost
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run something to its end although the request that began it is cancelled."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._set_aside)

    def _set_aside(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._lost(error)

    async def drain(self) -> None:
        """Wait for all that is still at work."""
        while self._tasks:
            await asyncio.wait(self._tasks)
