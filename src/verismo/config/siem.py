"""Checks `[siem]`: each sink has what its kind needs and nothing of another kind."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from verismo.config.addresses import check_url
from verismo.config.credentials import read_key_file
from verismo.config.locate import KeyPath
from verismo.config.schema import Secret, Siem, Sink
from verismo.config.siemtable import SiemTable, SinkKind, SinkTable
from verismo.config.source import Source

_KEYS: Final[Mapping[str, frozenset[str]]] = {
    "file": frozenset({"path", "rotate_bytes_max", "rotate_s_max"}),
    "syslog": frozenset(
        {
            "address",
            "tls",
            "hostname",
            "structured_data_id",
            "message_bytes_max",
            "received_file",
            "ca_file",
            "timeout_ms",
        }
    ),
    "http": frozenset(
        {
            "url",
            "token_env",
            "token_file",
            "auth_scheme",
            "query_url",
            "ca_file",
            "timeout_ms",
        }
    ),
}
_REQUIRED: Final[Mapping[SinkKind, str]] = {"syslog": "address", "http": "url"}
_ADDRESS: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})").fullmatch


def check_siem(
    table: SiemTable, source: Source, environ: Mapping[str, str], *, data: Path, required: bool
) -> Siem:
    """Check the sinks and read their tokens.

    Args:
        table: `[siem]`.
        source: verismo.toml; takes the problems. They never hold any part of a token.
        environ: the environment.
        data: the data folder, where file sinks are by default.
        required: a missing token is an error, not a warning.

    Returns:
        The export; to be used only if nothing was found wrong.
    """
    root = source.path.parent
    sinks: list[Sink] = []
    for name, sink in sorted(table.sinks.items()):
        where: KeyPath = ("siem", "sinks", name)
        _check_keys(sink, source, where)
        host, port = _host_and_port(sink, source, where)
        token = _token(sink, source, environ, where, required=required)
        sinks.append(
            Sink(
                name=name,
                kind=sink.kind,
                folder=root / sink.path if sink.path else data / "siem" / name,
                rotate_bytes_max=sink.rotate_bytes_max,
                rotate_s_max=sink.rotate_s_max,
                host=host,
                port=port,
                tls=sink.tls,
                hostname=sink.hostname,
                structured_data_id=sink.structured_data_id,
                message_bytes_max=sink.message_bytes_max,
                received_file=root / sink.received_file if sink.received_file else None,
                url=sink.url,
                token=token,
                auth_scheme=sink.auth_scheme,
                query_url=sink.query_url,
                ca_file=_ca_file(sink, source, where),
                timeout_ms=sink.timeout_ms,
            )
        )
    return Siem(table.interval_ms, table.batch_events_max, table.parity, tuple(sinks))


def _check_keys(sink: SinkTable, source: Source, where: KeyPath) -> None:
    for field in msgspec.structs.fields(SinkTable):
        is_set = not field.required and getattr(sink, field.name) != field.default
        if is_set and field.name not in _KEYS[sink.kind]:
            source.error((*where, field.name), f"does not belong to a sink of kind {sink.kind}")
    needed = _REQUIRED.get(sink.kind)
    if needed is not None and not getattr(sink, needed):
        source.error(where, f"{needed} is missing: a sink of kind {sink.kind} needs it")
    for name in ("url", "query_url"):
        address = getattr(sink, name)
        if address:
            # The query of a collector's address may name its index or its channel.
            check_url(urlsplit(address)._replace(query="").geturl(), source, (*where, name))
    if sink.kind == "syslog" and not sink.tls:
        if sink.ca_file:
            source.error((*where, "ca_file"), "is of use with `tls = true` only")
        source.warn((*where, "tls"), "events go to the receiver in clear; set `tls = true`")


def _host_and_port(sink: SinkTable, source: Source, where: KeyPath) -> tuple[str, int]:
    if not sink.address:
        return "", 0
    found = _ADDRESS(sink.address)
    if found is None or not 1 <= int(found[2]) <= 65_535:
        source.error((*where, "address"), "write HOST:PORT, such as siem.example.com:6514")
        return "", 0
    return found[1].strip("[]"), int(found[2])


def _ca_file(sink: SinkTable, source: Source, where: KeyPath) -> Path | None:
    if not sink.ca_file:
        return None
    file = source.path.parent / sink.ca_file
    if not file.is_file():
        source.error((*where, "ca_file"), f"there is no file {file}")
    return file


def _token(
    sink: SinkTable, source: Source, environ: Mapping[str, str], where: KeyPath, *, required: bool
) -> Secret | None:
    if sink.token_env and sink.token_file:
        source.error((*where, "token_file"), "set token_env or token_file, not both")
        return None
    if sink.token_env:
        key = (*where, "token_env")
        text: str | None = environ.get(sink.token_env, "")
        missing = f"the environment variable {sink.token_env} is not set"
    elif sink.token_file:
        key = (*where, "token_file")
        text = read_key_file(source.path.parent / sink.token_file, source, key)
        missing = f"{sink.token_file} is not there or is empty"
    else:
        return None
    text = None if text is None else text.strip()
    if text == "":
        (source.error if required else source.warn)(key, missing)
    elif text is not None and re.fullmatch(r"[!-~]+", text) is None:
        source.error(key, "the token has a space, line break or non-ASCII character")
    elif text is not None:
        return Secret(text)
    return None
