"""Throughput, latency, CPU and memory of Verismo beside other gateways, in one run.

All are up at once, each on the same single core; load generator and mocks are on another. They
take short slices in turn, round after round, and the median over the rounds is the result. Only
ratios within one run mean anything: see docs/performance.md.
"""

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from statistics import median

from harness import results
from harness.attested import SMALL_OPERATION, STREAM_OPERATION
from harness.environments import NotInstalled, locked_version
from harness.gateways import (
    LIBRARIES,
    PEERS,
    SCENARIO_BYTES,
    Gateway,
    Site,
    require_program,
    site,
    starter,
)
from harness.load import Load, Slice, measure, warm
from harness.machine import describe, versions
from harness.processes import NotStarted
from harness.table import Value

FLOOR = "passthrough"

COLUMNS = {
    "scenario": "scenario",
    "connections": "connections",
    "name": "gateway",
    "requests_per_s": "requests/s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "cpu_us": "CPU us/request",
    "rss_mb": "memory MB",
    "gateway_share": "core busy",
    "load_share": "load's core busy",
    "flag": "flag",
}


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Args:
        rounds: how often every slice is taken.
        slice_s: its length.
        warm_requests: sent to each gateway before, one after the other.
        own: of this repository, beside the peers.
        loads: scenarios and connections.
    """

    rounds: int
    slice_s: int
    warm_requests: int
    own: tuple[str, ...]
    loads: tuple[tuple[str, int], ...]


FULL = Sizes(
    rounds=5,
    slice_s=3,
    warm_requests=200,
    own=("verismo", LIBRARIES, FLOOR),
    loads=(
        *((scenario, n) for scenario in ("small", "prompt87k", "stream50") for n in (1, 16, 64)),
        ("burst50", 16),
    ),
)
QUICK = Sizes(
    rounds=1,
    slice_s=1,
    warm_requests=10,
    own=("verismo", FLOOR),
    loads=(
        *(("small", 1), ("small", 16), ("small", 64)),
        *(("prompt87k", 16), ("stream50", 16), ("burst50", 16)),
    ),
)
BRIEF = replace(
    QUICK,
    warm_requests=3,
    loads=(("small", 64), ("prompt87k", 1), ("stream50", 16), ("burst50", 16)),
)


@dataclass(frozen=True)
class Series:
    """The slices of one gateway under one load, one for each round."""

    gateway: Gateway
    scenario: str
    connections: int
    slices: tuple[Slice, ...]

    @property
    def flag(self) -> str:
        """Why there are no numbers; empty if every request was answered."""
        failed = sum(one.failed for one in self.slices)
        if failed:
            return f"{failed} of {failed + sum(one.requests for one in self.slices)} failed"
        return "" if all(one.requests for one in self.slices) else "a slice without an answer"


def main() -> None:
    parser = results.options(__doc__ or "")
    parser.add_argument("--peers", default=",".join(PEERS), help="of: " + ", ".join(PEERS))
    parser.add_argument("--loads", help="instead of all, such as small@16,stream50@1")
    parser.add_argument("--rounds", type=int, help="how often each slice is taken")
    parser.add_argument("--no-install", action="store_true", help="leave out peers not installed")
    asked = parser.parse_args()
    sizes = results.sized(asked, full=FULL, quick=QUICK, brief=BRIEF)
    if asked.rounds:
        sizes = replace(sizes, rounds=asked.rounds)
    if asked.loads:
        sizes = replace(sizes, loads=tuple(_load(text) for text in asked.loads.split(",")))
    require_program("wrk")
    peers = [name for name in asked.peers.split(",") if name]
    if unknown := sorted(set(peers) - set(PEERS)):
        parser.error(f"no peer: {', '.join(unknown)}; of {', '.join(PEERS)}")
    with results.run_folder() as folder, ExitStack() as stack:
        place = stack.enter_context(site(folder, may_install=not asked.no_install))
        machine = describe(place.chosen)
        gateways, missing = _start(stack, place, (*peers, *sizes.own))
        _check(gateways, sizes.warm_requests)
        series = _measure(gateways, sizes, place)
        memory_mb = {id(one): results.rounded(one.program.memory_mb()) for one in gateways}
    rows = [_row(one, memory_mb[id(one.gateway)]) for one in series]
    ratios = _ratios(series)
    facts = {
        "ratios": ratios,
        "missing": missing,
        "rounds": sizes.rounds,
        "slice_s": sizes.slice_s,
        "load_generator": "wrk",
        "machine": machine,
        "versions": _versions(peers, missing),
    }
    results.publish(asked, COLUMNS, rows, facts)
    _print_ratios(ratios)


def _load(text: str) -> tuple[str, int]:
    """Read `SCENARIO@CONNECTIONS`."""
    scenario, _, connections = text.partition("@")
    if scenario not in SCENARIO_BYTES or not connections.isdigit():
        sys.exit(f"error: {text!r} is not SCENARIO@CONNECTIONS; of {', '.join(SCENARIO_BYTES)}")
    return scenario, int(connections)


def _start(
    stack: ExitStack, place: Site, names: Sequence[str]
) -> tuple[list[Gateway], dict[str, str]]:
    """Start everything at once; gives the gateways, and why a peer is not among them."""
    starters = {name: starter(name, place) for name in names}
    starting: dict[str, Future[Gateway]] = {}
    try:
        with ThreadPoolExecutor(len(starters)) as pool:
            for name, one in starters.items():
                starting[name] = pool.submit(one.__enter__)
    finally:
        # Whatever has come up by now is ended with the stack, also if this was broken off.
        for name, one in starting.items():
            if one.exception() is None:
                stack.push(starters[name].__exit__)
    gateways, missing = place.direct, {}
    for name, one in starting.items():
        try:
            gateways.append(one.result())
        except (NotInstalled, NotStarted) as error:
            if name not in PEERS:
                raise
            missing[name] = str(error)
            results.note(f"left out: {error}")
    return gateways, missing


def _check(gateways: Sequence[Gateway], warm_requests: int) -> None:
    """Warm every gateway; before anything is measured, an answer of Verismo's must verify."""
    for gateway in gateways:
        if gateway.attested is not None:
            gateway.attested.exchange(SMALL_OPERATION)
            gateway.attested.exchange(STREAM_OPERATION, stream=True)
        for scenario in gateway.models:
            warm(gateway, scenario, warm_requests)


