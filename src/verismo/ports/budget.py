"""Budgets: reserve before the call, settle after it."""

from typing import Protocol

import msgspec

from verismo.model.ids import TenantId
from verismo.model.units import UsdMicros


class Reservation(msgspec.Struct, frozen=True):
    """Money set aside for one call.

    Args:
        tenant: whose budget.
        amount: the estimate that is held.
        remaining: what the budget has left after the reservation.
        period_ends_ms: when the period ends, Unix ms.
    """

    tenant: TenantId
    amount: UsdMicros
    remaining: UsdMicros
    period_ends_ms: int


class Budget(Protocol):
    """Holds reservations so that calls in flight count before their cost is known.

    A reservation is settled exactly once; settling with 0 releases it.
    """

    def reserve(self, tenant: TenantId, estimate: UsdMicros, now_ms: int) -> Reservation:
        """Set an estimate aside.

        Raises:
            BudgetExhausted: spent + reserved + estimate would pass the tenant's budget.
        """
        ...

    def settle(self, reservation: Reservation, cost: UsdMicros) -> None:
        """Replace the reservation by what the call really cost."""
        ...
