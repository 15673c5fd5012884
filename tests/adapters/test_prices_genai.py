"""Costs by the public list and by overrides; a model without a known price has no cost."""

from decimal import Decimal

import pytest
from genai_prices import Usage as ListedUsage
from genai_prices import calc_price
from hypothesis import given
from hypothesis import strategies as st

from verismo.adapters.prices_genai import GenaiPrices
from verismo.model.ids import DeploymentId, ProviderId
from verismo.model.operation import Deployment, Price, Provider, ProviderKind
from verismo.model.traffic import Usage

OPENAI = Provider(ProviderId("up"), "openai", "https://api.openai.com/v1")


def deployment(model: str, price: Price | None = None) -> Deployment:
    return Deployment(DeploymentId(model), ProviderId("up"), model, "us", price)


@pytest.mark.parametrize("model", ["gpt-4o-mini", "gpt-4o", "text-embedding-3-small"])
@pytest.mark.parametrize(
    "usage", [Usage(1_000_000, 0), Usage(12_345, 678), Usage(5_000, 50, 4_000)]
)
def test_cost_is_the_lists_own_to_the_nearest_micro(model: str, usage: Usage):
    listed = calc_price(
        ListedUsage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cached_input_tokens,
        ),
        model,
        provider_id="openai",
    )
    cost = GenaiPrices().cost(OPENAI, deployment(model), usage)
    assert cost is not None
    assert abs(cost - Decimal(listed.total_price) * 1_000_000) <= 1


def test_tiers_are_the_lists_own():
    provider = Provider(ProviderId("a"), "anthropic", "https://api.anthropic.com")
    prices, model = GenaiPrices(), "claude-sonnet-4-5"
    for inputs in (1_000, 300_000):
        listed = calc_price(
            ListedUsage(input_tokens=inputs, output_tokens=500), model, provider_id="anthropic"
        )
        cost = prices.cost(provider, deployment(model), Usage(inputs, 500))
        assert cost == round(Decimal(listed.total_price) * 1_000_000)


def test_provider_behind_an_own_address_has_the_prices_of_its_kind():
    own = Provider(ProviderId("own"), "openai", "http://127.0.0.1:9000/v1")
    usage = Usage(1_000, 1_000)
    prices = GenaiPrices()
    assert prices.cost(own, deployment("gpt-4o-mini"), usage) == GenaiPrices().cost(
        OPENAI, deployment("gpt-4o-mini"), usage
    )


def test_anthropic_models_are_found():
    provider = Provider(ProviderId("a"), "anthropic", "https://api.anthropic.com")
    assert GenaiPrices().cost(provider, deployment("claude-haiku-4-5"), Usage(1_000, 1_000))


def test_model_without_a_known_price_has_no_cost():
    assert GenaiPrices().cost(OPENAI, deployment("nobody-sells-this"), Usage(1, 1)) is None


@pytest.mark.parametrize("kind", ["graphql", "http"])
def test_other_kinds_have_no_price_but_an_override(kind: ProviderKind):
    provider = Provider(ProviderId("up"), kind, "http://127.0.0.1")
    assert GenaiPrices().cost(provider, deployment("gpt-4o"), Usage(1, 1)) is None
    price = Price(1_000_000, 2_000_000)
    assert GenaiPrices().cost(provider, deployment("x", price), Usage(3, 4)) == 11


def test_override_goes_before_the_list():
    price = Price(input_usd_micros_per_mtok=500_000, output_usd_micros_per_mtok=1_500_000)
    cost = GenaiPrices().cost(OPENAI, deployment("gpt-4o", price), Usage(2_000_000, 1_000_000))
    assert cost == 2_500_000


def test_same_deployment_with_another_price_is_looked_up_anew():
    prices, usage = GenaiPrices(), Usage(1_000_000, 0)
    assert prices.cost(OPENAI, deployment("m", Price(1, 1)), usage) == 1
    assert prices.cost(OPENAI, deployment("m", Price(2, 2)), usage) == 2


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_cost_is_a_whole_number_that_rises_with_the_tokens(inputs: int, outputs: int, cached: int):
    prices = GenaiPrices()
    one = deployment("m", Price(150_000, 600_000))
    cost = prices.cost(OPENAI, one, Usage(inputs, outputs, cached))
    more = prices.cost(OPENAI, one, Usage(inputs + 1_000, outputs + 1_000, cached))
    assert isinstance(cost, int)
    assert more is not None
    assert 0 <= cost <= more


def test_cached_tokens_beyond_the_input_are_not_counted_twice():
    prices, one = GenaiPrices(), deployment("gpt-4o-mini")
    assert prices.cost(OPENAI, one, Usage(1_000, 0, 5_000)) == prices.cost(
        OPENAI, one, Usage(1_000, 0, 1_000)
    )
