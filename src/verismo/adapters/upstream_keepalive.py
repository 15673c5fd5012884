"""The upstream port on our own keep-alive client: HTTP/1.1 on asyncio and llhttp.

It does less than a library and is strict where one is lenient: no HTTP/2, no proxies, no cookies,
no redirects, no retries once an octet is sent. What it saves is the hand-over between threads and
the objects of a general client, which are the largest part of a call's cost.
"""

import asyncio
import ssl

from verismo.adapters.upstream_connection import Deadlines
from verismo.adapters.upstream_exchange import Exchange
from verismo.adapters.upstream_pool import Pool
from verismo.adapters.upstream_request import Origin, RequestEncoder
from verismo.adapters.upstream_settings import UpstreamSettings
from verismo.model.errors import UpstreamUnreachable
from verismo.ports.upstream import UpstreamCall

POOLS_MAX = 1_024
"""Origins remembered at once; providers are configured, so a healthy gateway has a handful."""


def tls_context(roots_pem: bytes) -> ssl.SSLContext:
    """Return the TLS settings: system roots, names checked, TLS 1.2 or later, HTTP/1.1 only.

    Args:
        roots_pem: further trusted certificates, or empty.

    Raises:
        ssl.SSLError: `roots_pem` holds no certificate.
    """
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if roots_pem:
        context.load_verify_locations(cadata=roots_pem.decode("ascii"))
    return context


class KeepAliveUpstream:
    """Implements `Upstream`; belongs to the event loop in which it is first used.

    Args:
        settings: pools and limits.
    """

    def __init__(self, settings: UpstreamSettings | None = None) -> None:
        self._settings = settings or UpstreamSettings()
        self._tls = tls_context(self._settings.roots_pem)
        self._encoder = RequestEncoder(accept_gzip=self._settings.accept_gzip)
        self._pools: dict[Origin, Pool] = {}
        self._closed = False

    async def send(self, call: UpstreamCall) -> Exchange:
        """Send a call and wait for the answer's headers; see `Upstream.send`.

        Raises:
            UpstreamUnreachable: no connection, or a call that must not be sent.
            UpstreamTimeout: connect or first byte took too long.
            UpstreamBroken: the connection broke or the answer is not strict HTTP/1.1.
        """
        origin, head = self._encoder.encode(call)
        pool = self._pools.get(origin) or self._pool(origin)
        connection = pool.idle() or await pool.acquire(call.timeouts.connect_ms)
        now_s = asyncio.get_running_loop().time()
        deadlines = Deadlines(
            now_s + call.timeouts.first_byte_ms / 1_000, now_s + call.timeouts.total_ms / 1_000
        )
        exchange = connection.begin(call, head, deadlines)
        await exchange.opened()
        return exchange

    def _pool(self, origin: Origin) -> Pool:
        if self._closed:
            raise UpstreamUnreachable("the upstream client is closed")
        if len(self._pools) >= POOLS_MAX:
            self._pools = {key: pool for key, pool in self._pools.items() if not pool.unused}
        pool = Pool(origin, self._settings, self._tls)
        self._pools[origin] = pool
        return pool

    async def aclose(self) -> None:
        """Break every connection off; calls in flight end with `UpstreamBroken`."""
        self._closed = True
        pools, self._pools = self._pools, {}
        for pool in pools.values():
            pool.close()
        # One turn of the loop, in which the transports report that they are closed.
        await asyncio.sleep(0)
