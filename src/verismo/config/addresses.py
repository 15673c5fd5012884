"""Checks on addresses: listeners, networks, origins and base URLs."""

import ipaddress
import re
from urllib.parse import urlsplit

from verismo.config.locate import KeyPath
from verismo.config.source import Source
from verismo.config.tables import ControlTable, ListenTable

_EVERYWHERE = frozenset({"0.0.0.0", "::", ""})
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def check_listeners(listen: ListenTable, control: ControlTable, source: Source) -> None:
    """Check both listeners, the proxies that are trusted, and the origins of browsers."""
    hosts = {listen.host, control.host}
    share_host = len(hosts) == 1 or hosts & _EVERYWHERE or hosts <= _LOOPBACK
    if listen.port == control.port != 0 and share_host:
        source.error(("control", "port"), f"{control.port} is the public listener's port too")
    for table, host in (("listen", listen.host), ("control", control.host)):
        if re.fullmatch(r"[A-Za-z0-9.:_-]+", host) is None:
            source.error((table, "host"), f"{host!r} is neither an address nor a host name")
    if control.host not in _LOOPBACK:
        source.warn(
            ("control", "host"),
            "the control listener speaks plain HTTP; outside loopback put TLS in front of it",
        )
    for index, network in enumerate(listen.trusted_proxies):
        _check_network(network, source, ("listen", "trusted_proxies", index))
    for index, origin in enumerate(listen.cors_origins):
        if origin != "*" and re.fullmatch(r"https?://[^/?#@\s]+", origin) is None:
            source.error(
                ("listen", "cors_origins", index),
                f"{origin!r} is not an origin; write https://host or https://host:port, no path",
            )


def _check_network(network: str, source: Source, path: KeyPath) -> None:
    try:
        found = ipaddress.ip_network(network)
    except ValueError as error:
        source.error(path, f"{error}; write a network such as 10.0.0.0/8")
        return
    if found.prefixlen == 0:
        source.error(path, f"{network} trusts everybody: any client could then claim any address")


def check_url(url: str, source: Source, path: KeyPath) -> str:
    """Check a base URL and return it without trailing slashes.

    A credential inside a URL is refused: URLs are shown in logs and are part of the plan.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        source.error(path, f"not a URL: {error}")
        return url
    if parts.scheme not in ("http", "https") or not parts.hostname:
        source.error(path, "must start with http:// or https:// and name a host")
    elif re.fullmatch(r"[!-~]+", url) is None:
        source.error(path, "has a space or a character outside ASCII")
    elif parts.username is not None or parts.password is not None:
        source.error(path, "holds a credential; use api_key_env or api_key_file instead")
    elif parts.query or parts.fragment or url.endswith(("?", "#")):
        source.error(path, "must not have a query or fragment")
    elif port == 0:
        source.error(path, "names port 0")
    elif parts.scheme == "http" and not _is_private(parts.hostname):
        source.warn(path, "plain http:// to another machine sends everything in clear")
    return url.rstrip("/")


def _is_private(host: str) -> bool:
    """Say whether a host is this machine, a private address or a name without a dot."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or "." not in host or host.endswith((".local", ".internal"))
    return address.is_loopback or address.is_private
