"""Waits, with a limit, for what another task, thread or process brings about."""

import asyncio
from collections.abc import Awaitable, Callable

POLL_S = 0.01


async def until(condition: Callable[[], bool | Awaitable[bool]], timeout_s: float = 5.0) -> None:
    """Wait until a condition holds.

    Args:
        condition: looked at again and again; it may be a coroutine function.
        timeout_s: seconds.

    Raises:
        TimeoutError: it did not come to hold in time.
    """
    async with asyncio.timeout(timeout_s):
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(POLL_S)
