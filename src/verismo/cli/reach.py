"""Whether what the configuration names can be reached from this machine."""

import socket
from collections.abc import Iterator
from time import perf_counter
from typing import Final
from urllib.parse import urlsplit

import msgspec

from verismo.cli.finding import Finding
from verismo.config.schema import Config

CONNECT_S_MAX: Final = 3.0


def examine_providers(config: Config) -> Iterator[Finding]:
    """Connect to each provider once, with a deadline; nothing is sent."""
    for provider in config.plan.providers.values():
        deployments = [d.id for d in config.plan.deployments.values() if d.provider == provider.id]
        if deployments:
            missed = Finding(
                "fail",
                "provider",
                ", ".join(deployments),
                "Start it, mend base_url, or open the way to it (`verismo simulate` is the "
                "simulator).",
            )
            yield _connect(*_address(provider.base_url), missed)


def examine_receivers(config: Config) -> Iterator[Finding]:
    """Connect to witnesses, SIEM sinks and a named S3 store; answers wait for none of them."""
    later = "Answers go on; mend its address, or open the way to it."
    for witness in config.witness.urls:
        missed = Finding("warn", "witness", witness.name, later)
        yield _connect(*_address(witness.url), missed)
    for sink in config.siem.sinks:
        missed = Finding("warn", "siem", sink.name, later)
        if sink.kind == "syslog":
            yield _connect(sink.host, sink.port, missed)
        elif sink.kind == "http":
            yield _connect(*_address(sink.url), missed)
    if config.archive.kind == "s3" and config.archive.endpoint:
        missed = Finding("warn", "archive", config.archive.bucket, later)
        yield _connect(*_address(config.archive.endpoint), missed)


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _connect(host: str, port: int, missed: Finding) -> Finding:
    """Connect once; `missed` is the finding if that fails, its detail says what for."""
    started_s = perf_counter()
    try:
        socket.create_connection((host, port), timeout=CONNECT_S_MAX).close()
    except OSError as error:
        detail = f"{host}:{port} for {missed.detail}: {error.strerror or error}"
        return msgspec.structs.replace(missed, detail=detail)
    elapsed_ms = (perf_counter() - started_s) * 1_000
    return Finding("ok", missed.what, f"{host}:{port} in {elapsed_ms:.0f} ms for {missed.detail}")
