"""Leased budgets: what is in flight counts, nothing is counted twice, no worker takes another's."""

import contextlib
import itertools
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verismo.adapters import budget_leased
from verismo.adapters.budget_leased import (
    DAY_MS,
    RESERVATION_MS_MAX,
    BudgetTerms,
    LeasedBudget,
    day_start_ms,
)
from verismo.adapters.budget_slices import LEASE_MS
from verismo.model.errors import BudgetExhausted, StateError
from verismo.model.ids import OperationId, TenantId
from verismo.model.units import UsdMicros
from verismo.ports.budget import Claim, Reservation

TENANT, OTHER = TenantId("TENANT_001"), TenantId("TENANT_002")
OPERATION = OperationId("support.chat")
DAY = 20_000 * DAY_MS
Spent = Mapping[str, Mapping[TenantId, int]]


class Clock:
    """The machine's monotonic clock, moved by hand."""

    def __init__(self) -> None:
        self.now_ms = 5_000_000

    def __call__(self) -> int:
        return self.now_ms


class House:
    """A data folder with its workers."""

    def __init__(self, folder: Path, limit: int = 100, workers: int = 1) -> None:
        self.path, self.limit, self.workers = folder / "budget.db", limit, workers
        self.clock = Clock()
        self.journaled: dict[str, dict[TenantId, int]] = {}
        self.ids = itertools.count()

    def worker(self, slot: str = "s0", *, path: Path | None = None) -> LeasedBudget:
        terms = BudgetTerms(
            path=path or self.path,
            slot=slot,
            workers=self.workers,
            limit=lambda _: UsdMicros(self.limit),
            journaled=lambda _: self.journaled,
            clock_ms=self.clock,
        )
        return LeasedBudget(terms, DAY)

    def claim(self, amount: int, tenant: TenantId = TENANT, id_: str = "") -> Claim:
        return Claim(id_ or f"call{next(self.ids)}", tenant, OPERATION, UsdMicros(amount))

    def reserve(
        self, one: LeasedBudget, amount: int, now_ms: int = DAY, tenant: TenantId = TENANT
    ) -> Reservation:
        return one.reserve(self.claim(amount, tenant), now_ms)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    # A machine that is short of time is not to decide what is refused.
    monkeypatch.setattr(budget_leased, "STORE_WAIT_S_MAX", 10.0)
    return House(tmp_path)


def fill(house: House, *workers: LeasedBudget, amount: int = 1) -> int:
    """Reserve with one worker after another until all refuse; return how much was set aside."""
    total, refused = 0, 0
    for one in itertools.cycle(workers):
        try:
            total += house.reserve(one, amount).amount
            refused = 0
        except BudgetExhausted:
            refused += 1
        if refused == len(workers):
            return total
    raise AssertionError("a cycle has no end")


def test_reservations_in_flight_count_before_their_cost_is_known(house):
    one = house.worker()
    assert house.reserve(one, 60).remaining == 40
    assert house.reserve(one, 40).remaining == 0
    with pytest.raises(BudgetExhausted):
        house.reserve(one, 1)


def test_settling_replaces_the_estimate_by_the_cost(house):
    one = house.worker()
    first = house.reserve(one, 80)
    one.settle(first, UsdMicros(30))
    assert one.reserved(TENANT) == 0
    assert house.reserve(one, 70).remaining == 0


def test_settling_with_nought_releases(house):
    one = house.worker()
    one.settle(house.reserve(one, 100), UsdMicros(0))
    assert house.reserve(one, 100).remaining == 0


def test_cost_over_the_estimate_is_counted_in_full(house):
    one = house.worker()
    one.settle(house.reserve(one, 10), UsdMicros(95))
    with pytest.raises(BudgetExhausted):
        house.reserve(one, 6)
    house.clock.now_ms += 1_000
    assert house.reserve(one, 5).remaining == 0


def test_tenants_do_not_share(house):
    one = house.worker()
    house.reserve(one, 100)
    assert house.reserve(one, 100, tenant=OTHER).remaining == 0


