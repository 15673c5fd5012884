"""Sends checkpoints to witnesses over HTTP (port: `verismo.ports.witness.WitnessClient`).

Source: C2SP tlog-witness, "add-checkpoint".
"""

import re
import ssl
from typing import Final

import httpx2

from verismo.ports.witness import (
    TLOG_SIZE_MEDIA,
    Cosigned,
    Declined,
    SizeConflict,
    WitnessUnavailable,
)

ANSWER_BYTES_MAX: Final = 65_536
"""A witness with dozens of keys answers less."""
REASON_CHARACTERS_MAX: Final = 300
_size = re.compile(r"(0|[1-9][0-9]{0,18})\n").fullmatch


class HttpWitnesses:
    """A `WitnessClient` with kept-alive connections; use it in one event loop.

    Args:
        timeout_s: for each step of an exchange; who calls limits the whole.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._client: httpx2.AsyncClient | None = None

    async def add_checkpoint(self, url: str, body: bytes) -> Cosigned | SizeConflict | Declined:
        """Send one submission; see `ports.witness.WitnessClient`."""
        if self._client is None:
            self._client = httpx2.AsyncClient(
                verify=ssl.create_default_context(), timeout=self._timeout_s, trust_env=False
            )
        target = f"{url.rstrip('/')}/add-checkpoint"
        try:
            async with self._client.stream("POST", target, content=body) as response:
                text = await _read(response)
                media = response.headers.get("content-type", "").partition(";")[0].strip()
                status = response.status_code
        except httpx2.HTTPError as error:
            raise _unavailable(url, str(error) or type(error).__name__) from error
        if status == 200:
            return Cosigned(text)
        if status == 409 and media == TLOG_SIZE_MEDIA:
            found = _size(text)
            if found is None:
                raise _unavailable(url, "it answered 409 with no size in it")
            return SizeConflict(int(found[1]))
        if status == 429 or not 400 <= status < 500:
            raise _unavailable(url, f"it answered {status}")
        words = "".join(one if one.isprintable() else " " for one in text).strip()
        return Declined(status, words[:REASON_CHARACTERS_MAX])

    async def aclose(self) -> None:
        """Close the pooled connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


async def _read(response: httpx2.Response) -> str:
    data = b""
    async for piece in response.aiter_bytes():
        data += piece
        if len(data) > ANSWER_BYTES_MAX:
            raise _unavailable(str(response.url), f"it answered over {ANSWER_BYTES_MAX} octets")
    return data.decode("utf-8", "replace")


def _unavailable(url: str, reason: str) -> WitnessUnavailable:
    return WitnessUnavailable(
        f"the witness at {url} is not available: {reason}",
        next_step="Nothing: it is asked again. If it stays so, ask whoever runs it.",
    )
