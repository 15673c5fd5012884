"""The background loops of a worker: each does one thing again and again beside the requests."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from verismo.model.errors import StateError

log = logging.getLogger("verismo.worker")

Step = Callable[[], Awaitable[None]]
"""One round. Raises StateError if the state cannot be used now but may be later."""


class Rounds:
    """Loops that are all well, or end the worker.

    Args:
        stop: begins the worker's end; called if a loop fails, since what it did would be missing
            without a word.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._tasks: list[asyncio.Task[None]] = []
        self._failure: BaseException | None = None

    def begin(self, name: str, every_s: float, step: Step) -> None:
        """Begin a loop.

        Args:
            name: for the log.
            every_s: pause before each round, seconds.
            step: the round.
        """
        task = asyncio.create_task(_repeat(every_s, step), name=name)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def end(self) -> None:
        """End every loop where it stands."""
        for task in self._tasks:
            task.cancel()

    def check(self) -> None:
        """Raise what a loop failed with, if one did; start the process again then."""
        if self._failure is not None:
            raise self._failure

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        self._failure = task.exception()
        fields = {"loop": task.get_name(), "error": str(self._failure)}
        log.error("the worker ends", exc_info=self._failure, extra={"fields": fields})
        self._stop()


async def _repeat(every_s: float, step: Step) -> None:
    told = ""
    while True:
        await asyncio.sleep(every_s)
        try:
            await step()
            told = ""
        except StateError as error:
            # The state in force stays and the next round tries again; the log says it once.
            if error.detail != told:
                fields = {"error": error.detail, "next": error.advice}
                log.warning("kept the last good state", extra={"fields": fields})
            told = error.detail
