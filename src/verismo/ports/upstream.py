"""The upstream: one HTTP exchange with a provider."""

from collections.abc import AsyncIterator, Callable
from typing import Protocol

import msgspec

from verismo.model.operation import Timeouts


class UpstreamCall(msgspec.Struct, frozen=True):
    """One request to a provider.

    Args:
        method: upper case.
        url: absolute, with scheme.
        headers: name (lower case) and value; `host` and `content-length` are the adapter's.
        body: octets; empty for none.
        timeouts: connect, first byte, total; milliseconds.
        response_bytes_max: an answer over this is `UpstreamTooLarge`.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    timeouts: Timeouts
    response_bytes_max: int

    def __repr__(self) -> str:
        return f"UpstreamCall({self.method} {self.url}, {len(self.body)} bytes)"


class UpstreamReply(Protocol):
    """An answer whose headers are here: read it once, then close it.

    Read it by `read`, by `chunks`, or by `listen` and `take`, with which a wait can be given up and
    taken up again: nothing but `aclose` breaks off what is listened to.
    """

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    def header(self, name: str) -> str:
        """Return a header's value by lower-case name, or an empty text."""
        ...

    async def read(self) -> bytes:
        """Return the whole body, content coding removed.

        Raises:
            UpstreamTooLarge, UpstreamTimeout, UpstreamBroken: as their names say.
        """
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives, content coding removed; raises as `read` does."""
        ...

    def listen(self, heard: Callable[[], None]) -> None:
        """Have a callback called, in the event loop, whenever `take` may have something new.

        What is there already need not be told: take it first. An error that stands behind the
        bytes of a `take` is told anew. Reading ahead is bounded.
        """
        ...

    def take(self) -> tuple[bytes, bool]:
        """Return what has come since the last call, and whether the answer is complete with it.

        Never waits; content coding is removed. Raises as `read` does, once all that came before
        the error was taken.
        """
        ...

    async def aclose(self) -> None:
        """Give the connection back, or break it off if the body was not read to its end.

        Breaking off tells the provider to stop working. Calling it twice is allowed.
        """
        ...


class Upstream(Protocol):
    """Sends calls over pooled keep-alive connections.

    Redirects are never followed; proxies of the environment are not used. A connection that the
    provider closed while it was idle is replaced once without an error if nothing was sent on it.
    No other retries: the pipeline decides them. Cancelling the task breaks the exchange off.
    """

    async def send(self, call: UpstreamCall) -> UpstreamReply:
        """Send a call and wait for the answer's headers.

        Raises:
            UpstreamUnreachable: no connection; nothing was sent, another deployment may be tried.
            UpstreamTimeout: connect or first byte took too long.
            UpstreamBroken: the connection broke or it did not speak HTTP.
        """
        ...

    async def aclose(self) -> None:
        """Close every pooled connection."""
        ...
