"""Reads a published log over HTTP, from whatever serves it: a gateway, a mirror, a bucket."""

import httpx2

from verismo.attest.tile import BUNDLE_BYTES_MAX
from verismo.model.errors import StateError

TIMEOUT_S = 30.0
NOT_THERE = frozenset({403, 404, 410})
"""Buckets answer 403 for a name that is not there to those who may not list it."""


class HttpLog:
    """The files of one log below a URL; close it after use.

    Args:
        url: the log's prefix, such as `https://gateway.example/log/eu/2026`.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._client = httpx2.Client(timeout=TIMEOUT_S)

    def read(self, path: str) -> bytes | None:
        """Return a file by its path within the log, None if it is not there.

        Raises:
            StateError: the server cannot be reached, or answers neither with it nor without.
        """
        url = f"{self._url}/{path}"
        try:
            with self._client.stream("GET", url) as response:
                status = response.status_code
                content = _read(response, url) if status == 200 else b""
        except httpx2.HTTPError as error:
            raise StateError(
                f"{url} cannot be read: {error}", next_step="Check the URL and the network."
            ) from error
        if status in NOT_THERE:
            return None
        if status != 200:
            raise StateError(f"{url} answers {status}", next_step="Check the URL; try again later.")
        return content

    def close(self) -> None:
        """Close its connections."""
        self._client.close()


def _read(response: httpx2.Response, url: str) -> bytes:
    content = bytearray()
    for piece in response.iter_bytes():
        content += piece
        if len(content) > BUNDLE_BYTES_MAX:
            raise StateError(
                f"{url} answers more than {BUNDLE_BYTES_MAX} bytes, which no file of a log has",
                next_step="Check the URL; whoever serves it is no log.",
            )
    return bytes(content)
