"""Daily budgets that all workers share, leased in slices through `<data>/budget.db`.

A request is admitted from what its worker has leased, in memory; a thread leases the next slice
before the present one ends, tells what was spent, renews, and gives back what lies idle once
little is left for all. Only a request that is dearer than what is leased waits for the file.

Where the file cannot be used each worker goes on with an N-th of what was left when it was last
seen, so that all of them together keep the budget without speaking to each other.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from verismo.adapters.budget_account import Account
from verismo.adapters.budget_buckets import Route, RouteBuckets
from verismo.adapters.budget_slices import (
    LEASE_MS,
    Ask,
    Drawn,
    Lapsed,
    SqliteSlices,
)
from verismo.model.errors import BudgetExhausted, StateError
from verismo.model.ids import TenantId
from verismo.model.units import UsdMicros
from verismo.ports.budget import Claim, Reservation

DAY_MS = 86_400_000
SLICES = 64
"""A slice is this part of a worker's even share of the day."""
RESERVATION_MS_MAX = 3_600_000
"""Nobody settles a reservation that is older; no call lasts so long."""
IDLE_MS = 60_000
"""A tenant that asked for nothing for so long holds no slice."""
DRY_MS = 200
"""A budget that had nothing left is not asked again sooner."""
ALONE_MS = 2_000
"""A file that could not be used is not tried again sooner by a request."""
ELSEWHERE_S = 2
"""When to come again where other workers hold what is left: they give it back within a second."""
LAPSE_MARGIN_MS = 1_000
"""A worker stops using a lease that much before the others may take it."""
STORE_WAIT_S_MAX = 0.1
"""How long a request waits for this worker's own thread to let go of the file."""

log = logging.getLogger("verismo.budget")


class BudgetTerms(msgspec.Struct, frozen=True):
    """What a worker's budgets go by.

    Args:
        path: the common file.
        slot: the worker.
        workers: how many workers share the budgets.
        limit: returns a tenant's budget for a day, USD micros.
        journaled: returns what the journal of each slot has of the cost since a time, by tenant.
        clock_ms: reads the machine's monotonic clock, ms.
    """

    path: Path
    slot: str
    workers: int
    limit: Callable[[TenantId], UsdMicros]
    journaled: Callable[[int], Mapping[str, Mapping[TenantId, int]]]
    clock_ms: Callable[[], int]


