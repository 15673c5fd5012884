"""The token buckets of throttled routes, as one worker holds them.

A worker takes a second's worth of its share out of the common bucket at a time, so that most
requests are decided from memory, and asks no more while the bucket is known to be empty.
"""

from collections.abc import Callable

from verismo.adapters.budget_slices import BURST_MS, Drawn
from verismo.model.errors import RouteThrottled
from verismo.model.ids import OperationId, TenantId
from verismo.model.steering import Throttle

Route = tuple[TenantId, OperationId]
Draw = Callable[[Route, int, tuple[int, int], int], Drawn | None]
"""As `SqliteSlices.draw`; None where the common bucket cannot be reached."""
DRY_MS_MIN = 100
"""An empty bucket is not asked again sooner: ten times a second at most, whatever comes."""
_MINUTE_MS = 60_000


class RouteBuckets:
    """The buckets of one worker.

    Args:
        draw: takes from the common bucket.
        workers: how many workers share it, for a share of one's own where it cannot be reached.
    """

    def __init__(self, draw: Draw, workers: int) -> None:
        self._draw = draw
        self._workers = workers
        self._buckets: dict[Route, _Bucket] = {}

    def check(self, throttle: Throttle, amount: int, now_ms: int) -> None:
        """See to it that the bucket of a route holds an amount; takes nothing.

        Args:
            throttle: of the route.
            amount: USD micros.
            now_ms: of the monotonic clock.

        Raises:
            RouteThrottled: it does not; says when it may.
        """
        rate = throttle.usd_micros_per_minute
        bucket = self._buckets.setdefault((throttle.tenant, throttle.operation), _Bucket())
        if bucket.rate != rate:
            bucket.rate, bucket.dry_until_ms = rate, 0
        if bucket.held >= amount:
            return
        if rate > 0 and now_ms >= bucket.dry_until_ms:
            slice_ = -(-rate // (60 * self._workers))
            needed = amount - bucket.held
            drawn = self._draw(
                (throttle.tenant, throttle.operation), rate, (needed, max(needed, slice_)), now_ms
            )
            if drawn is None:
                drawn = bucket.alone(rate / self._workers, needed, now_ms)
            bucket.held += drawn.usd_micros
            if not drawn.usd_micros:
                bucket.dry_until_ms = now_ms + max(DRY_MS_MIN, drawn.wait_ms)
        if bucket.held < amount:
            wait_ms = max(0, bucket.dry_until_ms - now_ms) if rate > 0 else _MINUTE_MS
            raise RouteThrottled(
                f"the route spends far more than it usually does and may spend {rate} USD micros "
                "a minute for now",
                retry_after_s=max(1, -(-wait_ms // 1_000)),
                policies=("route",),
            )

    def take(self, throttle: Throttle, amount: int) -> None:
        """Take what `check` found to be there."""
        self._buckets[(throttle.tenant, throttle.operation)].held -= amount


class _Bucket:
    """What one worker holds of a route's bucket, USD micros.

    Attributes:
        held: taken out of the common bucket, not yet by a request.
        rate: of the throttle, USD micros a minute.
        dry_until_ms: before then the common bucket has nothing, at that rate.
    """

    __slots__ = ("_at_ms", "_level", "dry_until_ms", "held", "rate")

    def __init__(self) -> None:
        self.held = self.rate = 0
        self.dry_until_ms = 0
        self._level = 0.0
        self._at_ms = 0

    def alone(self, rate: float, needed: int, now_ms: int) -> Drawn:
        """Take from a bucket of one's own, which starts empty: the common one may be full."""
        elapsed = max(0, now_ms - self._at_ms) if self._at_ms else 0
        self._at_ms = now_ms
        filled = self._level + elapsed * rate / _MINUTE_MS
        self._level = min(filled, BURST_MS * rate / _MINUTE_MS)
        if self._level <= 0:
            return Drawn(0, int(-self._level * _MINUTE_MS / rate) + DRY_MS_MIN)
        self._level -= needed
        return Drawn(needed, 0)
