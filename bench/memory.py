"""Memory of Verismo after few and after many requests: it must stay flat.

The same gateway is loaded all the time by 16 connections; its memory is read once the first number
of answers is reached and once the second is.
"""

from contextlib import ExitStack
from dataclasses import dataclass

from harness import results
from harness.attested import SMALL_OPERATION
from harness.gateways import Gateway, Site, site, starter
from harness.load import Load, LoadFailed, measure, warm
from harness.machine import describe, versions
from harness.processes import resident_mb
from harness.table import Value

CONNECTIONS = 16
COLUMNS = {
    "requests": "requests",
    "rss_mb": "all processes MB",
    "worker_rss_mb": "worker MB",
    "ratio": "of the first",
    "worker_ratio": "worker of the first",
}


@dataclass(frozen=True)
class Sizes:
    """After how many answers memory is read, and in what slices they are made."""

    early_requests: int
    late_requests: int
    slice_s: int


FULL = Sizes(early_requests=20_000, late_requests=200_000, slice_s=2)
QUICK = Sizes(early_requests=2_000, late_requests=10_000, slice_s=1)
BRIEF = Sizes(early_requests=100, late_requests=200, slice_s=1)


@dataclass(frozen=True)
class Reading:
    """Memory after some number of answers, in MB."""

    requests: int
    all_mb: float
    worker_mb: float


def main() -> None:
    asked = results.options(__doc__ or "").parse_args()
    sizes = results.sized(asked, full=FULL, quick=QUICK, brief=BRIEF)
    with results.run_folder() as folder, ExitStack() as stack:
        place = stack.enter_context(site(folder))
        machine = describe(place.chosen)
        gateway = stack.enter_context(starter("verismo", place))
        warm(gateway, "small", 10)
        early = _after(gateway, place, 10, sizes.early_requests, sizes.slice_s)
        late = _after(gateway, place, early.requests, sizes.late_requests, sizes.slice_s)
        assert gateway.attested is not None
        gateway.attested.exchange(SMALL_OPERATION)
    rows = [_row(reading, early) for reading in (early, late)]
    facts = {
        "ratio": rows[1]["ratio"],
        "machine": machine,
        "versions": versions("nginx", "wrk"),
    }
    results.publish(asked, COLUMNS, rows, facts)


def _after(gateway: Gateway, place: Site, sent: int, wanted: int, slice_s: int) -> Reading:
    """Load for a slice at least and until a number of answers is reached, then read the memory.

    Raises:
        LoadFailed: a request was not answered with success.
    """
    load, begun = Load("small", CONNECTIONS, slice_s), sent
    while sent == begun or sent < wanted:
        taken = measure(gateway, load, place)
        if taken.failed or not taken.requests:
            raise LoadFailed(f"{taken.failed} requests failed, {taken.requests} were answered")
        sent += taken.requests
    assert gateway.attested is not None
    worker_mb = resident_mb(gateway.attested.worker_pid())
    return Reading(sent, gateway.program.memory_mb(), worker_mb)


def _row(reading: Reading, early: Reading) -> dict[str, Value]:
    return {
        "name": "verismo",
        "connections": CONNECTIONS,
        "scenario": "small",
        "requests": reading.requests,
        "rss_mb": round(reading.all_mb, 1),
        "worker_rss_mb": round(reading.worker_mb, 1),
        "ratio": round(reading.all_mb / early.all_mb, 3),
        "worker_ratio": round(reading.worker_mb / early.worker_mb, 3),
    }


if __name__ == "__main__":
    main()
