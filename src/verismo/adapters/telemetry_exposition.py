"""How a worker's metrics reach the control process: one short text over a unix socket.

The worker answers each connection with its whole exposition and closes; there is nothing to ask
for, so nothing is read. The socket is the worker's alone: mode 0600 in a folder of its owner.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from verismo.model.errors import StateError

READ_S_MAX = 2.0
"""How long a worker may take; Prometheus gives the whole scrape 10 s by default."""
EXPOSITION_BYTES_MAX = 67_108_864
PATH_BYTES_MAX = 107
"""What fits into a unix socket's address on Linux."""

_MODE = 0o600
_END = b"# EOF\n"


def socket_path(run: Path, slot: str) -> Path:
    """Return where a slot's socket is, below the data folder's `run`."""
    return run / f"{slot}.sock"


async def serve_exposition(path: Path, expose: Callable[[], bytes]) -> asyncio.Server:
    """Serve a worker's metrics until the returned server is closed.

    Args:
        path: the socket; one that a dead worker left is replaced.
        expose: returns OpenMetrics text; called in the event loop.

    Raises:
        StateError: the path is too long for a socket or cannot be written.
    """

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            writer.write(expose())
            async with asyncio.timeout(READ_S_MAX):
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        writer.transport.abort()

    return await asyncio.start_unix_server(answer, sock=_bind(path))


async def read_expositions(run: Path, slots: Sequence[str]) -> dict[str, bytes]:
    """Ask every worker for its metrics at the same time.

    Args:
        run: the folder with the sockets.
        slots: the workers there should be.

    Returns:
        Each slot's OpenMetrics text; empty for a worker that did not answer whole and in time.
    """
    texts = await asyncio.gather(*(_read(socket_path(run, slot)) for slot in slots))
    return dict(zip(slots, texts, strict=True))


def _bind(path: Path) -> socket.socket:
    if len(str(path).encode()) > PATH_BYTES_MAX:
        raise StateError(
            f"{path} is longer than the {PATH_BYTES_MAX} bytes that a socket's address may have",
            next_step="Use a data folder with a shorter path.",
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        # Nobody can connect before the mode is right: it does not listen yet.
        path.chmod(_MODE)
    except OSError as error:
        listener.close()
        raise StateError(
            f"{path} cannot be served: {error.strerror}",
            next_step="Check who owns the data folder and that its file system allows sockets.",
        ) from error
    return listener


async def _read(path: Path) -> bytes:
    text = b""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(READ_S_MAX):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                text = await _read_all(reader)
            finally:
                writer.close()
    return text if text.endswith(_END) else b""


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    parts, size = [], 0
    while part := await reader.read(65_536):
        parts.append(part)
        size += len(part)
        if size > EXPOSITION_BYTES_MAX:
            return b""
    return b"".join(parts)
