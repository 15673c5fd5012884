"""`verismo doctor`: what is missing or wrong on this machine, each with a next step."""

import errno
import importlib
import ipaddress
import os
import shutil
import socket
import stat
import statistics
import sys
import tempfile
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from time import perf_counter, time
from typing import Final

import click

import verismo.config
from verismo.cli.finding import Finding, Level
from verismo.cli.options import config_option
from verismo.cli.reach import CONNECT_S_MAX, examine_providers, examine_receivers
from verismo.config.load import load_config
from verismo.config.schema import Config
from verismo.model.errors import ConfigError, OperatorError, StateError
from verismo.wiring.adaptstate import read_adapt_state
from verismo.wiring.chosen import policy_digest

PYTHON_MIN: Final = (3, 11)
FSYNC_PROBES: Final = 16
FSYNC_BYTES: Final = 4_096
FSYNC_MS_MIN: Final = 0.005
"""A flush that takes less than 5 us is a system call and nothing more: no device answers so fast
(tmpfs, or a library that turns fsync off)."""
FSYNC_MS_MAX: Final = 20.0
"""Every answer waits for one flush; beyond this it is felt by the caller."""
FREE_BYTES_FAIL: Final = 104_857_600
FREE_BYTES_WARN: Final = 1_073_741_824
CLOCK_S_AHEAD_MAX: Final = 60.0
PACKAGES: Final = (
    "alembic",
    "genai_prices",
    "graphql",
    "regorus",
    "httptools",
    "opentelemetry.exporter.otlp.proto.http",
    "opentelemetry.proto",
    "opentelemetry.sdk",
    "prometheus_client",
    "nacl",
    "pyreqwest",
    "sqlalchemy",
    "starlette",
    "uvicorn",
    "uvloop",
)
"""What the extra `gateway` brings, by module name."""


@click.command()
@config_option
@click.option("--offline", is_flag=True, help="Connect to nobody.")
def doctor(config: Path, offline: bool) -> None:
    """Say what is missing or wrong on this machine; exit code 1 if anything fails.

    Nothing is changed: the measurement of the disk uses a temporary file.
    """
    failed = False
    for finding in _examine(config, offline=offline):
        click.echo(f"{finding.level:<5} {finding.what:<12} {finding.detail}")
        if finding.next_step:
            click.echo(f"{'':<18} next: {finding.next_step}")
        failed = failed or finding.level == "fail"
    if failed:
        sys.exit(1)


def _examine(path: Path, *, offline: bool) -> Iterator[Finding]:
    yield examine_python(sys.version_info[:3])
    yield examine_packages()
    yield examine_clock(time(), Path(verismo.config.__file__), "this installation")
    try:
        config = load_config(path)
    except ConfigError as error:
        detail = error.detail.replace("\n       ", f"\n{'':<19}")
        yield Finding("fail", "config", detail, error.advice)
        return
    yield Finding("ok", "config", f"{config.path}, {len(config.warnings)} warnings")
    yield examine_policy(config)
    yield from examine_credentials(config)
    yield from examine_data(config)
    yield from examine_key_files(config)
    yield examine_controllers(config)
    yield examine_port("port", config.listen.host, config.listen.port)
    yield examine_port("control", config.control.host, config.control.port)
    yield examine_tls(config)
    if offline:
        yield Finding("warn", "connections", "not looked at (--offline)")
    else:
        yield from examine_providers(config)
        yield from examine_receivers(config)


def examine_policy(config: Config) -> Finding:
    """Load the policy's bundle as a worker does."""
    try:
        digest = policy_digest(config)
    except OperatorError as error:
        return Finding("fail", "policy", error.detail, error.advice)
    return Finding("ok", "policy", f"{config.policy}, bundle {digest}")


def examine_controllers(config: Config) -> Finding:
    """Check that what the controllers have left can be followed by gateways that start now."""
    if not config.adapt.enabled:
        return Finding("ok", "controllers", "off: rollouts stand at their baselines")
    try:
        state = read_adapt_state(config)
    except StateError as error:
        return Finding("fail", "controllers", error.detail, error.advice)
    if not state.is_ours:
        return Finding(
            "warn",
            "controllers",
            f"steering version {state.version} is of another configuration",
            "Start the gateway: it publishes the next version; until then baselines answer.",
        )
    told = f"steering version {state.version}" if state.version else "no steering yet"
    return Finding("ok", "controllers", f"record {state.record}, {told}")


def examine_python(version: tuple[int, ...]) -> Finding:
    """Check the interpreter's version."""
    text = ".".join(str(part) for part in version)
    if version[:2] < PYTHON_MIN:
        return Finding("fail", "python", text, "Use Python 3.11 or newer.")
    return Finding("ok", "python", text)


def examine_packages(modules: tuple[str, ...] = PACKAGES) -> Finding:
    """Import every package of the extra `gateway`, so that broken binaries are seen too."""
    missing: list[str] = []
    for module in modules:
        try:
            importlib.import_module(module)
        except (ImportError, OSError) as error:
            missing.append(f"{module} ({error})")
    if missing:
        return Finding(
            "fail", "packages", "; ".join(missing), "Run: pip install 'verismo[gateway]'"
        )
    return Finding("ok", "packages", f"{len(modules)} of the extra `gateway` import")


