"""Step 7, choose: the arm, and the order in which deployments are tried.

One arm for now. Deployments whose breaker is open are left out; if that leaves none, the answer is
a 503 that says when to come again.
"""

from verismo.gateway.breaker import Breaker
from verismo.gateway.journey import Journey
from verismo.model.errors import NoDeployment
from verismo.model.ids import DeploymentId
from verismo.model.operation import Deployment

ARM = "baseline"


class Breakers:
    """The breakers of this worker, one for each deployment."""

    def __init__(self) -> None:
        self._breakers: dict[DeploymentId, Breaker] = {}

    def of(self, deployment: DeploymentId) -> Breaker:
        """Return a deployment's breaker."""
        breaker = self._breakers.get(deployment)
        if breaker is None:
            breaker = self._breakers[deployment] = Breaker()
        return breaker


def choose(
    breakers: Breakers, journey: Journey, allowed: tuple[Deployment, ...]
) -> tuple[Deployment, ...]:
    """Return the deployments to try, in order; at least one.

    Args:
        breakers: of this worker.
        journey: gets the route hop.
        allowed: what the policy allows, in fallback order.

    Raises:
        NoDeployment: every breaker is open; says when the first admits a probe.
    """
    now_ms = journey.now_ms()
    ready = tuple([one for one in allowed if breakers.of(one.id).opens_in_ms(now_ms) == 0])
    if not ready:
        wait_ms = min(breakers.of(one.id).opens_in_ms(now_ms) for one in allowed)
        raise NoDeployment(
            "every deployment of this operation failed just now",
            retryable=False,
            retry_after_s=max(1, -(-wait_ms // 1_000)),
        )
    journey.hop("route", {"arm": ARM, "candidates": len(ready)}, now_ms)
    return ready
