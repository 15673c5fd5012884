"""A call as octets of HTTP/1.1, checked so that it can never become two requests.

Both upstream adapters refuse the same calls: a URL that is not plain ASCII http(s), a header whose
name or value could end the line, and headers that frame the message, which are the adapter's own.
A refusal is `UpstreamUnreachable`, not retryable: nothing was sent and no deployment would help.
"""

import re
from dataclasses import dataclass

from verismo.model.errors import UpstreamUnreachable
from verismo.ports.upstream import UpstreamCall

CACHE_ENTRIES_MAX = 1_024
"""URLs and header lines remembered; more than that are forgotten all at once."""

CACHED_TEXT_MAX = 1_024
"""A longer URL or header value is not worth remembering: it will hardly come again."""

ADAPTER_HEADERS = frozenset(
    (
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
"""Headers that frame the message or its coding: RFC 9110 7.6.1, RFC 9112 6."""

_METHOD = re.compile(r"[A-Z]{1,32}").fullmatch
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_VALUE = re.compile(
    r"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?"
).fullmatch
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9](?:[A-Za-z0-9._\-]*)|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>/[!$-;=?-Z\[\]^_a-z|~{}@%]*)?"
    r"(?P<query>\?[!$-;=?-Z\[\]^_a-z|~{}@%]*)?"
).fullmatch

UNREPEATED_HEADERS = frozenset(("traceparent",))
"""Headers whose value never comes again: remembering it would drive out what does."""

BODIED_METHODS = frozenset(("PATCH", "POST", "PUT"))
"""Methods whose empty body has a length of 0, not none: RFC 9110 8.6."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a connection leads: the key of a pool. `host` has no brackets."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"


def refused(detail: str) -> UpstreamUnreachable:
    """Return the error for a call that must not be sent."""
    return UpstreamUnreachable(f"{detail}; nothing was sent", retryable=False)


def parse_url(url: str) -> tuple[Origin, str, str]:
    """Split a URL into origin, authority (the `host` header) and request target.

    Args:
        url: absolute http or https, ASCII, percent-encoded, without user, password or fragment.

    Raises:
        UpstreamUnreachable: the URL is none of that; mend the provider's `base_url`.

    Source: RFC 9112 3.2.1, RFC 3986.
    """
    parts = _URL(url)
    if parts is None:
        raise refused("the upstream's URL is not a plain http or https URL")
    scheme, host, port = parts["scheme"], parts["host"], parts["port"]
    number = int(port) if port else {"http": 80, "https": 443}[scheme]
    if not 0 < number < 65_536:
        raise refused("the upstream's URL names a port outside 1 to 65535")
    origin = Origin(scheme, host.strip("[]").lower(), number)
    authority = f"{host}:{port}" if port else host
    return origin, authority, (parts["path"] or "/") + (parts["query"] or "")


def check_method(method: str) -> None:
    """Refuse a method that is not a plain upper-case word, and CONNECT, which is no exchange."""
    if _METHOD(method) is None or method == "CONNECT":
        raise refused("the method is not one that can be sent")


def check_header(name: str, value: str) -> None:
    """Refuse a header that is the adapter's or that could end its own line.

    Raises:
        UpstreamUnreachable: names the header, never its value.

    Source: RFC 9110 5.5 and 5.6.2.
    """
    if _NAME(name) is None:
        raise refused("a header's name is not a lower-case token")
    if name in ADAPTER_HEADERS:
        raise refused(f"the header `{name}` is set by the upstream adapter alone")
    if _VALUE(value) is None:
        raise refused(f"the header `{name}` holds characters that HTTP does not allow")


class RequestEncoder:
    """Turns calls into octets; remembers what repeats: request lines and header lines.

    Args:
        accept_gzip: ask for compressed answers.
    """

    def __init__(self, *, accept_gzip: bool) -> None:
        self._coding = "gzip" if accept_gzip else "identity"
        self._starts: dict[tuple[str, str], tuple[Origin, bytes]] = {}
        self._lines: dict[tuple[str, str], bytes] = {}

    def encode(self, call: UpstreamCall) -> tuple[Origin, bytes]:
        """Return where a call goes and the octets of its head.

        Raises:
            UpstreamUnreachable: it must not be sent, see `parse_url` and `check_header`.
        """
        origin, start = self._starts.get((call.method, call.url)) or self._start(call)
        lines = self._lines
        middle = b"".join([lines.get(pair) or self._line(*pair) for pair in call.headers])
        if call.body or call.method in BODIED_METHODS:
            return origin, b"%b%bcontent-length: %d\r\n\r\n" % (start, middle, len(call.body))
        return origin, b"%b%b\r\n" % (start, middle)

    def _start(self, call: UpstreamCall) -> tuple[Origin, bytes]:
        check_method(call.method)
        origin, authority, target = parse_url(call.url)
        text = (
            f"{call.method} {target} HTTP/1.1\r\nhost: {authority}\r\n"
            f"accept-encoding: {self._coding}\r\n"
        )
        start = (origin, text.encode("ascii"))
        if len(call.url) <= CACHED_TEXT_MAX:
            if len(self._starts) >= CACHE_ENTRIES_MAX:
                self._starts.clear()
            self._starts[call.method, call.url] = start
        return start

    def _line(self, name: str, value: str) -> bytes:
        check_header(name, value)
        line = f"{name}: {value}\r\n".encode("latin-1")
        if len(value) <= CACHED_TEXT_MAX and name not in UNREPEATED_HEADERS:
            if len(self._lines) >= CACHE_ENTRIES_MAX:
                self._lines.clear()
            self._lines[name, value] = line
        return line
