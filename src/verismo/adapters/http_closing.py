"""Whether a connection that is being closed has anything left to say.

Closing a TLS connection says so to the client and then waits for the client to say so too, which a
client that is between two requests does not. Who has everything need not be waited for.

Source: RFC 8446, section 6.1: `close_notify` ends one direction; its sender need not wait for the
other's.
"""

import asyncio
import fcntl
import struct
import termios

_COUNT = struct.Struct("=i")


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
