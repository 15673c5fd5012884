"""What it costs an agent to have its steps recorded: CPU time of its own thread."""

import logging
import time

from verismo.client import run, tool
from verismo.client.recorder import Recorder, here

BATCH = 500
"""Hops of one run; it has to stay within what a run may have."""
ROUNDS = 7
RESULT = {"title": "A page", "text": "x" * 1_000}


def _plain(query: str, limit: int) -> dict[str, str]:
    return RESULT


_recorded = tool(_plain)


def recorded_hop_us(count: int) -> float:
    """Return what one recorded call of a tool costs more than the call alone, microseconds of CPU.

    Digests of arguments and of a result of 1 KB, and the share of the report's encoding, are in
    it; the network is not, since it is waited for once in a run. The cheapest of several rounds
    counts: whatever else the machine does only adds.

    Args:
        count: calls, over all rounds.
    """
    # Nothing is sent, which the recorder would say.
    logging.getLogger("verismo.client").setLevel(logging.ERROR)
    calls = max(1, count // ROUNDS)
    return min(_round_us(calls, is_recorded=True) for _ in range(ROUNDS)) - min(
        _round_us(calls, is_recorded=False) for _ in range(ROUNDS)
    )


def _round_us(calls: int, *, is_recorded: bool) -> float:
    function = _recorded if is_recorded else _plain
    spent_ns = done = 0
    while done < calls:
        scope = run("bench", gateway="http://127.0.0.1:9", api_key="vk_bench")
        with scope:
            step = here()
            assert step is not None
            begun_ns = time.thread_time_ns()
            for _ in range(BATCH):
                function("what is it", limit=10)
            if is_recorded:
                _encode(step.recorder)
            spent_ns += time.thread_time_ns() - begun_ns
            step.recorder.give_up()
        done += BATCH
    return spent_ns / done / 1_000


def _encode(recorder: Recorder) -> None:
    assert len(recorder.report()) > BATCH