class LeasedBudget:
    """Budgets of one worker; see `ports.budget.Budget`. Close it.

    Args:
        terms: what it goes by.
        day_began_ms: start of the present UTC day, Unix ms.

    Raises:
        StateError: the journals cannot be read.
    """

    def __init__(self, terms: BudgetTerms, day_began_ms: int) -> None:
        self._terms = terms
        self._day_ms = day_began_ms
        self._spent = terms.journaled(day_began_ms)
        self._accounts: dict[TenantId, Account] = {}
        self._open: dict[str, _Held] = {}
        self._lapsed_ids: dict[str, int] = {}
        self._lock = threading.Lock()
        self._storing = threading.Lock()
        self._store: SqliteSlices | None = None
        self._told = ""
        self._helper = ThreadPoolExecutor(1, "verismo-budget")
        self._buckets = RouteBuckets(self._draw, terms.workers)
        with self._storing:
            self._opened()

    def reserve(self, claim: Claim, now_ms: int) -> Reservation:
        """Set an estimate aside; see `ports.budget.Budget`."""
        known = self._open.get(claim.id)
        if known is not None:
            return known.reservation
        clock_ms = self._terms.clock_ms()
        if claim.throttle is not None:
            self._buckets.check(claim.throttle, claim.amount, clock_ms)
        account = self._account(claim.tenant, now_ms)
        if not self._set_aside(account, claim.amount, clock_ms):
            if clock_ms >= account.dry_until_ms or clock_ms >= account.lapses_ms:
                self._lease(account, claim.amount, STORE_WAIT_S_MAX)
            if not self._set_aside(account, claim.amount, clock_ms):
                raise _exhausted(account, claim.amount, now_ms)
        if claim.throttle is not None:
            self._buckets.take(claim.throttle, claim.amount)
        reservation = Reservation(
            id=claim.id,
            tenant=claim.tenant,
            amount=claim.amount,
            remaining=UsdMicros(account.left + account.room),
            period_ends_ms=account.day_ms + DAY_MS,
        )
        self._open[claim.id] = _Held(reservation, clock_ms + RESERVATION_MS_MAX)
        if account.room < account.slice // 2 and account.left and not account.is_asked:
            account.is_asked = True
            self._helper.submit(self._lease_ahead, account)
        return reservation

    def settle(self, reservation: Reservation, cost: UsdMicros) -> None:
        """Replace a reservation by the cost; it counts in the day in which it is settled."""
        held = self._open.pop(reservation.id, None)
        if held is None and self._lapsed_ids.pop(reservation.id, None) is None:
            return
        account = self._accounts[reservation.tenant]
        with self._lock:
            if held is not None:
                account.reserved -= reservation.amount
            account.spent += cost

    def reserved(self, tenant: TenantId) -> int:
        """Return what is set aside for a tenant's calls in flight, USD micros."""
        account = self._accounts.get(tenant)
        return 0 if account is None else account.reserved

    def expire(self) -> None:
        """End reservations that nobody settled; from the event loop."""
        clock_ms = self._terms.clock_ms()
        for id_, until_ms in list(self._lapsed_ids.items()):
            if clock_ms >= until_ms:
                del self._lapsed_ids[id_]
        # In the order in which they were made, so the first that holds ends the search.
        for id_, held in list(self._open.items()):
            if clock_ms < held.until_ms:
                break
            del self._open[id_]
            self._lapsed_ids[id_] = clock_ms + RESERVATION_MS_MAX
            with self._lock:
                self._accounts[held.reservation.tenant].reserved -= held.reservation.amount

    def renew(self) -> None:
        """Tell what was spent, renew leases, give back, take over what lapsed; from a thread."""
        held: Mapping[TenantId, int] = {}
        lapsed: Sequence[Lapsed] = ()
        is_anew = False
        try:
            is_anew = self._left_lost()
            with self._storing:
                store = self._opened()
                if store is not None:
                    held = store.held(self._day_ms)
                    lapsed = store.lapsed(self._terms.clock_ms())
            self._take_over(lapsed)
        except StateError as error:
            self._tell(error)
        for account in list(self._accounts.values()):
            is_due = is_anew or self._is_due(account, held.get(account.tenant, 0))
            if account.granted and is_due:
                self._lease(account, None, None)

    def close(self) -> None:
        """Tell what was spent, give back the rest, and close the file."""
        self._helper.shutdown()
        for account in self._accounts.values():
            account.used_ms = -IDLE_MS
            self._lease(account, None, None)
        with self._storing:
            store, self._store = self._store, None
            if store is not None:
                store.close()

    def _account(self, tenant: TenantId, now_ms: int) -> Account:
        """Return a tenant's account of the day; a clock that steps back a little begins none."""
        if now_ms >= self._day_ms + DAY_MS:
            self._day_ms, self._spent = day_start_ms(now_ms), {}
        elif now_ms < self._day_ms - DAY_MS:
            self._go_back(day_start_ms(now_ms))
        account = self._accounts.get(tenant)
        if account is None or account.day_ms != self._day_ms:
            limit = self._terms.limit(tenant)
            spent = sum(costs.get(tenant, 0) for costs in self._spent.values())
            own = self._spent.get(self._terms.slot, {}).get(tenant, 0)
            fresh = Account(tenant, self._day_ms, limit, own, max(0, limit - spent))
            fresh.slice = max(1, limit // (SLICES * self._terms.workers))
            with self._lock:
                fresh.reserved = 0 if account is None else account.reserved
                self._accounts[tenant] = fresh
            account = fresh
        return account

    def _go_back(self, day_ms: int) -> None:
        """Return to a day after the clock had stepped far ahead, with what was spent of it.

        Else one wrong reading would leave all budgets in a day of the future, spent until it comes.
        """
        try:
            spent = self._terms.journaled(day_ms)
        except StateError as error:
            self._tell(error)
            return
        self._day_ms, self._spent = day_ms, spent

    def _set_aside(self, account: Account, amount: int, clock_ms: int) -> bool:
        with self._lock:  # the thread may be giving back
            if clock_ms >= account.lapses_ms or account.room < amount:
                return False
            account.reserved += amount
            account.used_ms = clock_ms
            return True

    def _lease_ahead(self, account: Account) -> None:
        try:
            self._lease(account, 0, None)
        finally:
            account.is_asked = False

    def _lease(self, account: Account, amount: int | None, wait_s: float | None) -> None:
        """Bring an account and the file together.

        Args:
            account: of a tenant's day.
            amount: what is needed beside what is in use; None renews and gives back only.
            wait_s: how long to wait for this worker's other thread; None for as long as it takes.
        """
        if not self._storing.acquire(timeout=-1 if wait_s is None else wait_s):
            return
        try:
            self._exchange(account, amount)
        finally:
            self._storing.release()

    def _exchange(self, account: Account, amount: int | None) -> None:
        clock_ms = self._terms.clock_ms()
        with self._lock:
            in_use = account.spent + account.reserved
            if amount is not None:
                target = max(account.granted, in_use + amount + account.slice)
            else:
                target = min(account.granted, in_use + self._kept(account, clock_ms))
                account.granted = target  # from here on no request counts on it
            spent = account.spent
        terms = self._terms
        limit = account.limit
        ask = Ask(terms.slot, account.tenant, account.day_ms, limit, spent, target)
        try:
            standing = None if self._store is None else self._store.lease(ask, clock_ms)
        except StateError as error:
            self._tell(error)
            standing = None
        with self._lock:
            if standing is None:
                # A lease that still holds is enough as long as nothing beyond it is needed.
                if amount or clock_ms >= account.lapses_ms:
                    account.go_alone(terms.workers)
                account.dry_until_ms = clock_ms + ALONE_MS
            else:
                self._told = ""
                account.stand(standing, clock_ms + LEASE_MS - LAPSE_MARGIN_MS)
                # Where anything is left, everything that was asked for was given.
                account.dry_until_ms = 0 if standing.left else clock_ms + DRY_MS

    def _kept(self, account: Account, clock_ms: int) -> int:
        """Return how much an account may keep beside what is in use."""
        if clock_ms - account.used_ms >= IDLE_MS:
            return 0
        is_short = account.left < account.slice * self._terms.workers
        return 0 if is_short else 2 * account.slice

    def _draw(self, route: Route, rate: int, want: tuple[int, int], clock_ms: int) -> Drawn | None:
        if not self._storing.acquire(timeout=STORE_WAIT_S_MAX):
            return None
        try:
            return None if self._store is None else self._store.draw(route, rate, want, clock_ms)
        except StateError as error:
            self._tell(error)
            return None
        finally:
            self._storing.release()

    def _opened(self) -> SqliteSlices | None:
        """Return the file, opened anew where it could not be opened before; `_storing` is held."""
        if self._store is None:
            terms = self._terms
            try:
                store = SqliteSlices(terms.path)
                try:
                    store.begin(terms.slot, self._day_ms, self._spent)
                except BaseException:
                    store.close()
                    raise
                self._store = store
            except StateError as error:
                self._tell(error)
        return self._store

    def _left_lost(self) -> bool:
        """Leave a file that was deleted or replaced, and say so.

        A worker that starts would open another one, and lease once more what the others have.
        """
        if self._store is None or self._store.is_in_place():
            return False
        # Requests do not wait for the journals.
        spent = self._terms.journaled(self._day_ms)
        with self._storing:
            self._store.close()
            self._store, self._spent = None, spent
        fields = {"file": str(self._terms.path), "next": "Nothing to do: it is made again."}
        log.warning("the file of budgets was deleted or replaced", extra={"fields": fields})
        return True

    def _take_over(self, lapsed: Sequence[Lapsed]) -> None:
        """Free what workers that are gone have not spent; requests do not wait for the journals."""
        for day_ms in {one.day_ms for one in lapsed}:
            spent = self._terms.journaled(day_ms)
            with self._storing:
                if self._store is None:
                    return
                for one in lapsed:
                    if one.day_ms == day_ms:
                        self._store.release(one, spent.get(one.slot, {}).get(one.tenant, 0))

    def _is_due(self, account: Account, held: int) -> bool:
        """Say whether a lease is half over, or so little is left that idle parts are given back."""
        left_ms = account.lapses_ms - self._terms.clock_ms()
        is_short = account.limit - held < account.slice * self._terms.workers
        return is_short or not LEASE_MS // 2 <= left_ms <= LEASE_MS

    def _tell(self, error: StateError) -> None:
        """Log a failure once."""
        if error.detail != self._told:
            fields = {"error": error.detail, "next": error.advice, "share": self._terms.workers}
            log.error("budgets go on with an even share for each worker", extra={"fields": fields})
        self._told = error.detail


class _Held(msgspec.Struct, frozen=True):
    """A reservation, and when it ends by itself."""

    reservation: Reservation
    until_ms: int


def day_start_ms(now_ms: int) -> int:
    """Return the start of the UTC day of a time, Unix ms."""
    return now_ms - now_ms % DAY_MS


def _exhausted(account: Account, amount: int, now_ms: int) -> BudgetExhausted:
    ends_s = max(1, (account.day_ms + DAY_MS - now_ms) // 1_000)
    is_held = account.room + account.left + account.elsewhere >= amount
    return BudgetExhausted(
        "the tenant's budget for today is spent or reserved",
        retry_after_s=min(ELSEWHERE_S, ends_s) if is_held else ends_s,
        policies=("budget",),
    )
