"""One worker that spends as fast as it is let; its parent says when and reads what it did.

Two ways to keep a budget: `leased`, ours, and `counted`, which looks at what was spent so far and
adds the cost of a call when it is over, as is usual.
"""

import random
import sqlite3
import sys
from pathlib import Path

from verismo.adapters.budget_leased import BudgetTerms, LeasedBudget, day_start_ms
from verismo.model.errors import BudgetExhausted
from verismo.model.ids import OperationId, TenantId
from verismo.model.units import UsdMicros
from verismo.ports.budget import Claim, Reservation

TENANT = TenantId("TENANT_001")
DAY_MS = day_start_ms(1_790_000_000_000)


class Clock:
    """Moved by the parent."""

    now_ms = 0

    def __call__(self) -> int:
        return self.now_ms


class Leased:
    """Reserves before the call and settles after it."""

    def __init__(self, path: Path, slot: str, limit: int, clock: Clock) -> None:
        self._budget = LeasedBudget(
            BudgetTerms(path, slot, 4, lambda _: UsdMicros(limit), lambda _: {}, clock), DAY_MS
        )
        self._count = 0

    def begin(self, estimate: int) -> Reservation | None:
        """Return what was set aside, None if it was refused."""
        self._count += 1
        claim = Claim(str(self._count), TENANT, OperationId("chat"), UsdMicros(estimate))
        try:
            return self._budget.reserve(claim, DAY_MS)
        except BudgetExhausted:
            return None

    def end(self, held: Reservation, cost: int) -> None:
        """Tell the cost of a call."""
        self._budget.settle(held, UsdMicros(cost))

    def round(self) -> None:
        """Do what a worker does each second."""
        self._budget.renew()


class Counted:
    """Admits while less than the budget was spent; adds the cost of a call when it is over."""

    def __init__(self, path: Path, limit: int) -> None:
        self._limit = limit
        self._shared = sqlite3.connect(path, isolation_level=None, timeout=60)
        self._shared.execute("CREATE TABLE IF NOT EXISTS spent (micros INTEGER)")

    def begin(self, _: int) -> Reservation | None:
        """Return a reservation of nothing, None if it was refused."""
        (spent,) = self._shared.execute("SELECT COALESCE(SUM(micros), 0) FROM spent").fetchone()
        return None if spent >= self._limit else Reservation("", TENANT, 0, 0, 0)

    def end(self, _: Reservation, cost: int) -> None:
        """Tell the cost of a call."""
        self._shared.execute("INSERT INTO spent VALUES (?)", (cost,))

    def round(self) -> None:
        """Nothing is kept."""


def main() -> None:
    mode, path, slot, limit, in_flight_max, estimate = sys.argv[1:]
    clock, chance = Clock(), random.Random(slot)
    clock.now_ms = 10_000_000
    shared = Path(path)
    worker = (
        Leased(shared, slot, int(limit), clock) if mode == "leased" else Counted(shared, int(limit))
    )
    flying: list[tuple[Reservation, int]] = []
    spent = over = 0
    print("ready", flush=True)
    for line in sys.stdin:
        clock.now_ms = int(line)
        for held, cost in flying[: int(in_flight_max) // 4 + 1]:
            worker.end(held, cost)
            spent += cost
            over += max(0, cost - int(estimate))
        del flying[: int(in_flight_max) // 4 + 1]
        worker.round()
        while len(flying) < int(in_flight_max):
            reservation = worker.begin(int(estimate))
            if reservation is None:
                break
            flying.append((reservation, chance.randrange(200, 1_800)))
        print(spent, over, len(flying), flush=True)


main()
