"""Checks `[slack]` and reads the webhook's address, which is a secret."""

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from verismo.config.credentials import read_key_file
from verismo.config.locate import KeyPath
from verismo.config.schema import Secret, Slack
from verismo.config.slacktable import SlackTable
from verismo.config.source import Source


def check_slack(
    table: SlackTable, source: Source, environ: Mapping[str, str], *, required: bool
) -> Slack:
    """Check the table and read the address.

    Args:
        table: `[slack]`.
        source: verismo.toml; takes the problems. They never hold any part of the address.
        environ: the environment.
        required: a missing address is an error, not a warning.

    Returns:
        The settings; without an address no card is sent.
    """
    url, where = _address(table, source, environ, required=required)
    if url and not is_webhook(url):
        source.error(where, "the address must be https:// with a host and no space")
        url = ""
    return Slack(Secret(url) if url else None, table.timeout_ms, table.controllers)


def is_webhook(url: str) -> bool:
    """Say whether cards may be posted to an address: https, or http within this machine."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if re.fullmatch(r"[!-~]+", url) is None or not host:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _address(
    table: SlackTable, source: Source, environ: Mapping[str, str], *, required: bool
) -> tuple[str, KeyPath]:
    """Return the address, empty if there is none, and the key that names it."""
    if table.webhook_url_env and table.webhook_url_file:
        key = ("slack", "webhook_url_file")
        source.error(key, "set webhook_url_env or webhook_url_file, not both")
        return "", key
    if table.webhook_url_env:
        key = ("slack", "webhook_url_env")
        text: str | None = environ.get(table.webhook_url_env, "")
        missing = f"the environment variable {table.webhook_url_env} is not set"
    elif table.webhook_url_file:
        key = ("slack", "webhook_url_file")
        text = read_key_file(source.path.parent / table.webhook_url_file, source, key)
        missing = f"{table.webhook_url_file} is not there or is empty"
    else:
        return "", ("slack",)
    if text is not None and not text.strip():
        (source.error if required else source.warn)(key, f"{missing}, so no card is sent")
    return (text or "").strip(), key
