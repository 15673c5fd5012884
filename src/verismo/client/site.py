"""Which requests are the gateway's, and which of them carry a proof."""

import re
from typing import Literal

import httpx2
import msgspec

from verismo.model.errors import ConfigError

JWKS_PATH = "/.well-known/attest/jwks.json"
KEYRING_PATH = "/.well-known/attest/keyring.json"

Kind = Literal["proven", "read", "elsewhere"]
"""`proven`: runs something, so its answer is signed. `read`: a public or record read, unsigned."""

_READS = frozenset({"/", "/healthz", "/readyz", JWKS_PATH, KEYRING_PATH})
_RECORDS = ("/v1/prov/", "/log/")
_PROOFS = re.compile(r"/v1/attest/[^/]+/proof")
_UNSIGNED = frozenset({("POST", "/v1/attest/verify"), ("POST", "/v1/traces")})
"""What is posted and yet runs no operation."""
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class Place(msgspec.Struct, frozen=True):
    """Where a request goes.

    Args:
        kind: see `Kind`.
        path: as the gateway sees it, percent-encoding kept, without the query.
        query: the raw query string, without the question mark.
    """

    kind: Kind
    path: str
    query: bytes


class Site:
    """The address of one gateway.

    Args:
        base_url: see `Gateway`.

    Raises:
        ConfigError: it is not an http or https URL, or holds more than scheme, host, port, path.
    """

    def __init__(self, base_url: str) -> None:
        try:
            url = httpx2.URL(base_url)
        except (httpx2.InvalidURL, TypeError) as error:
            raise ConfigError(
                f"base_url is not a URL: {error}", next_step="Write https://host[:port]."
            ) from error
        if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment:
            raise ConfigError(
                f"base_url {base_url!r} is not an address", next_step="Write https://host[:port]."
            )
        if url.userinfo:
            raise ConfigError(
                "base_url holds a credential", next_step="Send it as a header or in the client."
            )
        self._origin = _origin(url)
        self._mount = url.raw_path.rstrip(b"/")
        if self._mount.endswith(b"/v1"):
            raise ConfigError(
                "base_url ends in /v1", next_step="Leave it out; the openai client's has it."
            )
        self._url = url

    @property
    def jwks_url(self) -> str:
        """Where the gateway publishes its key set."""
        return self.url_of(JWKS_PATH)

    def url_of(self, path: str) -> str:
        """Return the address of a path as the gateway sees it; ASCII, percent-encoded."""
        return str(self._url.copy_with(raw_path=self._mount + path.encode("ascii")))

    def place(self, method: str, url: httpx2.URL) -> Place:
        """Say whether a request is for the gateway and whether its answer carries a proof."""
        target, _, query = url.raw_path.partition(b"?")
        if _origin(url) != self._origin or not target.startswith(self._mount + b"/"):
            return Place("elsewhere", target.decode("ascii"), query)
        path = target[len(self._mount) :].decode("ascii")
        is_read = method == "GET" and _is_read(path)
        kind: Kind = "read" if is_read or (method, path) in _UNSIGNED else "proven"
        return Place(kind, path, query)


def _is_read(path: str) -> bool:
    return path in _READS or path.startswith(_RECORDS) or _PROOFS.fullmatch(path) is not None


def require_private(address: str) -> None:
    """Refuse to take keys over plain HTTP from another machine.

    Raises:
        ConfigError: whoever sits on the way could then sign every answer.
    """
    url = httpx2.URL(address)
    if url.scheme == "https" or (url.scheme == "http" and url.host in _LOOPBACK):
        return
    raise ConfigError(
        f"keys are to be fetched from {address!r} without TLS",
        next_step="Use https, or pin the key set: Gateway(..., keys=Path(...).read_bytes()).",
    )


def _origin(url: httpx2.URL) -> tuple[str, str, int]:
    port = url.port
    if port is None:
        port = 443 if url.scheme == "https" else 80
    return url.scheme, url.host, port
