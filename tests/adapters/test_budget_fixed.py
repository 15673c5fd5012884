"""Fixed budgets: what is in flight counts, nothing is counted twice, a new day begins anew."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.adapters.budget_fixed import DAY_MS, FixedBudget, day_start_ms
from verismo.model.errors import BudgetExhausted
from verismo.model.ids import TenantId
from verismo.model.units import UsdMicros

TENANT, OTHER = TenantId("TENANT_001"), TenantId("TENANT_002")
DAY = 20_000 * DAY_MS


def budget(
    limit: int = 100, *, workers: int = 1, spent: Mapping[TenantId, int] | None = None
) -> FixedBudget:
    return FixedBudget(lambda _: UsdMicros(limit), workers, spent or {}, DAY)


def reserve(one: FixedBudget, amount: int, now_ms: int = DAY, tenant: TenantId = TENANT):
    return one.reserve(tenant, UsdMicros(amount), now_ms)


def test_reservations_in_flight_count_before_their_cost_is_known():
    one = budget(100)
    assert reserve(one, 60).remaining == 40
    assert reserve(one, 40).remaining == 0
    with pytest.raises(BudgetExhausted):
        reserve(one, 1)


def test_settling_replaces_the_estimate_by_the_cost():
    one = budget(100)
    first = reserve(one, 80)
    one.settle(first, UsdMicros(30))
    assert one.reserved(TENANT) == 0
    assert reserve(one, 70).remaining == 0


def test_settling_with_nought_releases():
    one = budget(100)
    one.settle(reserve(one, 100), UsdMicros(0))
    assert reserve(one, 100).remaining == 0


def test_cost_over_the_estimate_is_counted_in_full():
    one = budget(100)
    one.settle(reserve(one, 10), UsdMicros(95))
    with pytest.raises(BudgetExhausted):
        reserve(one, 6)
    assert reserve(one, 5).remaining == 0


def test_tenants_do_not_share():
    one = budget(100)
    reserve(one, 100)
    assert reserve(one, 100, tenant=OTHER).remaining == 0


def test_refusal_says_when_the_day_ends():
    one = budget(0)
    with pytest.raises(BudgetExhausted) as caught:
        reserve(one, 1, DAY + DAY_MS - 5_000)
    assert caught.value.retry_after_s == 5
    assert reserve(one, 0).period_ends_ms == DAY + DAY_MS


def test_new_day_forgets_what_was_spent_but_not_what_is_in_flight():
    one = budget(100)
    one.settle(reserve(one, 50), UsdMicros(50))
    flying = reserve(one, 50)
    with pytest.raises(BudgetExhausted):
        reserve(one, 1)
    tomorrow = DAY + DAY_MS
    assert reserve(one, 50, tomorrow).remaining == 0
    one.settle(flying, UsdMicros(50))
    assert one.reserved(TENANT) == 50


def test_clock_that_steps_back_begins_no_day():
    one = budget(100)
    reserve(one, 100)
    with pytest.raises(BudgetExhausted):
        reserve(one, 1, DAY - DAY_MS)


def test_what_was_spent_before_a_restart_counts():
    with pytest.raises(BudgetExhausted):
        reserve(budget(100, spent={TENANT: 95}), 6)


@given(st.integers(1, 8), st.integers(0, 1_000))
def test_workers_together_never_pass_the_budget(workers: int, limit: int):
    total = 0
    for _ in range(workers):
        one = budget(limit, workers=workers)
        while True:
            try:
                total += reserve(one, 1).amount
            except BudgetExhausted:
                break
    assert limit - workers < total <= limit


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=40))
def test_spent_and_reserved_never_pass_the_budget_while_costs_keep_to_their_estimates(calls):
    one, spent = budget(200), 0
    for estimate, cost in calls:
        try:
            held = reserve(one, estimate)
        except BudgetExhausted:
            assert spent + estimate > 200
            continue
        one.settle(held, UsdMicros(min(cost, estimate)))
        spent += min(cost, estimate)
        assert one.reserved(TENANT) == 0
    assert spent <= 200


def test_day_begins_at_midnight_utc():
    assert day_start_ms(DAY) == DAY == day_start_ms(DAY + DAY_MS - 1)
