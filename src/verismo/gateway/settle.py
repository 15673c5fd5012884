"""Step 9, settle: what the call cost, and the reservation replaced by it."""

from verismo.gateway.admit import Admission
from verismo.gateway.journey import Journey
from verismo.ports.prices import Prices

TOKENS_MAX = 2**40
"""Tokens of one call: far over any context window, far under what can be signed."""
COST_USD_MICROS_MAX = 10**12
"""A million dollars for one call is somebody's mistake in a price."""


def settle(admission: Admission, prices: Prices, journey: Journey) -> None:
    """Work out the cost from the provider's own token counts and settle the reservation.

    A model without a known price leaves the cost absent; it is never guessed. Counts that no model
    could reach are the provider's mistake and count as absent.
    """
    usage, deployment = journey.usage, journey.deployment
    if usage is not None and not (
        0 <= usage.input_tokens <= TOKENS_MAX and 0 <= usage.output_tokens <= TOKENS_MAX
    ):
        usage = journey.usage = None
    if usage is not None and deployment is not None and journey.cost is None:
        provider = journey.snapshot.plan.providers[deployment.provider]
        cost = prices.cost(provider, deployment, usage)
        journey.cost = cost if cost is not None and 0 <= cost <= COST_USD_MICROS_MAX else None
    admission.settle(journey)
