"""Latency that Verismo adds for one client that asks one thing after another.

A blocking client on the load's core takes short blocks of requests in turn: straight to the mock,
through nginx, through Verismo. Added latency is the difference of percentiles within the run.
"""

import time
from contextlib import ExitStack
from dataclasses import dataclass

from harness import results
from harness.attested import SMALL_OPERATION
from harness.connection import Connection
from harness.gateways import CHAT_PATH, Gateway, site, starter
from harness.load import LoadFailed, warm
from harness.machine import describe, pin_self_to_load, versions
from harness.percentiles import percentile
from harness.table import Value

COLUMNS = {
    "name": "gateway",
    "requests": "requests",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "added_p50_ms": "added p50 ms",
    "added_p99_ms": "added p99 ms",
}


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Args:
        blocks: how often each takes its turn.
        block_requests: requests in a turn.
        warm_requests: before the first turn.
    """

    blocks: int
    block_requests: int
    warm_requests: int


FULL = Sizes(blocks=50, block_requests=200, warm_requests=500)
QUICK = Sizes(blocks=10, block_requests=100, warm_requests=50)
BRIEF = Sizes(blocks=2, block_requests=20, warm_requests=5)


def main() -> None:
    asked = results.options(__doc__ or "").parse_args()
    sizes = results.sized(asked, full=FULL, quick=QUICK, brief=BRIEF)
    with results.run_folder() as folder, ExitStack() as stack:
        place = stack.enter_context(site(folder))
        machine = describe(place.chosen)
        gateways = [place.direct[0]]
        gateways += [stack.enter_context(starter(name, place)) for name in ("nginx", "verismo")]
        for gateway in gateways:
            if gateway.attested is not None:
                gateway.attested.exchange(SMALL_OPERATION)
            warm(gateway, "small", sizes.warm_requests)
        pin_self_to_load()
        times_ms: dict[str, list[float]] = {gateway.name: [] for gateway in gateways}
        for _ in range(sizes.blocks):
            for gateway in gateways:
                times_ms[gateway.name] += _block(gateway, sizes.block_requests)
    rows = [_row(name, times_ms[name], times_ms["direct"]) for name in times_ms]
    facts = {"machine": machine, "versions": versions("nginx")}
    results.publish(asked, COLUMNS, rows, facts)


def _block(gateway: Gateway, requests: int) -> list[float]:
    """Ask one thing after another and return the times in ms."""
    times_ms = []
    with Connection(gateway.port) as connection:
        message = connection.message("POST", CHAT_PATH, gateway.body("small"), gateway.key)
        # The first answer of a connection also pays for accepting it.
        connection.ask(message)
        for _ in range(requests):
            begun_ns = time.perf_counter_ns()
            status = connection.ask(message).status
            times_ms.append((time.perf_counter_ns() - begun_ns) / 1e6)
            if status != 200:
                raise LoadFailed(f"{gateway.name} answers {status}")
    return times_ms


def _row(name: str, times_ms: list[float], direct_ms: list[float]) -> dict[str, Value]:
    row: dict[str, Value] = {
        "name": name,
        "connections": 1,
        "scenario": "small",
        "requests": len(times_ms),
    }
    for percent in (50, 99):
        own, base = percentile(times_ms, percent), percentile(direct_ms, percent)
        row[f"p{percent}_ms"] = results.rounded(own)
        row[f"added_p{percent}_ms"] = results.rounded(own - base)
    return row


if __name__ == "__main__":
    main()
