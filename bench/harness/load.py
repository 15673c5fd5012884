"""Load for one slice: wrk on the load's core, and what the gateway used meanwhile."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness.connection import Connection
from harness.gateways import CHAT_PATH, Gateway

TIMEOUT_S = 15
_SCRIPT = Path(__file__).with_name("wrk.lua")


class LoadFailed(RuntimeError):
    """The load generator or a first request failed; says how."""


class _Said(msgspec.Struct, frozen=True):
    """What wrk.lua prints; times in us, `refused` counts statuses from 400 on."""

    requests: int
    duration_us: int
    p50_us: int
    p99_us: int
    refused: int
    broken: int
    late: int


@dataclass(frozen=True)
class Slice:
    """One measured slice.

    Args:
        requests: answered.
        failed: refused, broken off or later than TIMEOUT_S.
        requests_per_s: answered per second.
        p50_ms, p99_ms: latency; wrk corrects it for the requests that a stall kept from being sent.
        cpu_us: CPU time of all the gateway's processes for one request.
    """

    requests: int
    failed: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float


@dataclass(frozen=True)
class Load:
    """How a slice is loaded.

    Args:
        scenario: `small`, `prompt87k` or `stream50`.
        connections: kept connections, each with one request at a time.
        seconds: how long.
    """

    scenario: str
    connections: int
    seconds: int


def warm(gateway: Gateway, scenario: str, requests: int) -> None:
    """Send a few requests one after the other and check that each is answered 200.

    Raises:
        LoadFailed: one was not.
    """
    with Connection(gateway.port) as connection:
        message = connection.message("POST", CHAT_PATH, gateway.body(scenario), gateway.key)
        for _ in range(requests):
            answer = connection.ask(message)
            if answer.status != 200:
                said = f"{answer.status} {answer.body[:300]!r}"
                raise LoadFailed(f"{gateway.name} answers {scenario} with {said}")


def measure(gateway: Gateway, load: Load, folder: Path, core: int) -> Slice:
    """Load a gateway for a slice of time.

    Args:
        gateway: warmed before.
        load: what with.
        folder: for the request's body.
        core: for wrk.
    """
    file = folder / f"{gateway.name}-{load.scenario}.json"
    file.write_bytes(gateway.body(load.scenario))
    command = ["taskset", "-c", str(core), "wrk", "-t", "1", "-c", str(load.connections)]
    command += ["-d", f"{load.seconds}s", "--timeout", f"{TIMEOUT_S}s", "-s", str(_SCRIPT)]
    command += [gateway.url, "--", str(file), gateway.key]
    before_s = gateway.program.cpu_s()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    used_s = gateway.program.cpu_s() - before_s
    line = next((one for one in done.stdout.splitlines() if one.startswith("RESULT ")), None)
    if line is None:
        raise LoadFailed(f"wrk: {done.stderr.strip() or done.stdout.strip()}")
    said = msgspec.json.decode(line.removeprefix("RESULT "), type=_Said)
    answered = said.requests - said.refused
    return Slice(
        requests=answered,
        failed=said.refused + said.broken + said.late,
        requests_per_s=answered / (said.duration_us / 1e6),
        p50_ms=said.p50_us / 1e3,
        p99_ms=said.p99_us / 1e3,
        cpu_us=used_s / max(answered, 1) * 1e6,
    )
