"""Prices: what a call costs, from the tokens the provider counted."""

from typing import Protocol

from verismo.model.operation import Deployment, Provider
from verismo.model.traffic import Usage
from verismo.model.units import UsdMicros


class Prices(Protocol):
    """A price list with overrides; pure look-ups, no network."""

    def cost(self, provider: Provider, deployment: Deployment, usage: Usage) -> UsdMicros | None:
        """Return the cost of a call, or None if the model has no known price.

        None is never treated as a price: the statement then carries no cost.
        """
        ...
