"""Waits, with a limit, for what another task, thread or process brings about."""

import asyncio
from collections.abc import Awaitable, Callable

POLL_S = 0.01
TRIES = 3


async def at_best(took_s: Callable[[], Awaitable[float]], bound_s: float) -> float:
    """Return the first time that is within a bound, or the shortest of `TRIES`.

    A bound that is promised cannot be kept while the machine stands still, so one slow try says
    little; all of them do.

    Args:
        took_s: does once what has the bound and returns how long it took, seconds.
        bound_s: seconds.
    """
    shortest_s = float("inf")
    for _ in range(TRIES):
        shortest_s = min(shortest_s, await took_s())
        if shortest_s <= bound_s:
            break
    return shortest_s


async def until(condition: Callable[[], bool | Awaitable[bool]], timeout_s: float = 30.0) -> None:
    """Wait until a condition holds.

    Args:
        condition: looked at again and again; it may be a coroutine function.
        timeout_s: seconds; long, as it costs nothing where the condition comes to hold.

    Raises:
        TimeoutError: it did not come to hold in time.
    """
    async with asyncio.timeout(timeout_s):
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(POLL_S)
