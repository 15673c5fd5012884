"""Reads metrics pages over HTTP (port: `verismo.ports.scrape.MetricsReader`)."""

import asyncio
import re
import ssl
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import httpx2

from verismo.ports.scrape import ScrapeFailed

BODY_BYTES_MAX: Final = 33_554_432
"""A page of many workers has a few megabytes."""
ACCEPT: Final = "application/openmetrics-text;version=1.0.0, text/plain;version=0.0.4;q=0.9"

_credentials: Final = re.compile(r"//[^/]*@")


class HttpMetrics:
    """A `MetricsReader`; use it in one event loop. Redirects are not followed.

    Args:
        timeout_s: for a whole exchange; a page that drips would be read for ever otherwise.
        keys: by the URL that is read, sent to it as a bearer token; nothing is sent to others.
    """

    def __init__(self, timeout_s: float, keys: Mapping[str, str] = MappingProxyType({})) -> None:
        self._timeout_s = timeout_s
        self._keys = dict(keys)
        self._client = httpx2.AsyncClient(
            verify=ssl.create_default_context(),
            timeout=timeout_s,
            headers={"accept": ACCEPT},
            trust_env=False,
        )

    async def read(self, url: str) -> bytes:
        """Return the body; see `ports.scrape.MetricsReader`."""
        key = self._keys.get(url, "")
        headers = {"authorization": f"Bearer {key}"} if key else {}
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._read(url, headers)
        except TimeoutError as error:
            raise _failed(url, f"it takes longer than {self._timeout_s:g} s") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise _failed(url, str(error) or type(error).__name__) from error

    async def _read(self, url: str, headers: Mapping[str, str]) -> bytes:
        async with self._client.stream("GET", url, headers=headers) as response:
            if response.status_code != 200:
                raise _failed(url, f"it answers {response.status_code}")
            body = bytearray()
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > BODY_BYTES_MAX:
                    raise _failed(url, f"it answers more than {BODY_BYTES_MAX} bytes")
        return bytes(body)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _failed(url: str, reason: str) -> ScrapeFailed:
    # A query may be long; both it and what stands before the host may hold what is not for a log.
    shown = _credentials.sub("//", url.partition("?")[0])
    return ScrapeFailed(
        f"{shown} gives no metrics: {reason}",
        next_step="Check the address, the key and that its metrics are published.",
    )
