"""ASGI applications on loopback ports within a process that has its own way to end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.types import ASGIApp

from verismo.model.errors import OperatorError


@asynccontextmanager
async def served(app: ASGIApp, port: int = 0) -> AsyncIterator[str]:
    """Serve an application on 127.0.0.1 while the block runs, its lifespan included.

    Args:
        app: the application.
        port: 0 takes a free one.

    Yields:
        The URL without a path.

    Raises:
        OperatorError: the port is taken, or the application does not start.
    """
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, ws="none", lifespan="on", log_config=None
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    try:
        # uvicorn ends the process where it cannot listen.
        await server.startup()
    except SystemExit as error:
        raise OperatorError(
            f"nothing can be served on 127.0.0.1:{port}",
            next_step="End the program that has the port, or start again for other ports.",
        ) from error
    serving = asyncio.create_task(server.main_loop())
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
        await server.shutdown()
        # What the application closed last needs turns of the loop to be gone.
        for _ in range(3):
            await asyncio.sleep(0)
