"""Load for one slice: wrk on the load's core, and what the gateway used meanwhile."""

import resource
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec

from harness.connection import Connection
from harness.gateways import Gateway, Site

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
        gateway_share: how busy they kept the gateway's core, 0 to 1.
        load_share: how busy wrk and the mocks kept theirs.
    """

    requests: int
    failed: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    gateway_share: float
    load_share: float


@dataclass(frozen=True)
class Load:
    """How a slice is loaded.

    Args:
        scenario: one of SCENARIO_BYTES.
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
        message = connection.message(
            "POST", gateway.path(scenario), gateway.body(scenario), gateway.key
        )
        for _ in range(requests):
            answer = connection.ask(message)
            if answer.status != 200:
                said = f"{answer.status} {answer.body[:300]!r}"
                raise LoadFailed(f"{gateway.name} answers {scenario} with {said}")


def measure(gateway: Gateway, load: Load, place: Site) -> Slice:
    """Load a gateway for a slice of time.

    Args:
        gateway: warmed before.
        load: what with.
        place: where it runs, and the mocks.

    Raises:
        LoadFailed: wrk gave no result.
    """
    file = place.folder / f"{gateway.name}-{load.scenario}.json"
    file.write_bytes(gateway.body(load.scenario))
    command = ["taskset", "-c", str(place.chosen.load), "wrk", "-t", "1"]
    command += ["-c", str(load.connections), "-d", f"{load.seconds}s"]
    command += ["--timeout", f"{TIMEOUT_S}s", "-s", str(_SCRIPT)]
    url = f"http://127.0.0.1:{gateway.port}{gateway.path(load.scenario)}"
    command += [url, "--", str(file), gateway.key]
    before = _Used.by(gateway, place)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    used = _Used.by(gateway, place).since(before)
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
        cpu_us=used.gateway_s / max(answered, 1) * 1e6,
        gateway_share=used.gateway_s / used.clock_s,
        load_share=used.load_s / used.clock_s,
    )


@dataclass(frozen=True)
class _Used:
    """Time that has passed and CPU time that was used until some moment, in seconds."""

    clock_s: float
    gateway_s: float
    load_s: float

    @classmethod
    def by(cls, gateway: Gateway, place: Site) -> Self:
        """Read the clocks now; of the children that have ended, only wrk ends within a slice."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        mocks_s = place.mock.program.cpu_s() + place.streamer.program.cpu_s()
        load_s = mocks_s + ended.ru_utime + ended.ru_stime
        return cls(time.monotonic(), gateway.program.cpu_s(), load_s)

    def since(self, before: Self) -> Self:
        """Return what was used between."""
        return type(self)(
            self.clock_s - before.clock_s,
            self.gateway_s - before.gateway_s,
            self.load_s - before.load_s,
        )
