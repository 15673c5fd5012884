"""What is counted of a request while it is admitted: what it offers to spend."""

from typing import Protocol

from verismo.model.ids import OperationId, TenantId
from verismo.model.units import UsdMicros


class SpendMeter(Protocol):
    """Counts what routes offer to spend; called on the worker's event loop, costs about 1 us."""

    def offered(self, tenant: TenantId, operation: OperationId, usd_micros: UsdMicros) -> None:
        """Count the estimate of one request, whether it is then admitted or not.

        Once for each request that reaches the budget, so that a throttled route still shows what it
        asks for.

        Args:
            tenant: of the route.
            operation: of the route: `unregistered` for all that observe mode let through, so that
                made-up names make no routes (`Journey.route_operation`).
            usd_micros: what the request is expected to cost; 0 where its price is not known.
        """
        ...
