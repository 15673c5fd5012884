"""What every provider dialect can do: spell a call, read an answer, translate a stream.

Dialects are pure: bytes in, bytes out. The pipeline does the sending, the timing and the sealing.
"""

from typing import Protocol

import msgspec

from verismo.gateway.jsonbody import JsonBody
from verismo.model.errors import UpstreamFailed
from verismo.model.hop import Attribute
from verismo.model.operation import Deployment
from verismo.model.traffic import Usage


class Outbound(msgspec.Struct, frozen=True):
    """A request to a provider, without address and credential.

    Args:
        method: upper case.
        path: appended to the provider's base URL; starts with `/` or is empty.
        headers: lower-case names; `content-type` included.
        body: octets.
    """

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Inbound(msgspec.Struct, frozen=True):
    """A provider's whole answer, as the client gets it.

    Args:
        status: HTTP status for the client.
        media: content type for the client.
        body: octets for the client; the provider's own bytes unless the dialect translates.
        usage: tokens the provider counted, None if it said nothing.
        model: the model that the provider says answered; empty if it said nothing.
        facts: what the graph says about the answer besides; no content.
        failure: set if the provider's error cannot be passed on as it is: the client gets this one
            instead of `media` and `body`, as its own protocol spells it.
    """

    status: int
    media: str
    body: bytes
    usage: Usage | None = None
    model: str = ""
    facts: dict[str, Attribute] = {}
    failure: UpstreamFailed | None = None


class StreamTranslator(Protocol):
    """Turns the bytes of one provider stream into client events. One object for each stream.

    Every event it returns is the exact octets that the client gets: LF line ends only, one blank
    line at its end, at least one `data:` line, never comment-only, never the `[DONE]` marker
    (the pipeline sends that after the final signature).
    """

    @property
    def usage(self) -> Usage | None:
        """Tokens counted, once the provider has said so."""
        ...

    @property
    def model(self) -> str:
        """The model that answered, once the provider has said so; else empty."""
        ...

    @property
    def ended(self) -> bool:
        """Whether the provider's own end marker was seen. If not, the stream was cut."""
        ...

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take bytes as they arrived and return the events that they complete, in order.

        Raises:
            UpstreamBroken: the provider does not speak its protocol, or one event is over 1 MiB.
        """
        ...

    def finish(self) -> list[bytes]:
        """Say that the provider closed the stream cleanly; returns the events that completes.

        For dialects whose protocol has no end marker this is what sets `ended`.
        """
        ...


class ProviderDialect(Protocol):
    """How one kind of provider is spoken to."""

    @property
    def transforms(self) -> bool:
        """Whether bodies are translated, which the graph then shows as a `transform` hop."""
        ...

    def outbound(self, kind: str, body: JsonBody, deployment: Deployment, stream: bool) -> Outbound:
        """Spell a client's call for the provider.

        Args:
            kind: the operation's kind: `chat`, `embedding`, `graphql`, `http` or `mcp`.
            body: the client's body.
            deployment: gives the model to ask.
            stream: whether the client asked for a stream.

        Raises:
            MalformedRequest: the provider has no way to say what the client asked for; names it.
        """
        ...

    def inbound(self, kind: str, status: int, media: str, body: bytes) -> Inbound:
        """Read a whole answer.

        Raises:
            UpstreamBroken: a success that is not the protocol's.
        """
        ...

    def translator(self, body: JsonBody) -> StreamTranslator:
        """Return a new translator for the stream that answers this client body."""
        ...
