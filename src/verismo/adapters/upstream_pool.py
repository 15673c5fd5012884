"""The connections to one origin: idle ones are used again, and callers wait in a fair queue."""

import asyncio
import collections
import ssl

from verismo.adapters.upstream_connection import Connection
from verismo.adapters.upstream_request import Origin
from verismo.adapters.upstream_settings import UpstreamSettings
from verismo.model.errors import UpstreamBroken, UpstreamTimeout, UpstreamUnreachable


class Pool:
    """At most `connections_max` connections to one origin.

    The connection that was freed last is used first, so that the surplus of a burst goes idle and
    is closed. A caller that finds none waits; the queue is first come, first served.

    Args:
        origin: where the connections lead.
        settings: how many, and for how long.
        tls: the context for https origins.
    """

    def __init__(self, origin: Origin, settings: UpstreamSettings, tls: ssl.SSLContext) -> None:
        self._origin = origin
        self._settings = settings
        self._tls = tls if origin.scheme == "https" else None
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._slots = settings.connections_max
        self._queue: collections.deque[asyncio.Future[Connection | None]] = collections.deque()
        self._closed = False

    @property
    def unused(self) -> bool:
        """Whether the pool has neither a connection nor a caller."""
        return self._slots == self._settings.connections_max and not self._queue

    def idle(self) -> Connection | None:
        """Return an idle connection that the provider has not closed, or None."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable():
                return connection
            connection.abort()
        return None

    async def acquire(self, connect_ms: int) -> Connection:
        """Wait for a connection: an idle one, a new one, or one that another call gives back.

        Args:
            connect_ms: for waiting and connecting together.

        Raises:
            UpstreamTimeout: it took longer.
            UpstreamUnreachable: none can be made.
        """
        try:
            async with asyncio.timeout(connect_ms / 1_000):
                while True:
                    connection = self.idle() or await self._turn()
                    if connection is None:
                        return await self._connect()
                    if connection.usable():
                        return connection
                    connection.abort()  # closed between being handed over and being taken
        except TimeoutError as error:
            raise UpstreamTimeout(f"connect: no connection within {connect_ms} ms") from error

    async def _turn(self) -> Connection | None:
        """Return a connection handed over, or None with the right to open one."""
        if self._closed:
            raise UpstreamUnreachable("the upstream client is closed")
        if self._slots and not self._queue:
            self._slots -= 1
            return None
        turn: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                # The turn came together with the cancellation: pass it on.
                given = turn.result()
                if given is None:
                    self._give_slot()
                else:
                    self._freed(given)
            elif turn in self._queue:
                self._queue.remove(turn)
            raise

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        stands = False
        try:
            _, connection = await loop.create_connection(
                lambda: Connection(
                    self._settings, self._freed, self._lost, secure=self._tls is not None
                ),
                self._origin.host,
                self._origin.port,
                ssl=self._tls,
                server_hostname=self._origin.host if self._tls else None,
            )
            stands = connection.stands and not self._closed
        except ssl.SSLError as error:
            raise UpstreamUnreachable(f"TLS with the upstream failed: {error.reason}") from error
        except (OSError, UnicodeError) as error:
            raise UpstreamUnreachable("no connection to the upstream") from error
        finally:
            if not stands:
                self._give_slot()
        if not stands:
            connection.abort()
            raise UpstreamUnreachable("the connection was closed as soon as it stood")
        self._open.add(connection)
        return connection

    def _next_turn(self) -> asyncio.Future[Connection | None] | None:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                return turn
        return None

    def _freed(self, connection: Connection) -> None:
        turn = self._next_turn()
        if turn is not None:
            turn.set_result(connection)
        else:
            self._idle.append(connection)

    def _lost(self, connection: Connection) -> None:
        if connection in self._open:  # else it broke before it stood, and `_connect` knows
            self._open.remove(connection)
            if connection in self._idle:
                self._idle.remove(connection)
            self._give_slot()

    def _give_slot(self) -> None:
        turn = self._next_turn()
        if turn is not None:
            turn.set_result(None)
        else:
            self._slots += 1

    def close(self) -> None:
        """Break every connection off; calls in flight and in the queue end with an error."""
        self._closed = True
        for connection in tuple(self._open):
            connection.break_off(UpstreamBroken("the upstream client was closed"))
        while (turn := self._next_turn()) is not None:
            turn.set_exception(UpstreamUnreachable("the upstream client is closed"))
