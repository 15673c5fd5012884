"""How fast provenance is read, verified and recorded.

A gateway's journal gets a million records with graphs of ten hops. Then records chosen at random
are read by `GET /v1/prov/{prov_id}`, and answers are verified by `POST /v1/attest/verify`, each 100
times a second whatever is answered (open loop); each time counts from the moment when its request
was due. An agent's recorder notes hops: CPU time of its own thread. Last, Chromium reads streams of
500 events, in turn plainly and through the verifying `fetch`, until the last octet and the verdict:
once as fast as the gateway sends them, once 500 a second. And streams of 50 events, 25 a second,
as a slow model speaks: when the first event is handed on, and the longest wait for more of them.
"""

import asyncio
import random
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from harness import results
from harness.attested import (
    LONG_OPERATION,
    PACED_OPERATION,
    SLOW_OPERATION,
    SMALL_OPERATION,
    TENANT,
    Attested,
)
from harness.bodies import LONG_STREAM_EVENTS, STREAM_EVENTS
from harness.browsing import BrowserMissing, Reading, Times, stream_times
from harness.gateways import site, starter
from harness.machine import describe, pin_self_to_load, versions
from harness.openloop import OpenLoop, paced_row
from harness.percentiles import percentile
from harness.recording import recorded_hop_us
from harness.table import Value
from harness.verifying import VALID, VERIFY_PATH, request_of

RATE_PER_S = 100
HOPS = 10
SLOT = "stored"
READ = b'"graph":'
SLOW = "25/s"
SAMPLE = 5_000
"""As many different records are asked for."""
SETTLE_S_MAX = 300
COLUMNS = {
    "name": "what",
    "requests": "done",
    "requests_per_s": "per second",
    "p50_ms": "p50 ms",
    "p95_ms": "p95 ms",
    "p99_ms": "p99 ms",
    "cpu_us": "CPU us",
    "deliveries": "deliveries",
    "flag": "flag",
}


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Args:
        records: in the journal before the first read.
        seconds: of paced requests, each kind.
        exchanges: distinct answers that are verified in turn.
        recorded: hops that the recorder notes.
        streams: how often each stream is read each way.
    """

    records: int
    seconds: int
    exchanges: int
    recorded: int
    streams: int


FULL = Sizes(records=1_000_000, seconds=60, exchanges=200, recorded=20_000, streams=21)
QUICK = Sizes(records=5_000, seconds=4, exchanges=20, recorded=2_000, streams=3)
BRIEF = Sizes(records=500, seconds=1, exchanges=5, recorded=200, streams=1)


def main() -> None:
    asked = results.options(__doc__ or "").parse_args()
    sizes = results.sized(asked, full=FULL, quick=QUICK, brief=BRIEF)
    with results.run_folder() as folder, ExitStack() as stack:
        place = stack.enter_context(site(folder))
        machine = describe(place.chosen)
        gateway = stack.enter_context(starter("verismo", place))
        assert gateway.attested is not None
        prov_ids = store(data_of(place.folder), sizes.records)
        settle(gateway.attested)
        exchanges = [gateway.attested.exchange(SMALL_OPERATION) for _ in range(sizes.exchanges)]
        pin_self_to_load()
        header = f"Authorization: Bearer {gateway.key}\r\n"
        reads = OpenLoop(gateway.port, "", RATE_PER_S, READ, header)
        read = asyncio.run(reads.run_reads([f"/v1/prov/{one}" for one in prov_ids], sizes.seconds))
        checks = OpenLoop(gateway.port, VERIFY_PATH, RATE_PER_S, VALID)
        bodies = [request_of(exchange) for exchange in exchanges]
        verified = asyncio.run(checks.run(bodies, sizes.seconds))
        streams = browse(gateway.attested, sizes.streams)
    rows: list[dict[str, Value]] = [
        paced_row(f"read, {sizes.records:,} stored", read),
        paced_row("verify", verified),
        {
            "name": "record a hop",
            "requests": sizes.recorded,
            "cpu_us": results.rounded(recorded_hop_us(sizes.recorded)),
        },
    ]
    slow = streams.pop(SLOW, None)
    rows += [row for name, times in streams.items() for row in stream_rows(name, times)]
    rows += [] if slow is None else slow_rows(slow)
    facts = {
        "rate_per_s": RATE_PER_S,
        "records": sizes.records,
        "hops": HOPS,
        "machine": machine,
        "versions": versions("nginx"),
    }
    results.publish(asked, COLUMNS, rows, facts)


def browse(attested: Attested, rounds: int) -> dict[str, Times]:
    """Read streams in Chromium; without one nothing is measured, and that is said."""
    operations = {"at once": LONG_OPERATION, "500/s": PACED_OPERATION, SLOW: SLOW_OPERATION}
    try:
        return stream_times(attested.url, attested.key, operations, rounds)
    except BrowserMissing as error:
        results.note(f"left out: {error}")
        return {}


def stream_rows(name: str, times: Times) -> list[dict[str, Value]]:
    """Return a row for each way of reading."""
    return [
        timed_row(f"{LONG_STREAM_EVENTS} events, {name}, {way}", [one["ms"] for one in taken])
        for way, taken in ways(times)
    ]


def slow_rows(times: Times) -> list[dict[str, Value]]:
    """Return when the first event came and the longest gap, for each way of reading."""
    rows: list[dict[str, Value]] = []
    for way, taken in ways(times):
        name = f"{STREAM_EVENTS} events, {SLOW}, {way}"
        deliveries: Value = percentile([one["deliveries"] for one in taken], 50)
        rows += [
            timed_row(f"{name}: first event", [one["first_ms"] for one in taken]),
            timed_row(f"{name}: longest gap", [one["gap_ms"] for one in taken])
            | {"deliveries": deliveries},
        ]
    return rows


def ways(times: Times) -> list[tuple[str, list[Reading]]]:
    """Return the ways of reading and what was read."""
    return [("plain", times["plain"]), ("verified", times["verified"])]


def timed_row(name: str, taken_ms: list[float]) -> dict[str, Value]:
    """Return how often something was timed, and percentiles."""
    return {
        "name": name,
        "requests": len(taken_ms),
        **{f"p{one}_ms": results.rounded(percentile(taken_ms, one)) for one in (50, 95)},
    }


def data_of(folder: Path) -> Path:
    """Return the data folder of the measured gateway."""
    return folder / "attested-verismo" / "verismo" / "var"


def store(data: Path, records: int) -> list[str]:
    """Fill a journal slot of its own in another process; returns the prov_ids of some records."""
    script = Path(__file__).parent / "harness" / "storing.py"
    command = [sys.executable, str(script), str(data), SLOT, TENANT, str(HOPS), str(records)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    prov_ids = done.stdout.split()
    chosen = random.Random(records)
    return chosen.sample(prov_ids, min(SAMPLE, len(prov_ids)))


def settle(attested: Attested) -> None:
    """Wait until the control process has nothing left to integrate: its CPU is no part of this."""
    deadline = time.monotonic() + SETTLE_S_MAX
    while True:
        before = attested.program.cpu_s()
        time.sleep(1)
        if attested.program.cpu_s() - before < 0.1:
            return
        assert time.monotonic() < deadline, f"the gateway is still busy after {SETTLE_S_MAX} s"


if __name__ == "__main__":
    main()