def examine_clock(now_s: float, newest: Path, what: str) -> Finding:
    """Compare the clock with a file that cannot be from the future: `iat` and prov_id hold it."""
    ahead_s = newest.stat().st_mtime - now_s
    if ahead_s > CLOCK_S_AHEAD_MAX:
        return Finding(
            "fail",
            "clock",
            f"{what} is {ahead_s:.0f} s newer than the clock: the clock is behind",
            "Set the clock and keep it with NTP (chrony, systemd-timesyncd).",
        )
    return Finding("ok", "clock", f"not behind {what}")


def examine_credentials(config: Config) -> Iterator[Finding]:
    """Check that every provider that names a credential has one."""
    for provider in config.plan.providers.values():
        if not provider.auth_header:
            continue
        if provider.id in config.credentials:
            yield Finding("ok", "credential", f"{provider.id} has one")
        else:
            yield Finding(
                "fail",
                "credential",
                f"{provider.id} has none",
                f"Set what api_key_env or api_key_file of [providers.{provider.id}] names.",
            )


def examine_data(config: Config) -> Iterator[Finding]:
    """Check the data folder: writable, flushes measured, space left, no file from the future."""
    folder = existing_parent(config.data)
    try:
        median_ms = measure_fsync_ms(folder)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        yield Finding(
            "fail",
            "data",
            f"{folder}: {error.strerror}",
            "Make space, or move the data folder to a larger disk."
            if error.errno in (errno.ENOSPC, errno.EDQUOT)
            else "Give the user that runs Verismo write permission, or set `data`.",
        )
        return
    yield Finding("ok", "data", f"{config.data} is writable")
    yield judge_fsync(median_ms)
    yield judge_space(free)
    files = sorted(config.data.rglob("*.db"), key=lambda file: file.stat().st_mtime)
    if files:
        yield examine_clock(time(), files[-1], files[-1].name)


def existing_parent(folder: Path) -> Path:
    """Return the folder, or the nearest folder above it that exists."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder


def measure_fsync_ms(folder: Path) -> float:
    """Write and flush a temporary file a few times.

    Returns:
        The median of the flushes, milliseconds.
    """
    times_ms: list[float] = []
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".verismo-doctor.") as probe:
        for _ in range(FSYNC_PROBES):
            probe.write(b"\0" * FSYNC_BYTES)
            probe.flush()
            start_s = perf_counter()
            os.fsync(probe.fileno())
            times_ms.append((perf_counter() - start_s) * 1_000)
    return statistics.median(times_ms)


def judge_fsync(median_ms: float) -> Finding:
    """Judge the measured median of a flush."""
    detail = f"median {median_ms:.3f} ms over {FSYNC_PROBES} flushes of {FSYNC_BYTES} bytes"
    if median_ms < FSYNC_MS_MIN:
        return Finding(
            "warn",
            "fsync",
            f"{detail}: too fast to reach a disk",
            "Put the data folder on a real disk: what is in memory does not survive a power cut.",
        )
    if median_ms > FSYNC_MS_MAX:
        return Finding(
            "warn",
            "fsync",
            f"{detail}: every answer waits for one",
            "Put the data folder on a local SSD.",
        )
    return Finding("ok", "fsync", detail)


def judge_space(free_bytes: int) -> Finding:
    """Judge the free space: a full disk stops every answer."""
    detail = f"{free_bytes / 2**30:.1f} GiB free"
    if free_bytes < FREE_BYTES_WARN:
        level: Level = "fail" if free_bytes < FREE_BYTES_FAIL else "warn"
        return Finding(level, "disk", detail, "Free some space: a full disk stops every answer.")
    return Finding("ok", "disk", detail)


def examine_key_files(config: Config) -> Iterator[Finding]:
    """Check that private keys are their owner's alone."""
    keys = config.data / "keys"
    # Checkpoints are published: they lie beside the keys because that folder is kept best.
    files = [
        path
        for path in sorted(keys.rglob("*"))
        if path.is_file() and not path.is_relative_to(keys / "checkpoints")
    ]
    if config.listen.tls_key is not None:
        files.append(config.listen.tls_key)
    open_files = [file for file in files if stat.S_IMODE(file.stat().st_mode) & 0o077]
    for file in open_files:
        yield Finding("fail", "key files", f"{file} can be read by others", f"chmod 600 {file}")
    if not open_files:
        yield Finding("ok", "key files", f"{len(files)} looked at")


def examine_port(what: str, host: str, port: int) -> Finding:
    """Check that a port can be bound, or is held by a gateway already."""
    place = f"{host}:{port}"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if _answers_health(host, port):
            return Finding("warn", what, f"{place} is held by a server that answers /healthz: fine")
        return Finding(
            "fail",
            what,
            f"{place}: {error.strerror}",
            f"Stop what listens there, unless it is this gateway, or choose another {what}.",
        )
    return Finding("ok", what, f"{place} is free")


def _answers_health(host: str, port: int) -> bool:
    connection = HTTPConnection(_reachable(host), port, timeout=CONNECT_S_MAX)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _reachable(host: str) -> str:
    """Return an address to call for an address that is bound."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "::1"
    return host


def examine_tls(config: Config) -> Finding:
    """Say what browsers need; they verify only in a secure context (decisions 25)."""
    if config.listen.tls_cert is not None:
        return Finding("ok", "tls", "on")
    if config.listen.trusted_proxies:
        return Finding("ok", "tls", "expected at the trusted proxies")
    return Finding(
        "warn",
        "tls",
        "off: browsers verify answers only over https:// or on localhost",
        "For other machines set listen.tls_cert and tls_key, or put a TLS proxy in front.",
    )
