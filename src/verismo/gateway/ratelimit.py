"""Token buckets for requests and tokens, one pair for each tenant and each key.

One worker counts in its own memory. Several share their buckets, so that a limit holds whichever of
them the kernel picks for a connection, and no part of it lies where nobody asks for it.
"""

from collections.abc import Sequence

from verismo.gateway.identify import Caller
from verismo.model.errors import RateLimited
from verismo.model.tenant import RateLimit
from verismo.ports.rates import RateBucket, RateTable

_MINUTE_MS = 60_000


class Bucket:
    """A bucket that refills evenly. It may go into debt: token counts are known only afterwards.

    Args:
        per_minute: refill, over 0.
        now_ms: Unix ms; it starts full.
        burst: what it holds at most; a minute's refill if not given.
    """

    def __init__(self, per_minute: float, now_ms: int, burst: float | None = None) -> None:
        self.per_minute = per_minute
        self._burst = per_minute if burst is None else burst
        self._level = self._burst
        self._at_ms = now_ms

    def level(self, now_ms: int) -> float:
        """Return what is in it; a clock that steps back refills nothing."""
        elapsed = max(0, now_ms - self._at_ms)
        self._at_ms = max(self._at_ms, now_ms)
        self._level = min(self._burst, self._level + elapsed * self.per_minute / _MINUTE_MS)
        return self._level

    def take(self, amount: float) -> None:
        """Take something out, into debt if need be."""
        self._level -= amount

    def try_take(self, amount: float, now_ms: int) -> bool:
        """Take an amount out if all of it is there, and say whether it was."""
        is_there = self.level(now_ms) >= amount
        if is_there:
            self.take(amount)
        return is_there

    def charge(self, amount: float, now_ms: int) -> None:
        """Refill, then take something out, into debt if need be; a negative amount gives back."""
        self.level(now_ms)
        self.take(amount)

    def wait_s(self, amount: float, now_ms: int) -> int:
        """Return in how many whole seconds the amount will be there, at least 1."""
        return wait_s(self, amount, now_ms)


def wait_s(bucket: RateBucket, amount: float, now_ms: int) -> int:
    """Return in how many whole seconds an amount will be in a bucket, at least 1."""
    missing = amount - bucket.level(now_ms)
    return max(1, -int(-missing * 60 // bucket.per_minute))


class Meter:
    """The two buckets of one tenant or key.

    Args:
        name: for the message and the RateLimit header: `tenant` or `key`.
        rate: the limits; 0 means none.
        requests: counts requests; None without a limit of them.
        tokens: counts tokens; None without a limit of them.
    """

    def __init__(
        self, name: str, rate: RateLimit, requests: RateBucket | None, tokens: RateBucket | None
    ) -> None:
        self.name = name
        self.rate = rate
        self.requests = requests
        self.tokens = tokens

    def check_tokens(self, now_ms: int) -> None:
        """Refuse a request whose owner is in debt of tokens; takes nothing.

        Raises:
            RateLimited: with the time until it makes sense to come again.
        """
        if self.tokens is not None and self.tokens.level(now_ms) <= 0:
            raise RateLimited(
                f"the {self.name} allows {self.rate.tokens_per_minute} tokens a minute",
                retry_after_s=wait_s(self.tokens, 1, now_ms),
                policies=(self.name,),
            )

    def take_request(self, now_ms: int) -> None:
        """Take one request out.

        Raises:
            RateLimited: none is left; with the time until there is one. Nothing was taken.
        """
        if self.requests is not None and not self.requests.try_take(1, now_ms):
            raise RateLimited(
                f"the {self.name} allows {self.rate.requests_per_minute} requests a minute",
                retry_after_s=wait_s(self.requests, 1, now_ms),
                policies=(self.name,),
            )

    def give_back_request(self, now_ms: int) -> None:
        """Put back what `take_request` took."""
        if self.requests is not None:
            self.requests.charge(-1, now_ms)

    def headers(self, now_ms: int) -> list[tuple[bytes, bytes]]:
        """Return the RateLimit header fields, or nothing where no request limit is set.

        Source: draft-ietf-httpapi-ratelimit-headers.
        """
        if self.requests is None:
            return []
        quota, left = self.rate.requests_per_minute, int(max(0, self.requests.level(now_ms)))
        return [
            (b"ratelimit-policy", f'"{self.name}";q={quota};w=60'.encode()),
            (b"ratelimit", f'"{self.name}";r={left};t={60 if left < 1 else 1}'.encode()),
        ]


def take_request(meters: Sequence[Meter], now_ms: int) -> None:
    """Take one request from every meter, or from none of them.

    Raises:
        RateLimited: one of them has none left.
    """
    for index, meter in enumerate(meters):
        try:
            meter.take_request(now_ms)
        except RateLimited:
            for taken in meters[:index]:
                taken.give_back_request(now_ms)
            raise


class RateLimiter:
    """Every tenant's and key's meter, for one kind of request.

    Args:
        workers: how many workers there are, for what is still divided: octets of spans.
        table: the buckets that they share; None where there is one.
        kind: what is counted, such as `calls`; each kind has buckets of its own.
    """

    def __init__(self, workers: int, table: RateTable | None = None, kind: str = "calls") -> None:
        self.workers = workers
        self._table = table
        self._kind = kind
        self._meters: dict[tuple[str, str], Meter] = {}

    def meters(self, caller: Caller, now_ms: int) -> list[Meter]:
        """Return the meters of a caller's tenant and key, none where there are no limits."""
        tenant, key = caller.view.tenant, caller.key
        of_tenant = self.meter("tenant", tenant.id, tenant.rate, now_ms)
        of_key = self.meter("key", key.id, key.rate, now_ms)
        return [meter for meter in (of_tenant, of_key) if meter is not None]

    def take_read(self, caller: Caller, now_ms: int) -> None:
        """Take one request for a read, which costs no tokens.

        Raises:
            RateLimited: the tenant or the key is over its rate of requests.
        """
        take_request(self.meters(caller, now_ms), now_ms)

    def meter(self, name: str, owner: str, rate: RateLimit, now_ms: int) -> Meter | None:
        """Return the meter of a tenant or key, or None where it has no limits.

        Args:
            name: `tenant` or `key`.
            owner: its id.
            rate: the limits in force; a change starts a fresh meter.
            now_ms: Unix ms.
        """
        if not rate.requests_per_minute and not rate.tokens_per_minute:
            return None
        meter = self._meters.get((name, owner))
        if meter is None or meter.rate != rate:
            requests = self._bucket((name, owner, "requests"), rate.requests_per_minute, now_ms)
            tokens = self._bucket((name, owner, "tokens"), rate.tokens_per_minute, now_ms)
            meter = self._meters[(name, owner)] = Meter(name, rate, requests, tokens)
        return meter

    def _bucket(
        self, name: tuple[str, str, str], per_minute: int, now_ms: int
    ) -> RateBucket | None:
        if not per_minute:
            return None
        if self._table is None:
            return Bucket(per_minute, now_ms)
        return self._table.bucket((self._kind, *name), per_minute)
