"""Step 9, settle: what the call cost, and the reservation replaced by it."""

from verismo.gateway.admit import Admission
from verismo.gateway.journey import Journey
from verismo.model.canonical import MAX_INTEGER
from verismo.ports.prices import Prices


def settle(admission: Admission, prices: Prices, journey: Journey) -> None:
    """Work out the cost from the provider's own token counts and settle the reservation.

    A model without a known price leaves the cost absent; it is never guessed. Counts outside what
    can be signed are the provider's mistake and count as absent.
    """
    usage, deployment = journey.usage, journey.deployment
    if usage is not None and not (
        0 <= usage.input_tokens <= MAX_INTEGER and 0 <= usage.output_tokens <= MAX_INTEGER
    ):
        usage = journey.usage = None
    if usage is not None and deployment is not None and journey.cost is None:
        provider = journey.snapshot.plan.providers[deployment.provider]
        journey.cost = prices.cost(provider, deployment, usage)
    admission.settle(journey)
