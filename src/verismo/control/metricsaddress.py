"""Addresses at which metrics are read: how they are completed, compared and shown."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import SplitResult, urlsplit

DEFAULT_PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443}
_credentials: Final = re.compile(r"//[^/]*@")


def endpoint(url: str) -> str:
    """Return the address of the metrics: `/metrics` where a URL has no path."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return url if slash and path else f"{scheme}://{host}/metrics"


def is_one_address(one: str, other: str) -> bool:
    """Say whether two URLs name one address, however they are written."""
    try:
        return _address(urlsplit(one)) == _address(urlsplit(other))
    except ValueError:
        return one == other


def _address(url: SplitResult) -> tuple[object, ...]:
    host, port = (url.hostname or "").rstrip("."), url.port or DEFAULT_PORTS.get(url.scheme)
    return url.scheme, host, port, url.path, url.query


def shown_address(url: str) -> str:
    """Return an address for people and files: without credentials and without its query."""
    return _credentials.sub("//", url.partition("?")[0])
