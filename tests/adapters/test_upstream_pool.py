"""The connections to one origin: turns, slots and what a cancelled caller leaves behind."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from tests.ports.upstream_calls import answer, call_to
from tests.ports.upstream_server import Connection as ServerConnection
from tests.ports.upstream_server import UpstreamServer, serving

from verismo.adapters.upstream_connection import Connection, Deadlines
from verismo.adapters.upstream_keepalive import tls_context
from verismo.adapters.upstream_pool import Pool
from verismo.adapters.upstream_request import Origin
from verismo.adapters.upstream_settings import UpstreamSettings
from verismo.model.errors import UpstreamTimeout


async def silent(connection: ServerConnection) -> None:
    await connection.gone()


@contextlib.asynccontextmanager
async def single() -> AsyncIterator[tuple[Pool, UpstreamServer]]:
    """Yield a pool of one connection and the server that it leads to."""
    async with serving(silent) as server:
        settings = UpstreamSettings(connections_max=1)
        pool = Pool(Origin("http", "127.0.0.1", server.port), settings, tls_context(b""))
        yield pool, server
        pool.close()
        await server.until(lambda state: state.open == 0)


async def busy(pool: Pool) -> Connection:
    """Return the pool's connection with a call out on it."""
    connection = await pool.acquire(1_000)
    later_s = asyncio.get_running_loop().time() + 60
    call = call_to("http://a.example/")
    connection.begin(call, b"POST / HTTP/1.1\r\n\r\n", Deadlines(later_s, later_s))
    return connection


async def queued(pool: Pool) -> asyncio.Task[Connection]:
    """Return a caller that waits its turn."""
    task = asyncio.create_task(pool.acquire(1_000))
    await asyncio.sleep(0)
    return task


async def test_a_freed_connection_goes_to_the_first_in_the_queue() -> None:
    async with single() as (pool, server):
        connection = await busy(pool)
        first, second = await queued(pool), await queued(pool)
        connection.data_received(answer(b""))
        assert await first is connection
        assert not second.done()
        second.cancel()
        assert server.accepted == 1


async def test_a_connection_handed_to_a_cancelled_caller_goes_to_the_next() -> None:
    async with single() as (pool, server):
        connection = await busy(pool)
        first, second = await queued(pool), await queued(pool)
        connection.data_received(answer(b""))
        first.cancel()  # its turn is set, but it has not run yet
        assert await second is connection
        assert first.cancelled()
        assert server.accepted == 1


async def test_a_slot_handed_to_a_cancelled_caller_goes_to_the_next() -> None:
    async with single() as (pool, _):
        connection = await busy(pool)
        first, second = await queued(pool), await queued(pool)
        connection.connection_lost(None)
        first.cancel()
        assert await second is not connection
        assert first.cancelled()


async def test_a_caller_that_gives_up_leaves_no_trace_in_the_queue() -> None:
    async with single() as (pool, _):
        connection = await busy(pool)
        for _ in range(3):
            with pytest.raises(UpstreamTimeout, match=r"^connect:"):
                await pool.acquire(5)
        connection.data_received(answer(b""))
        assert await pool.acquire(1_000) is connection
        assert not pool.unused


async def test_a_pool_whose_connections_are_gone_is_unused() -> None:
    async with single() as (pool, _):
        assert pool.unused
        connection = await busy(pool)
        assert not pool.unused
        connection.connection_lost(None)
        assert pool.unused