def test_same_call_is_set_aside_once_and_charged_once(house):
    one = house.worker()
    claim = house.claim(60, id_="the same")
    first = one.reserve(claim, DAY)
    assert one.reserve(claim, DAY) is first
    assert one.reserved(TENANT) == 60
    one.settle(first, UsdMicros(60))
    one.settle(first, UsdMicros(60))
    assert house.reserve(one, 40).remaining == 0


def test_reservation_that_nobody_settles_ends_and_a_late_cost_still_counts(house):
    one = house.worker()
    leaked = house.reserve(one, 100)
    house.clock.now_ms += RESERVATION_MS_MAX - 1
    one.expire()
    assert one.reserved(TENANT) == 100
    house.clock.now_ms += 1
    one.expire()
    assert one.reserved(TENANT) == 0
    one.settle(leaked, UsdMicros(70))
    one.settle(leaked, UsdMicros(70))
    assert house.reserve(one, 30).remaining == 0


def test_refusal_says_when_the_day_ends(house):
    house.limit = 0
    one = house.worker()
    with pytest.raises(BudgetExhausted) as caught:
        house.reserve(one, 1, DAY + DAY_MS - 5_000)
    assert caught.value.retry_after_s == 5
    assert house.reserve(one, 0).period_ends_ms == DAY + DAY_MS


def test_refusal_says_soon_where_another_worker_holds_what_is_left(house):
    house.limit, house.workers = 6_400, 2
    first, second = house.worker("s0"), house.worker("s1")
    house.reserve(first, 1)  # holds a slice of 50 beside it
    house.reserve(second, 6_300)
    with pytest.raises(BudgetExhausted) as caught:
        house.reserve(second, 95)
    assert caught.value.retry_after_s == 2


def test_new_day_forgets_what_was_spent_but_not_what_is_in_flight(house):
    one = house.worker()
    one.settle(house.reserve(one, 50), UsdMicros(50))
    flying = house.reserve(one, 50)
    with pytest.raises(BudgetExhausted):
        house.reserve(one, 1)
    tomorrow = DAY + DAY_MS
    assert house.reserve(one, 50, tomorrow).remaining == 0
    one.settle(flying, UsdMicros(50))
    assert one.reserved(TENANT) == 50


def test_wall_clock_that_steps_back_begins_no_day(house):
    one = house.worker()
    house.reserve(one, 100)
    with pytest.raises(BudgetExhausted):
        house.reserve(one, 1, DAY - DAY_MS)
    with pytest.raises(BudgetExhausted):
        house.reserve(one, 101, DAY - DAY_MS, OTHER)


def test_wall_clock_that_stepped_far_ahead_spends_no_day_twice_and_leaves_none_in_the_future(house):
    one = house.worker()
    one.settle(house.reserve(one, 70), UsdMicros(70))
    house.journaled = {"s0": {TENANT: 70}}
    future = house.reserve(one, 100, DAY + 400 * DAY_MS)
    one.settle(future, UsdMicros(100))
    house.clock.now_ms += 1_000
    assert house.reserve(one, 30, DAY + 1_000).remaining == 0
    with pytest.raises(BudgetExhausted) as refusal:
        house.reserve(one, 1, DAY + 2_000)
    assert refusal.value.retry_after_s <= DAY_MS // 1_000


