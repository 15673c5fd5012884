"""Composes the control process (interim)."""

import asyncio
import signal
from collections.abc import Callable

from verismo.config.schema import Config


async def run_control(config: Config, ready: Callable[[], None]) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    ready()
    await ended.wait()
