"""Token buckets for requests and tokens, one pair for each tenant and each key.

Counts are of this worker; with N workers each gets an N-th of the rate, so that the sum keeps the
configured limit whichever worker the kernel picks.
"""

from verismo.gateway.identify import Caller
from verismo.model.errors import RateLimited
from verismo.model.tenant import RateLimit

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

    def wait_s(self, amount: float, now_ms: int) -> int:
        """Return in how many whole seconds the amount will be there, at least 1."""
        missing = amount - self.level(now_ms)
        return max(1, -int(-missing * 60 // self.per_minute))


class Meter:
    """The two buckets of one tenant or key.

    Args:
        name: for the message and the RateLimit header: `tenant` or `key`.
        rate: the limits; 0 means none.
        workers: number of workers that share the limits.
        now_ms: Unix ms.
    """

    def __init__(self, name: str, rate: RateLimit, workers: int, now_ms: int) -> None:
        self.name = name
        self.rate = rate
        share = 1 / workers
        self.requests = (
            Bucket(max(1.0, rate.requests_per_minute * share), now_ms)
            if rate.requests_per_minute
            else None
        )
        self.tokens = (
            Bucket(max(1.0, rate.tokens_per_minute * share), now_ms)
            if rate.tokens_per_minute
            else None
        )

    def check(self, now_ms: int) -> None:
        """Refuse a request that is over a limit; takes nothing.

        Raises:
            RateLimited: with the time until it makes sense to come again.
        """
        self.check_requests(now_ms)
        if self.tokens is not None and self.tokens.level(now_ms) <= 0:
            wait = self.tokens.wait_s(1, now_ms)
            raise RateLimited(
                f"the {self.name} allows {self.rate.tokens_per_minute} tokens a minute",
                retry_after_s=wait,
                policies=(self.name,),
            )

    def check_requests(self, now_ms: int) -> None:
        """Refuse what costs no tokens and is over the limit of requests; takes nothing.

        Raises:
            RateLimited: with the time until it makes sense to come again.
        """
        if self.requests is not None and self.requests.level(now_ms) < 1:
            wait = self.requests.wait_s(1, now_ms)
            raise RateLimited(
                f"the {self.name} allows {self.rate.requests_per_minute} requests a minute",
                retry_after_s=wait,
                policies=(self.name,),
            )

    def take_request(self) -> None:
        """Take one request out."""
        if self.requests is not None:
            self.requests.take(1)

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


class RateLimiter:
    """Every tenant's and key's meter in this worker.

    Args:
        workers: how many workers share the limits.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
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
        meters = self.meters(caller, now_ms)
        for meter in meters:
            meter.check_requests(now_ms)
        for meter in meters:
            meter.take_request()

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
            meter = self._meters[(name, owner)] = Meter(name, rate, self.workers, now_ms)
        return meter