def test_wall_clock_that_steps_never_ends_a_lease(house):
    one = house.worker()
    house.reserve(one, 10)
    for step_ms in (-DAY_MS // 2, DAY_MS - 1, 0):
        house.reserve(one, 10, DAY + step_ms)
    one.renew()
    assert house.worker("s1").reserved(TENANT) == 0
    assert one.reserved(TENANT) == 40


def test_what_was_spent_before_a_restart_counts(house):
    house.journaled = {"s0": {TENANT: 60}, "s1": {TENANT: 35}}
    with pytest.raises(BudgetExhausted):
        house.reserve(house.worker(), 6)
    assert house.reserve(house.worker(), 5).remaining == 0


def test_workers_take_all_of_the_budget_and_no_more(house):
    house.limit, house.workers = 10_000, 4
    workers = [house.worker(f"s{n}") for n in range(4)]
    assert fill(house, *workers) == 10_000


def test_one_busy_worker_is_not_held_to_an_even_share(house):
    house.limit, house.workers = 10_000, 4
    idle = house.worker("s1")
    house.reserve(idle, 1)
    busy = house.worker("s0")
    taken = fill(house, busy)
    assert taken >= 10_000 - 1 - 10_000 // (64 * 4) - 1
    # What the idle one holds beside its call comes back with its next round.
    for _ in range(2):
        idle.renew()
        house.clock.now_ms += 1_000
    assert taken + fill(house, busy) == 9_999


def test_what_a_crashed_worker_did_not_spend_comes_back_after_its_lease(house):
    house.limit, house.workers = 1_000, 2
    dead, alive = house.worker("s0"), house.worker("s1")
    dead.settle(house.reserve(dead, 300), UsdMicros(250))
    house.reserve(dead, 400)  # in flight when it is killed
    house.journaled = {"s0": {TENANT: 250}}
    house.reserve(alive, 1)
    alive.renew()
    with pytest.raises(BudgetExhausted):
        house.reserve(alive, 740)
    house.clock.now_ms += LEASE_MS - 2_000
    alive.renew()
    house.clock.now_ms += 2_001
    alive.renew()  # the lease of the dead one ran out; its journal says 250
    house.clock.now_ms += 1_000
    assert house.reserve(alive, 749).remaining == 0


def test_worker_that_restarts_gives_back_at_once_what_its_predecessor_held(house):
    house.limit, house.workers = 1_000, 2
    dead = house.worker("s0")
    dead.settle(house.reserve(dead, 600), UsdMicros(100))
    house.journaled = {"s0": {TENANT: 100}}
    assert fill(house, house.worker("s0")) == 900


def test_worker_that_stood_still_does_not_use_what_was_taken_from_it(house):
    house.limit, house.workers = 1_000, 2
    sleeper, other = house.worker("s0"), house.worker("s1")
    sleeper.settle(house.reserve(sleeper, 500), UsdMicros(0))
    house.clock.now_ms += LEASE_MS + 1
    other.renew()
    assert fill(house, other) == 1_000
    with pytest.raises(BudgetExhausted):
        house.reserve(sleeper, 1)


def test_leases_from_before_a_boot_have_lapsed(house):
    house.limit = 1_000
    dead = house.worker("s9")
    dead.settle(house.reserve(dead, 900), UsdMicros(0))
    house.clock.now_ms = 3_000  # the monotonic clock began anew
    one = house.worker("s0")
    one.renew()
    assert fill(house, one) == 1_000


def test_budget_db_that_is_lost_is_made_anew_from_the_journals(house):
    house.limit, house.workers = 1_000, 2
    house.journaled = {"s0": {TENANT: 300}, "s1": {TENANT: 300}}
    assert fill(house, house.worker("s0"), house.worker("s1")) == 400


def test_without_budget_db_each_worker_has_an_even_share_and_says_so(house, tmp_path, caplog):
    house.limit, house.workers = 1_000, 4
    house.journaled = {"s0": {TENANT: 200}}
    broken = tmp_path / "no.db"
    broken.mkdir()
    workers = [house.worker(f"s{n}", path=broken) for n in range(4)]
    assert fill(house, workers[0]) == 200
    assert fill(house, *workers[1:]) == 600
    assert len([one for one in caplog.records if "even share" in one.message]) == 4


def test_budget_db_that_fails_later_never_adds_to_what_is_left(house):
    house.limit, house.workers = 10_000, 2
    workers = [house.worker("s0"), house.worker("s1")]
    taken = sum(house.reserve(one, 3_000).amount for one in workers)
    for one in workers:
        one.renew()
    blocker = sqlite3.connect(house.path, isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    taken += fill(house, *workers)
    assert taken <= 10_000
    blocker.execute("ROLLBACK")
    blocker.close()
    for one in workers:
        one.renew()
    assert taken + fill(house, *workers) == 10_000


def test_file_of_a_later_version_is_refused_and_left_as_it_is(house, caplog):
    connection = sqlite3.connect(house.path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert fill(house, house.worker()) == 100
    assert "version 99" in str(caplog.records[0].fields)


def test_journals_that_cannot_be_read_stop_the_start(house):
    class Unreadable(dict):
        pass

    def fail(_: int) -> Spent:
        raise StateError("the journal cannot be read")

    terms = BudgetTerms(house.path, "s0", 1, lambda _: UsdMicros(1), fail, house.clock)
    with pytest.raises(StateError):
        LeasedBudget(terms, DAY)


def test_closing_gives_back_what_was_not_spent(house):
    house.limit, house.workers = 1_000, 2
    leaving, staying = house.worker("s0"), house.worker("s1")
    leaving.settle(house.reserve(leaving, 900), UsdMicros(10))
    leaving.close()
    assert fill(house, staying) == 990


@settings(max_examples=40, deadline=None)
@given(data=st.data(), limit=st.integers(0, 2_000), count=st.integers(1, 4))
def test_spent_and_reserved_never_pass_the_budget_while_costs_keep_to_their_estimates(
    tmp_path_factory, data, limit, count
):
    house = House(tmp_path_factory.mktemp("house"), limit, count)
    workers = [house.worker(f"s{n}") for n in range(count)]
    flying: list[tuple[LeasedBudget, Reservation]] = []
    spent = 0
    steps = st.tuples(st.sampled_from("rrrstn"), st.integers(0, count - 1), st.integers(0, 400))
    for step, index, amount in data.draw(st.lists(steps, max_size=60)):
        worker = workers[index]
        if step == "r":
            with contextlib.suppress(BudgetExhausted):
                flying.append((worker, house.reserve(worker, amount)))
        elif step == "s" and flying:
            owner, held = flying.pop(amount % len(flying))
            cost = min(held.amount, amount)
            owner.settle(held, UsdMicros(cost))
            spent += cost
        elif step == "t":
            house.clock.now_ms += amount
        else:
            worker.renew()
        assert spent + sum(held.amount for _, held in flying) <= limit
    for worker in workers:
        worker.close()


@pytest.mark.slow
def test_most_requests_do_not_wait_for_the_file(house):
    house.limit, house.workers = 10**9, 4
    one = house.worker()
    house.reserve(one, 1_000)
    begun_ns, count = time.thread_time_ns(), 20_000
    for _ in range(count):
        one.settle(house.reserve(one, 1_000), UsdMicros(900))
    each_us = (time.thread_time_ns() - begun_ns) / count / 1_000
    assert each_us < 100, "a transaction in each request would cost that much"


def test_day_begins_at_midnight_utc():
    assert day_start_ms(DAY) == DAY == day_start_ms(DAY + DAY_MS - 1)


def test_file_that_is_busy_for_a_moment_takes_nothing_from_the_others(house):
    house.limit, house.workers = 10_000, 2
    one, other = house.worker("s0"), house.worker("s1")
    taken = house.reserve(one, 100).amount + house.reserve(other, 100).amount
    blocker = sqlite3.connect(house.path, isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    house.clock.now_ms += LEASE_MS // 2
    one.renew()
    blocker.execute("ROLLBACK")
    blocker.close()
    house.clock.now_ms += 2_000
    for worker in (one, other):
        worker.renew()
    assert taken + fill(house, one, other) == 10_000


def test_renewing_costs_nothing_while_a_lease_is_young_and_much_is_left(house, monkeypatch):
    house.limit, house.workers = 10**9, 2
    one = house.worker()
    house.reserve(one, 100)
    asked = []
    lease = one._store.lease
    monkeypatch.setattr(one._store, "lease", lambda *what: asked.append(what) or lease(*what))
    for _ in range(10):
        house.clock.now_ms += 1_000
        one.renew()
    assert 1 <= len(asked) <= 2
    house.clock.now_ms += 1_000
    assert house.reserve(one, 100).amount == 100


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_is_lost_in_use_is_made_again_and_all_workers_share_the_new_one(
    tmp_path, replaced
):
    house = House(tmp_path, limit=1_000, workers=2)
    one, two = house.worker("s0"), house.worker("s1")
    for each in (one, two):
        each.settle(house.reserve(each, 100), UsdMicros(100))
    house.journaled = {"s0": {TENANT: 100}, "s1": {TENANT: 100}}
    for path in tmp_path.glob("budget.db*"):
        path.unlink()
    if replaced:
        house.path.touch()
    one.renew()
    two.renew()
    assert house.path.exists()
    fresh = house.worker("s1")
    assert fill(house, one, fresh) == 800
    for each in (one, two, fresh):
        each.close()
