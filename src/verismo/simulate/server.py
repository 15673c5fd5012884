"""The simulated upstream on a socket: uvicorn's HTTP/1.1 protocol without its process control.

Starting and stopping takes no fixed waits, connections are counted, and an answer can close its
connection in the middle, which plain ASGI cannot.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from verismo.model.errors import OperatorError
from verismo.simulate.exchange import CLOSE
from verismo.simulate.record import Record
from verismo.simulate.settings import SimulatorSettings
from verismo.simulate.simulator import Simulator

_KEEP_ALIVE_S = 75
"""How long an idle connection stays open; longer than any pool of a gateway keeps it."""
_STOP_S_MAX = 5.0
_START_S_MAX = 10.0


class SimulatorProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which also counts connections and lets an answer close its own.

    Args:
        config: uvicorn's, loaded with a `Simulator`.
        state: shared by the connections of one server.
        record: counts connections.
    """

    def __init__(self, config: Config, state: ServerState, record: Record) -> None:
        super().__init__(config=config, server_state=state, app_state={})
        self.access_log = False
        self._record = record

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count a connection; uvicorn does the rest."""
        self._record.connections += 1
        super().connection_made(transport)

    def on_message_begin(self) -> None:
        """Put the way to close this connection into the scope."""
        super().on_message_begin()
        self.scope[CLOSE] = self.transport.close  # type: ignore[literal-required]


@asynccontextmanager
async def running_upstream(
    settings: SimulatorSettings,
    record: Record | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
) -> AsyncIterator[str]:
    """Serve a simulated upstream in this event loop while the block runs.

    Args:
        settings: of the simulator.
        record: filled with what it sees; pass one to look at it in process.
        host: address to listen on.
        port: 0 takes a free one.

    Yields:
        The base URL without a trailing slash, such as `http://127.0.0.1:41234`; OpenAI's and
        Anthropic's paths lie under `/v1`.

    Raises:
        OperatorError: the address cannot be listened on.
    """
    seen = record if record is not None else Record(settings.keep_requests)
    config = Config(
        Simulator(settings, seen),
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
    )
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(
            lambda: SimulatorProtocol(config, state, seen), host=host, port=port, backlog=2_048
        )
    except OSError as error:
        raise OperatorError(
            f"the simulator cannot listen on {host}:{port}: {error.strerror or error}",
            next_step="Choose another --port, or 0 for a free one.",
        ) from error
    try:
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await _disconnect(state)


@contextmanager
def upstream_in_thread(settings: SimulatorSettings, record: Record | None = None) -> Iterator[str]:
    """Serve a simulated upstream in a thread of its own, for callers without an event loop.

    Args:
        settings: of the simulator.
        record: filled with what it sees; only read it from the caller's thread.

    Yields:
        The base URL, as `running_upstream` does.

    Raises:
        TimeoutError: it did not start in time.
    """
    started = threading.Event()
    stops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    urls: list[str] = []

    async def serve() -> None:
        stop = asyncio.Event()
        async with running_upstream(settings, record) as base_url:
            stops.append((asyncio.get_running_loop(), stop))
            urls.append(base_url)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="simulated-upstream")
    thread.start()
    if not started.wait(_START_S_MAX):
        raise TimeoutError("the simulated upstream did not start")
    try:
        yield urls[0]
    finally:
        loop, stop = stops[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join()


async def _disconnect(state: ServerState) -> None:
    """Break off every connection and wait until the answers in flight have noticed."""
    for connection in list(state.connections):
        connection.transport.abort()
    # One turn of the loop, so that idle connections close and tasks learn of theirs.
    await asyncio.sleep(0)
    if state.tasks:
        _, late = await asyncio.wait(set(state.tasks), timeout=_STOP_S_MAX)
        for task in late:
            task.cancel()
