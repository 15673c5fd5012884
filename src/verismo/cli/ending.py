"""How a child process of the supervisor learns that it is to end."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def told_to_end() -> Iterator[asyncio.Event]:
    """An event that SIGTERM sets; Ctrl-C reaches only the supervisor, which passes it on."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    try:
        yield ended
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
