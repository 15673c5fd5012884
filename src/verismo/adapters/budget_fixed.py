"""Fixed daily budgets, held in the process.

Each of N workers gets an N-th of a tenant's budget, so that all of them together cannot pass it
whichever worker the kernel picks; a day is a UTC day. What was spent before a restart is read from
the journals.
"""

from collections.abc import Callable, Mapping

from verismo.model.errors import BudgetExhausted
from verismo.model.ids import TenantId
from verismo.model.units import UsdMicros
from verismo.ports.budget import Reservation

DAY_MS = 86_400_000


class FixedBudget:
    """Budgets of one worker.

    Args:
        limit: returns a tenant's budget for a day, USD micros.
        workers: how many workers share it.
        spent: what each tenant spent in this worker's share since `day_began_ms`, USD micros.
        day_began_ms: start of the UTC day that `spent` is about, Unix ms.
    """

    def __init__(
        self,
        limit: Callable[[TenantId], UsdMicros],
        workers: int,
        spent: Mapping[TenantId, int],
        day_began_ms: int,
    ) -> None:
        self._limit = limit
        self._workers = workers
        self._day_began_ms = day_began_ms
        self._spent: dict[TenantId, int] = dict(spent)
        self._reserved: dict[TenantId, int] = {}

    def reserve(self, tenant: TenantId, estimate: UsdMicros, now_ms: int) -> Reservation:
        """Set an estimate aside; see `ports.budget.Budget`."""
        self._roll(now_ms)
        share = self._limit(tenant) // self._workers
        held = self._spent.get(tenant, 0) + self._reserved.get(tenant, 0)
        ends_ms = self._day_began_ms + DAY_MS
        if held + estimate > share:
            raise BudgetExhausted(
                "the tenant's budget for today is spent or reserved",
                retry_after_s=max(1, (ends_ms - now_ms) // 1_000),
            )
        self._reserved[tenant] = self._reserved.get(tenant, 0) + estimate
        return Reservation(
            tenant=tenant,
            amount=estimate,
            remaining=UsdMicros(share - held - estimate),
            period_ends_ms=ends_ms,
        )

    def settle(self, reservation: Reservation, cost: UsdMicros) -> None:
        """Replace a reservation by the cost; it counts in the day in which it is settled."""
        tenant = reservation.tenant
        self._reserved[tenant] = max(0, self._reserved.get(tenant, 0) - reservation.amount)
        self._spent[tenant] = self._spent.get(tenant, 0) + cost

    def reserved(self, tenant: TenantId) -> int:
        """Return what is set aside for a tenant's calls in flight, USD micros."""
        return self._reserved.get(tenant, 0)

    def _roll(self, now_ms: int) -> None:
        """Begin a new day; a clock that steps back begins none."""
        if now_ms >= self._day_began_ms + DAY_MS:
            self._day_began_ms = day_start_ms(now_ms)
            self._spent = {}


def day_start_ms(now_ms: int) -> int:
    """Return the start of the UTC day of a time, Unix ms."""
    return now_ms - now_ms % DAY_MS
