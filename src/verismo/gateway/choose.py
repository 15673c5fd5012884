"""Step 7, choose: the arm, and the order in which deployments are tried.

Where a rollout splits the route, the arm is drawn by the random bits of the request's prov_id, and
its deployment comes first; the operation's own deployments follow as before. A candidate is never
fallen back to. Deployments whose breaker is open are left out; if that leaves none, the answer is a
503 that says when to come again.

What becomes of the request counts for the deployment that it is assigned to here, also if that one
is not asked because its breaker is open, or another answers in its place.
"""

from verismo.gateway.breaker import Breaker
from verismo.gateway.decide import Decided
from verismo.gateway.journey import Journey
from verismo.gateway.windows import Flight, WindowCounts
from verismo.model.errors import NoDeployment
from verismo.model.hop import Attribute
from verismo.model.ids import DeploymentId
from verismo.model.operation import Deployment
from verismo.model.steering import drawn_arm
from verismo.model.window import Arm


class Breakers:
    """The deployments as this worker sees them: a breaker for each, and what is in flight there.

    Args:
        windows: counts what is in flight.
    """

    def __init__(self, windows: WindowCounts) -> None:
        self._breakers: dict[DeploymentId, Breaker] = {}
        self._windows = windows

    def began(self, deployment: DeploymentId) -> Flight:
        """Count a try as in flight from now until its `over`."""
        return self._windows.began(deployment)

    def of(self, deployment: DeploymentId) -> Breaker:
        """Return a deployment's breaker."""
        breaker = self._breakers.get(deployment)
        if breaker is None:
            breaker = self._breakers[deployment] = Breaker()
        return breaker


def choose(breakers: Breakers, journey: Journey, decided: Decided) -> tuple[Deployment, ...]:
    """Return the deployments to try, in order; at least one.

    Args:
        breakers: of this worker.
        journey: gets the route hop, and whose it is counted as.
        decided: what the policy allows, in fallback order.

    Raises:
        NoDeployment: every breaker is open; says when the first admits a probe.
    """
    now_ms = journey.now_ms()
    arm, order = _assigned(journey, decided)
    tenant = journey.caller.view.tenant.id
    journey.route = (tenant, journey.route_operation, arm, order[0].id)
    ready = tuple([one for one in order if breakers.of(one.id).opens_in_ms(now_ms) == 0])
    if order[0] not in ready:
        journey.failed_at(order[0].id)
    if not ready:
        wait_ms = min(breakers.of(one.id).opens_in_ms(now_ms) for one in order)
        raise NoDeployment(
            "every deployment of this operation failed just now",
            retryable=False,
            retry_after_s=max(1, -(-wait_ms // 1_000)),
        )
    attrs: dict[str, Attribute] = {"arm": "baseline", "candidates": len(ready)}
    if decided.split is not None:
        weight_ppm = decided.split.rollout.weight_ppm
        attrs |= {"arm": arm, "assigned": order[0].id, "weight_ppm": weight_ppm}
    journey.hop("route", attrs, now_ms)
    return ready


def _assigned(journey: Journey, decided: Decided) -> tuple[Arm, tuple[Deployment, ...]]:
    """Return the arm, and the deployments in order; the first is the one assigned."""
    split, allowed = decided.split, decided.allowed
    if split is None:
        return "unsplit", allowed
    arm = drawn_arm(journey.prov_id, split.rollout.weight_ppm)
    first = split.candidate if arm == "candidate" else split.baseline
    return arm, (first, *(one for one in allowed if one.id != first.id))
