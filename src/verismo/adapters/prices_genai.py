"""Prices from the public list genai-prices, with overrides of the configuration.

The list ships with the package; nothing is fetched. A model that it does not know has no price, and
then the statement carries no cost.
"""

from decimal import ROUND_HALF_UP, Decimal

import msgspec
from genai_prices import Usage as ListedUsage
from genai_prices import calc_price
from genai_prices.types import ModelPrice

from verismo.model.ids import DeploymentId
from verismo.model.operation import Deployment, Price, Provider, ProviderKind
from verismo.model.traffic import Usage
from verismo.model.units import UsdMicros

_MICROS = 1_000_000
_LISTED_BY_KIND: dict[ProviderKind, str] = {"openai": "openai", "anthropic": "anthropic"}


class _Linear(msgspec.Struct, frozen=True):
    """A price without tiers, USD micros for a million tokens."""

    input: int
    cached_input: int
    output: int

    def cost(self, usage: Usage) -> UsdMicros:
        cached = min(usage.cached_input_tokens, usage.input_tokens)
        total = (
            (usage.input_tokens - cached) * self.input
            + cached * self.cached_input
            + usage.output_tokens * self.output
        )
        return UsdMicros((total + _MICROS // 2) // _MICROS)


class _Tiered(msgspec.Struct, frozen=True):
    """A price with tiers, left to the list's own arithmetic."""

    price: ModelPrice

    def cost(self, usage: Usage) -> UsdMicros:
        listed = self.price.calc_price(
            ListedUsage(
                input_tokens=usage.input_tokens,
                cache_read_tokens=usage.cached_input_tokens,
                output_tokens=usage.output_tokens,
            )
        )
        micros = Decimal(listed["total_price"]) * _MICROS
        return UsdMicros(int(micros.to_integral_value(ROUND_HALF_UP)))


class GenaiPrices:
    """The price list; each deployment is looked up once. See `ports.prices.Prices`."""

    def __init__(self) -> None:
        self._known: dict[tuple[DeploymentId, str, Price | None], _Linear | _Tiered | None] = {}

    def cost(self, provider: Provider, deployment: Deployment, usage: Usage) -> UsdMicros | None:
        """Return the cost of a call, or None for a model without a known price."""
        key = (deployment.id, deployment.model, deployment.price)
        try:
            price = self._known[key]
        except KeyError:
            price = self._known[key] = _find(provider, deployment)
        return None if price is None else price.cost(usage)


def _find(provider: Provider, deployment: Deployment) -> _Linear | _Tiered | None:
    override = deployment.price
    if override is not None:
        return _Linear(
            input=override.input_usd_micros_per_mtok,
            cached_input=override.input_usd_micros_per_mtok,
            output=override.output_usd_micros_per_mtok,
        )
    listed = _LISTED_BY_KIND.get(provider.kind)
    if listed is None:
        return None
    try:
        found = calc_price(
            ListedUsage(input_tokens=1, output_tokens=1),
            deployment.model,
            provider_api_url=provider.base_url,
        )
    except LookupError:
        try:
            found = calc_price(
                ListedUsage(input_tokens=1, output_tokens=1), deployment.model, provider_id=listed
            )
        except LookupError:
            return None
    return _linear(found.model_price) or _Tiered(found.model_price)


def _linear(price: ModelPrice) -> _Linear | None:
    cached = price.cache_read_mtok if price.cache_read_mtok is not None else price.input_mtok
    parts = (price.input_mtok or Decimal(0), cached or Decimal(0), price.output_mtok or Decimal(0))
    micros: list[int] = []
    for part in parts:
        if not isinstance(part, Decimal) or part * _MICROS != int(part * _MICROS):
            return None
        micros.append(int(part * _MICROS))
    return _Linear(input=micros[0], cached_input=micros[1], output=micros[2])
