"""HTTP exchanges that are over in time, whatever the other side sends.

The time-outs of an HTTP client are for each step, so that a server which sends one byte before each
of them is over holds its caller for hours. Here one time counts for the whole exchange, for callers
that wait in a thread of their own. Redirects are not followed, and no proxy is taken from the
environment. Only the look-up of a name is not cut off: it takes as long as the system's resolver.
"""

import asyncio
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import httpx2
import msgspec


class Unanswered(Exception):
    """No whole answer came in time, or one that is too long; a request may have been obeyed."""


class Asked(msgspec.Struct, frozen=True):
    """One request.

    Args:
        method: of HTTP.
        url: without a query.
        headers: by name; `repr` hides them, since they hold keys.
        params: of the query.
        content: the body; None for none.
    """

    method: str
    url: str
    headers: Mapping[str, str] = {}
    params: Mapping[str, str] = {}
    content: bytes | None = None

    def __repr__(self) -> str:
        return f"Asked({self.method} {self.url})"


class Told(msgspec.Struct, frozen=True):
    """What came back: the status, and the body of an answer of success; else none is read."""

    status: int
    body: bytes


def exchange(asked: Asked, trusted: ssl.SSLContext, seconds: float, bytes_max: int) -> Told:
    """Send a request on a connection of its own and return the answer.

    Args:
        asked: the request.
        trusted: certificates.
        seconds: for all of it but the look-up of the name, to the last byte.
        bytes_max: of the body, decompressed.

    Raises:
        Unanswered: says why there is no whole answer.
    """
    # A thread of its own, since the caller's may have an event loop already.
    with ThreadPoolExecutor(1, "verismo-http") as thread:
        return thread.submit(_run, asked, trusted, seconds, bytes_max).result()


def _run(asked: Asked, trusted: ssl.SSLContext, seconds: float, bytes_max: int) -> Told:
    try:
        return asyncio.run(_timed(asked, trusted, seconds, bytes_max))
    except TimeoutError as error:
        raise Unanswered(f"no whole answer within {seconds:.1f} s") from error
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise Unanswered(str(error) or type(error).__name__) from error


async def _timed(asked: Asked, trusted: ssl.SSLContext, seconds: float, bytes_max: int) -> Told:
    async with (
        asyncio.timeout(seconds),
        httpx2.AsyncClient(verify=trusted, trust_env=False, timeout=seconds) as client,
        client.stream(
            asked.method,
            asked.url,
            params=asked.params or None,
            content=asked.content,
            headers=asked.headers,
        ) as answer,
    ):
        body = bytearray()
        if answer.is_success:
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > bytes_max:
                    raise Unanswered(f"the answer has over {bytes_max} bytes")
        return Told(answer.status_code, bytes(body))
