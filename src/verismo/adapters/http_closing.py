"""The end of a drain, and whether a connection that is being closed has anything left to say.

Closing a TLS connection says so to the client and then waits for the client to say so too, which a
client that is between two requests does not. Who has everything need not be waited for.

Source: RFC 8446, section 6.1: `close_notify` ends one direction; its sender need not wait for the
other's.
"""

import asyncio
import fcntl
import struct
import termios
from collections.abc import Callable, Generator
from contextlib import contextmanager
from socket import socket

import uvicorn

HANG_UP_S = 0.05
"""How often the drain looks for connections that have said all, twice before it ends one."""

_COUNT = struct.Struct("=i")


class DrainingServer(uvicorn.Server):
    """uvicorn's server without its signal handling, and telling when it cuts requests off.

    uvicorn raises a caught signal again once it has drained, which would end the process before
    the journal is closed.
    """

    cut_off: Callable[[], None]

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals to `HttpServer.serve`."""
        yield

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Drain; uvicorn begins to count the time a moment later than this timer does."""
        drain_s_max = self.config.timeout_graceful_shutdown or 0
        timer = asyncio.get_running_loop().call_later(drain_s_max, self.cut_off)
        hanging_up = asyncio.create_task(self._hang_up())
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()
            hanging_up.cancel()

    async def _hang_up(self) -> None:
        """End connections that have said all; over TLS they would wait for the client's goodbye."""
        before: set[object] = set()
        while True:
            await asyncio.sleep(HANG_UP_S)
            said = {one for one in self.server_state.connections if has_said_all(one.transport)}
            for connection in said & before:
                connection.transport.abort()
            before = {*said}


def has_said_all(transport: asyncio.Transport) -> bool:
    """Say whether a transport is closing and the client's machine has acknowledged every octet.

    What the transport below TLS still holds cannot be seen. But it holds something back only while
    the kernel's queue is full, and fills it up in each turn of the loop: two looks in different
    turns that both find the queue empty show that there is nothing.

    Args:
        transport: of a connection over TCP, with or without TLS.

    Returns:
        False as well where the kernel does not tell how much it holds.
    """
    if not transport.is_closing() or transport.get_write_buffer_size():
        return False
    connection = transport.get_extra_info("socket")
    if connection is None:
        return False
    try:
        answer = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(_COUNT.size))
    except OSError:
        return False
    unacknowledged_octets: int = _COUNT.unpack(answer)[0]
    return unacknowledged_octets == 0
