"""Four worker processes with a thousand calls in flight never overspend what counting doubles."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

CHILD = Path(__file__).with_name("budget_child.py")
WORKERS, IN_FLIGHT, ESTIMATE = 4, 250, 1_500
LIMIT = WORKERS * IN_FLIGHT * 1_000
"""What the calls that are in flight at once cost on average."""


def run(mode: str, path: Path) -> tuple[int, int]:
    """Let all workers spend until nothing is admitted and nothing is in flight.

    Returns:
        What was spent, and how much of it was over the calls' estimates.
    """
    with ExitStack() as closing:
        children = [
            closing.enter_context(
                subprocess.Popen(
                    [
                        *(sys.executable, CHILD, mode, path, f"s{n}"),
                        *map(str, (LIMIT, IN_FLIGHT, ESTIMATE)),
                    ],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for n in range(WORKERS)
        ]
        for child in children:
            assert child.stdout.readline() == "ready\n"
        idle = 0
        for step in range(400):
            for child in children:  # all of them work at the same time
                child.stdin.write(f"{10_000_000 + step * 1_000}\n")
                child.stdin.flush()
            told = [tuple(map(int, child.stdout.readline().split())) for child in children]
            idle = idle + 1 if not any(one[2] for one in told) else 0
            if idle == 5:
                break
        for child in children:
            child.stdin.close()
    assert idle == 5, "it did not come to rest"
    return sum(one[0] for one in told), sum(one[1] for one in told)


@pytest.mark.slow
def test_processes_with_a_thousand_calls_in_flight_keep_a_budget_that_counting_doubles(tmp_path):
    spent, over = run("leased", tmp_path / "budget.db")
    counted, _ = run("counted", tmp_path / "counted.db")
    assert spent <= LIMIT + over, "only what calls cost over their estimates may be beyond it"
    assert spent > LIMIT - WORKERS * ESTIMATE, "no worker keeps what another could use"
    assert counted > 1.7 * LIMIT
