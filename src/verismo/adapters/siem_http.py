"""The SIEM sink that posts NDJSON batches to an HTTP collector.

2xx takes a batch. 4xx that speaks of the content refuses it: the batch is halved until the events
that are at fault stand alone, and only they are refused. Everything else (no connection, 3xx, 429,
5xx, and 4xx that speak of the credential or the address) leaves the whole batch to be sent again.

Source: RFC 9110, sections 15 and 10.2.3 (Retry-After).
"""

import ssl
from collections.abc import Callable, Iterator, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

import httpx2
import msgspec

from verismo.model.errors import StateError
from verismo.model.siem import SiemEvent
from verismo.ports.siem import Refusal, SinkUnavailable

MEDIA: Final = "application/x-ndjson"
BODY_BYTES_MAX: Final = 1_048_576
"""Larger batches are sent in parts; collectors' limits begin at 1 MB."""
ANSWER_BYTES_MAX: Final = 65_536
"""Read of an answer, so that the connection can be kept; more closes it."""
_AGAIN: Final = frozenset({401, 403, 404, 405, 407, 408, 421, 423, 425, 429})
"""4xx that are not the events' fault: a wrong token must not make a thousand dead letters."""


class HttpSettings(msgspec.Struct, frozen=True):
    """A collector and how it is spoken to.

    Args:
        url: where batches are posted.
        token: credential; empty for none. `repr` hides it.
        auth_scheme: text before the token, such as `Bearer `.
        ca_file: PEM certificates to trust instead of the system's.
        query_url: where a span of time is read back; empty if the collector cannot.
        timeout_s: for each step of an exchange.
    """

    url: str
    token: str = ""
    auth_scheme: str = "Bearer "
    ca_file: Path | None = None
    query_url: str = ""
    timeout_s: float = 10.0

    def __repr__(self) -> str:
        return f"HttpSettings({self.url})"


class HttpSink:
    """A `SiemSink` over one collector. A batch is with it once it has answered 2xx.

    Args:
        settings: the collector.
        now_s: returns Unix seconds; for a Retry-After that names a date.
    """

    def __init__(self, settings: HttpSettings, now_s: Callable[[], float]) -> None:
        self._settings = settings
        self._now_s = now_s
        self._client: httpx2.AsyncClient | None = None

    async def send(self, events: Sequence[SiemEvent]) -> Sequence[Refusal]:
        """Post a batch; what the collector refuses even alone is refused.

        Raises:
            SinkUnavailable: not all is known to be taken or refused; send the batch again.
        """
        refusals: list[Refusal] = []
        # Spans still to send, the first one last: positions are handled in their order.
        spans = [*reversed(_parts(events))]
        while spans:
            first, end = spans.pop()
            status = await self._post(b"".join(one.data + b"\n" for one in events[first:end]))
            if 200 <= status < 300:
                continue
            if end - first == 1:
                refusals.append(Refusal(first, f"the collector answered {status}"))
                continue
            middle = (first + end) // 2
            spans += [(middle, end), (first, middle)]
        return refusals

    async def aclose(self) -> None:
        """Close the pooled connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _post(self, body: bytes) -> int:
        """Return a status that takes or refuses the body.

        Raises:
            SinkUnavailable: no answer, or one that says neither.
        """
        settings = self._settings
        if self._client is None:
            self._client = httpx2.AsyncClient(
                verify=_trusted(settings), timeout=settings.timeout_s, trust_env=False
            )
        headers = {"content-type": MEDIA, **_credential(settings)}
        try:
            async with self._client.stream(
                "POST", settings.url, content=body, headers=headers
            ) as response:
                await _skim(response)
                status, retry_after = response.status_code, response.headers.get("retry-after", "")
        except httpx2.HTTPError as error:
            name = type(error).__name__
            raise SinkUnavailable(f"collector {settings.url}: {str(error) or name}") from error
        if 200 <= status < 300 or (400 <= status < 500 and status not in _AGAIN):
            return status
        raise SinkUnavailable(
            f"collector {settings.url} answered {status}",
            retry_after_s=_retry_after_s(retry_after, self._now_s()),
        )


class HttpSinkReader:
    """A `SinkReader` over a collector that answers a span of time with NDJSON.

    The request is `GET query_url?since_ms=...&until_ms=...` with the sink's credential.

    Args:
        settings: the collector; `query_url` is set.
    """

    def __init__(self, settings: HttpSettings) -> None:
        self._settings = settings

    def lines(self, since_ms: int, until_ms: int) -> Iterator[bytes]:
        """Yield the collector's lines of a span of time.

        Raises:
            StateError: it does not answer, or not with 2xx.
        """
        settings = self._settings
        span = {"since_ms": str(since_ms), "until_ms": str(until_ms)}
        url = httpx2.URL(settings.query_url).copy_merge_params(span)
        try:
            with (
                httpx2.Client(
                    verify=_trusted(settings), timeout=settings.timeout_s, trust_env=False
                ) as client,
                client.stream("GET", url, headers=_credential(settings)) as response,
            ):
                if not response.is_success:
                    raise _unreadable(settings, f"it answered {response.status_code}")
                yield from _split(response.iter_bytes())
        except httpx2.HTTPError as error:
            raise _unreadable(settings, str(error) or type(error).__name__) from error


def _unreadable(settings: HttpSettings, reason: str) -> StateError:
    return StateError(
        f"{settings.query_url} cannot be read back: {reason}",
        next_step="Check `query_url` and the token, or export the records and use --from FILE.",
    )


def _parts(events: Sequence[SiemEvent]) -> list[tuple[int, int]]:
    """Cut a batch into spans of at most `BODY_BYTES_MAX`; one event may be longer alone."""
    spans: list[tuple[int, int]] = []
    first, size = 0, 0
    for position, event in enumerate(events):
        if size and size + len(event.data) + 1 > BODY_BYTES_MAX:
            spans.append((first, position))
            first, size = position, 0
        size += len(event.data) + 1
    return [*spans, (first, len(events))]


def _credential(settings: HttpSettings) -> dict[str, str]:
    if not settings.token:
        return {}
    return {"authorization": settings.auth_scheme + settings.token}


def _trusted(settings: HttpSettings) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=settings.ca_file)


async def _skim(response: httpx2.Response) -> None:
    """Read an answer to its end if it is short: then the connection is used again."""
    size = 0
    async for piece in response.aiter_raw():
        size += len(piece)
        if size > ANSWER_BYTES_MAX:
            return


def _retry_after_s(text: str, now_s: float) -> float | None:
    """Return the seconds that a Retry-After asks for; None if it says nothing readable."""
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now_s)
    except ValueError:
        return None


def _split(pieces: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
    if rest:
        yield rest