def _measure(gateways: Sequence[Gateway], sizes: Sizes, place: Site) -> list[Series]:
    """Let the gateways take slices in turn; the slices of a round are neighbours."""
    series = []
    for scenario, connections in sizes.loads:
        asked = [gateway for gateway in gateways if scenario in gateway.models]
        taken: list[list[Slice]] = [[] for _ in asked]
        for _ in range(sizes.rounds):
            for gateway, slices in zip(asked, taken, strict=True):
                shortest_s = gateway.slice_s_min if connections == 64 else 1
                seconds = max(sizes.slice_s, shortest_s)
                slices.append(measure(gateway, Load(scenario, connections, seconds), place))
        series += [
            Series(gateway, scenario, connections, tuple(slices))
            for gateway, slices in zip(asked, taken, strict=True)
        ]
    return series


def _row(series: Series, memory_mb: float) -> dict[str, Value]:
    """Return the medians; a run with errors is flagged and gives no numbers."""
    row: dict[str, Value] = {
        "name": series.gateway.name,
        "connections": series.connections,
        "scenario": series.scenario,
    }
    measured = ("requests_per_s", "p50_ms", "p99_ms", "cpu_us", "gateway_share", "load_share")
    if series.flag:
        return row | dict.fromkeys(measured, None) | {"rss_mb": memory_mb, "flag": series.flag}
    for name in measured:
        row[name] = results.rounded(median(getattr(one, name) for one in series.slices))
    return row | {"rss_mb": memory_mb}


def _ratios(series: Sequence[Series]) -> dict[str, dict[str, float]]:
    """Return Verismo's throughput as a multiple of each other's, by peer and load.

    So is that of the pass-through: no duty of Verismo's can be had for less than nothing.
    It is the median over the rounds of the ratio within the round: what disturbs a round disturbs
    neighbouring slices alike.
    """
    usable = [one for one in series if not one.flag]
    ratios: dict[str, dict[str, float]] = {}
    for own in usable:
        if not own.gateway.attested and own.gateway.name != FLOOR:
            continue
        load = f"{own.scenario}@{own.connections}"
        for other in usable:
            same = (other.scenario, other.connections) == (own.scenario, own.connections)
            if not same or other.gateway.attested or other is own:
                continue
            pairs = zip(own.slices, other.slices, strict=True)
            ratio = median(one.requests_per_s / two.requests_per_s for one, two in pairs)
            name = f"{own.gateway.name}/{other.gateway.name}"
            ratios.setdefault(name, {})[load] = float(f"{ratio:.3g}")
    return ratios


def _print_ratios(ratios: Mapping[str, Mapping[str, float]]) -> None:
    for name, by_load in ratios.items():
        said = ", ".join(f"{load} {ratio:g}" for load, ratio in by_load.items())
        print(f"\n{name}: {said}")


def _versions(peers: Sequence[str], missing: Mapping[str, str]) -> dict[str, str]:
    locked = [name for name in peers if name not in missing and name != "nginx"]
    return versions("nginx", "wrk") | {name: locked_version(name) for name in locked}


if __name__ == "__main__":
    main()
