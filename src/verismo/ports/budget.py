"""Budgets: reserve before the call, settle after it; and what a throttled route may take."""

from typing import Protocol

import msgspec

from verismo.model.ids import OperationId, TenantId
from verismo.model.steering import Throttle
from verismo.model.units import UsdMicros


class Claim(msgspec.Struct, frozen=True):
    """What one call asks for.

    Args:
        id: of the call, such as its prov_id; the same id is set aside once, however often it asks.
        tenant: whose budget.
        operation: with the tenant, the route.
        amount: the estimate of its cost.
        throttle: of the route, None while it is not throttled.
    """

    id: str
    tenant: TenantId
    operation: OperationId
    amount: UsdMicros
    throttle: Throttle | None = None


class Reservation(msgspec.Struct, frozen=True):
    """Money set aside for one call.

    Args:
        id: of the call.
        tenant: whose budget.
        amount: the estimate that is held.
        remaining: what the budget has left after the reservation, as far as is known here.
        period_ends_ms: when the period ends, Unix ms.
    """

    id: str
    tenant: TenantId
    amount: UsdMicros
    remaining: UsdMicros
    period_ends_ms: int


class Budget(Protocol):
    """Holds reservations so that calls in flight count before their cost is known.

    Bound: over all workers, what is spent and reserved does not pass the budget, except by what
    calls cost more than their estimates. A reservation ends by itself after an hour, so that one
    that nobody settles does not hold money for ever; what it cost after all is counted when it is
    told. Used from one thread; does not wait in the common case.
    """

    def reserve(self, claim: Claim, now_ms: int) -> Reservation:
        """Set an estimate aside; the same id again gives the same reservation.

        Raises:
            RouteThrottled: the token bucket of the route does not hold it.
            BudgetExhausted: spent + reserved + estimate would pass the tenant's budget.
        """
        ...

    def settle(self, reservation: Reservation, cost: UsdMicros) -> None:
        """Replace the reservation by what the call really cost; the second time does nothing."""
        ...
