"""Generic HTTP providers: a JSON object goes out, whatever comes back is passed on.

Streams are any server-sent events. Such a provider has no end marker of its own: the pipeline calls
`HttpTranslator.finish` when the body came to its proper end, and only then the stream is whole.
"""

from verismo.gateway.dialects.dialect import Inbound, Outbound
from verismo.gateway.dialects.failure import JSON_MEDIA, check_status
from verismo.gateway.dialects.sse import SseSplitter, is_done
from verismo.gateway.jsonbody import JsonBody
from verismo.model.operation import Deployment
from verismo.model.traffic import Usage

MEDIA_DEFAULT = "application/octet-stream"
"""RFC 9110, 8.3: what a body without a content type may be taken for."""


class HttpDialect:
    """Posts the client's body to a path and passes the answer on."""

    @property
    def transforms(self) -> bool:
        """False: bodies are not translated."""
        return False

    def outbound(self, kind: str, body: JsonBody, deployment: Deployment, stream: bool) -> Outbound:
        """Spell a call of any kind; the deployment's model is the path.

        Args:
            kind: not looked at.
            body: forwarded byte for byte.
            deployment: its `model` is appended to the base URL; empty for the base URL itself.
            stream: decides what the `accept` header asks for.
        """
        path = deployment.model
        return Outbound(
            method="POST",
            path=path if not path or path.startswith("/") else f"/{path}",
            headers=(
                ("content-type", JSON_MEDIA),
                ("accept", "text/event-stream" if stream else "*/*"),
            ),
            body=body.text.encode(),
        )

    def inbound(self, kind: str, status: int, media: str, body: bytes) -> Inbound:
        """Pass a whole answer on, errors too; see `ProviderDialect.inbound`.

        Raises:
            UpstreamBroken: a redirect or another status that is no answer.
        """
        check_status(status)
        return Inbound(status=status, media=media or MEDIA_DEFAULT, body=body)

    def translator(self, body: JsonBody) -> "HttpTranslator":
        """Return a new translator for one stream."""
        return HttpTranslator()


class HttpTranslator:
    """Passes any event stream on; see `StreamTranslator`."""

    __slots__ = ("_ended", "_splitter")

    def __init__(self) -> None:
        self._splitter = SseSplitter()
        self._ended = False

    @property
    def usage(self) -> Usage | None:
        """None: a generic provider counts nothing that we could read."""
        return None

    @property
    def model(self) -> str:
        """Empty: a generic provider names no model."""
        return ""

    @property
    def ended(self) -> bool:
        """Whether `[DONE]` was seen or the body came to a clean end."""
        return self._ended

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take bytes as they arrived and return the events that they complete, in order.

        Raises:
            UpstreamBroken: an event is over 1 MiB.
        """
        if self._ended:
            return []
        shown: list[bytes] = []
        for event in self._splitter.feed(chunk):
            if is_done(event):
                self._ended = True
                break
            shown.append(event)
        return shown

    def finish(self) -> list[bytes]:
        """Take note of the clean end of the provider's body.

        With an event begun and not ended the stream counts as cut; the event is dropped.
        """
        rest = self._splitter.rest()
        self._ended = self._ended or not rest or is_done(rest)
        return []
