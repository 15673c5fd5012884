"""What a change gave: CPU time for each request of several versions of Verismo, in one run.

Versions are commits, or `.` for the working tree; the first one is the base. They run side by side
and take slices in turn. CPU time is compared, not throughput: neighbours on the machine disturb it
less. They only ever add to it, so the least of all slices is given beside the median. Small
differences need many rounds; give the base twice to see how large chance is.
"""

import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from harness import results
from harness.gateways import SCENARIO_BYTES, Gateway, site, verismo_of
from harness.load import Load, LoadFailed, Slice, measure, warm
from harness.machine import ROOT, describe, versions
from harness.processes import loop_and_other_cpu_s
from harness.table import Value

COLUMNS = {
    "name": "version",
    "loop_cpu_us": "loop us/request",
    "other_threads_cpu_us": "other threads us/request",
    "of_base": "worker's CPU of the base's",
    "least_cpu_us": "least us/request",
    "least_of_base": "of the base's least",
    "requests_per_s": "requests/s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
}


@dataclass(frozen=True)
class Taken:
    """One slice, with the worker's CPU time for a request by thread."""

    slice: Slice
    loop_us: float
    other_us: float

    @property
    def worker_us(self) -> float:
        """All of the worker's threads."""
        return self.loop_us + self.other_us


def main() -> None:
    parser = results.options(__doc__ or "")
    parser.add_argument("revisions", nargs="*", default=["HEAD", "."], help="the base first")
    parser.add_argument("--scenario", choices=sorted(SCENARIO_BYTES), default="small")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--rounds", type=int, help="how often each takes its turn")
    asked = parser.parse_args()
    rounds = asked.rounds or results.sized(asked, full=20, quick=3, brief=1)
    slice_s = results.sized(asked, full=2, quick=1, brief=1)
    load = Load(asked.scenario, asked.connections, slice_s)
    with results.run_folder() as folder, ExitStack() as stack:
        place = stack.enter_context(site(folder))
        machine = describe(place.chosen)
        gateways = []
        for number, revision in enumerate(asked.revisions):
            source = _source_of(revision, folder / f"source-{number}")
            name = f"{number} {revision.replace('/', '-')}"
            gateways.append(stack.enter_context(verismo_of(place, name, source)))
            warm(gateways[-1], asked.scenario, 200)
        taken: list[list[Taken]] = [[] for _ in gateways]
        for _ in range(rounds):
            for gateway, slices in zip(gateways, taken, strict=True):
                before = _worker_s(gateway)
                slices.append(_taken(measure(gateway, load, place), before, _worker_s(gateway)))
    names = [gateway.name for gateway in gateways]
    rows = [_row(name, own, taken[0]) for name, own in zip(names, taken, strict=True)]
    facts = {
        "scenario": load.scenario,
        "connections": load.connections,
        "rounds": rounds,
        "slice_s": load.seconds,
        "machine": machine,
        "versions": versions("wrk"),
    }
    results.publish(asked, COLUMNS, rows, facts)


def _source_of(revision: str, folder: Path) -> Path:
    """Return the folder that holds a version's package, taken out of git if it is a commit."""
    if revision == ".":
        return ROOT / "src"
    folder.mkdir()
    packed = subprocess.run(
        ["git", "archive", revision, "src"], cwd=ROOT, capture_output=True, check=True
    )
    subprocess.run(["tar", "-x"], cwd=folder, input=packed.stdout, check=True)
    return folder / "src"


def _worker_s(gateway: Gateway) -> tuple[float, float]:
    assert gateway.attested is not None
    return loop_and_other_cpu_s(gateway.attested.worker_pid())


def _taken(taken: Slice, before: tuple[float, float], after: tuple[float, float]) -> Taken:
    """Return a slice with its CPU times.

    Raises:
        LoadFailed: a request failed, so there is nothing to compare.
    """
    if taken.failed or not taken.requests:
        raise LoadFailed(f"{taken.failed} requests failed, {taken.requests} were answered")
    loop_us, other_us = (
        (late - early) / taken.requests * 1e6 for early, late in zip(before, after, strict=True)
    )
    return Taken(taken, loop_us, other_us)


def _row(name: str, own: Sequence[Taken], base: Sequence[Taken]) -> dict[str, Value]:
    pairs = zip(own, base, strict=True)
    ratio = median(one.worker_us / two.worker_us for one, two in pairs)
    least_us = min(one.worker_us for one in own)
    return {
        "name": name,
        "loop_cpu_us": results.rounded(median(one.loop_us for one in own)),
        "other_threads_cpu_us": results.rounded(median(one.other_us for one in own)),
        "of_base": round(ratio, 3),
        "least_cpu_us": results.rounded(least_us),
        "least_of_base": round(least_us / min(two.worker_us for two in base), 3),
        "requests_per_s": results.rounded(median(one.slice.requests_per_s for one in own)),
        "p50_ms": results.rounded(median(one.slice.p50_ms for one in own)),
        "p99_ms": results.rounded(median(one.slice.p99_ms for one in own)),
    }


if __name__ == "__main__":
    main()
