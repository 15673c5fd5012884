"""A window: what one interval held for one route, arm and deployment, as integers that add up.

Times and times to the first token stand in histograms of logarithmic buckets: bucket `i` holds the
values from 1.01**i up to, not including, 1.01**(i + 1) microseconds. Making every value 1.01**k
times as large moves them `k` buckets on, and what lies above a bucket's edge is counted exactly.
The edges are made by integer arithmetic, so that every machine puts a value into the same bucket.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from verismo.model import canonical
from verismo.model.ids import DeploymentId, OperationId, TenantId
from verismo.model.units import Milliseconds, UsdMicros

Arm = Literal["baseline", "candidate", "unsplit"]
"""`unsplit`: no rollout drew an arm for these requests, so they are compared with nothing."""

BUCKETS: Final = 2_600
"""1.01**2600 us is 48 hours: longer than any answer."""
_SCALE: Final = 10**40


def _lower_edges() -> tuple[int, ...]:
    """Return the smallest whole number of microseconds of each bucket."""
    edges, edge = [], _SCALE
    for _ in range(BUCKETS):
        edges.append(-(-edge // _SCALE))
        edge = edge * 101 // 100
    return tuple(edges)


LOWER_EDGES_US: Final = _lower_edges()


def bucket_of(value_us: int) -> int:
    """Return the bucket of a time.

    Args:
        value_us: microseconds; below 1 counts as 1, beyond the last edge as in the last bucket.

    Raises:
        ValueError: a negative time; a mistake of the caller's clock, not to be counted.
    """
    if value_us < 0:
        raise ValueError("a time cannot be negative")
    return bisect_right(LOWER_EDGES_US, max(value_us, 1)) - 1


class Histogram(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Counts in logarithmic buckets of growth 1.01; only the buckets that hold something.

    Args:
        buckets: indices, strictly ascending, 0 to BUCKETS - 1.
        counts: how many values each holds, at least 1.
    """

    buckets: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()

    @property
    def total(self) -> int:
        """How many values it holds."""
        return sum(self.counts)

    def add(self, value_us: int, count: int = 1) -> "Histogram":
        """Return it with a value more; a `Tally` is quicker for many.

        Raises:
            ValueError: a negative time.
        """
        return self.merge(Histogram((bucket_of(value_us),), (count,)))

    def merge(self, other: "Histogram") -> "Histogram":
        """Return what both hold; the order does not matter."""
        found = Counter(dict(zip(self.buckets, self.counts, strict=True)))
        found.update(dict(zip(other.buckets, other.counts, strict=True)))
        return from_counts(found)

    def count_above(self, edge: int) -> int:
        """Count the values in bucket `edge` and beyond it: those of 1.01**edge us or more."""
        at = bisect_right(self.buckets, edge - 1)
        return sum(self.counts[at:])

    def quantile_edge(self, share_ppm: int) -> int | None:
        """Return the first bucket edge above at least a share of the values.

        Args:
            share_ppm: 950,000 for the 95th percentile.

        Returns:
            `edge` for `count_above`; None where there is no value.
        """
        total = self.total
        seen = 0
        for bucket, count in zip(self.buckets, self.counts, strict=True):
            seen += count
            if seen * 1_000_000 >= share_ppm * total:
                return bucket + 1
        return None

    def fault(self) -> str:
        """Say what is wrong with it; empty if nothing is."""
        if len(self.buckets) != len(self.counts):
            return "buckets and counts differ in number"
        if any(right <= left for left, right in zip(self.buckets, self.buckets[1:], strict=False)):
            return "buckets are not ascending"
        if self.buckets and not 0 <= self.buckets[0] <= self.buckets[-1] < BUCKETS:
            return "a bucket that does not exist"
        if any(count < 1 for count in self.counts):
            return "a bucket that holds nothing"
        return ""


def from_counts(counts: dict[int, int]) -> Histogram:
    """Build a histogram from counts by bucket; empty buckets are left out."""
    kept = sorted((bucket, count) for bucket, count in counts.items() if count)
    return Histogram(tuple(one for one, _ in kept), tuple(count for _, count in kept))


class Tally:
    """Counts values one after another, for whoever writes windows."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, value_us: int) -> None:
        """Count one value.

        Raises:
            ValueError: a negative time.
        """
        self._counts[bucket_of(value_us)] += 1

    def histogram(self) -> Histogram:
        """Return what was counted so far."""
        return from_counts(self._counts)


class Window(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one interval held for one route, arm and deployment.

    A writer closes a window early before one of its sums reaches 2**53.

    Args:
        tenant: of the route.
        operation: of the route.
        arm: which side of a rollout.
        deployment: what answered.
        start_ms: Unix ms, included.
        end_ms: Unix ms, not included.
        requests: that ended within it, failed ones too.
        errors: those of them that failed.
        cost_usd_micros: sum of their costs.
        cost_squares: sum of the squares of their costs, each in USD micros.
        latency: time until the whole answer was there, of those that did not fail.
        first_token: time until its first part was there, of streams that did not fail.
        refused: of those that did not fail, the ones answered by a 4xx. They have no latency: a
            refusal is quick. Whose fault it is can be told only where arms are compared, so
            `control.windowreads` counts them as errors there.
        unpriced: of those that did not fail, the ones that ran but whose cost is not known; they
            are in neither sum of costs.
    """

    tenant: TenantId
    operation: OperationId
    arm: Arm
    deployment: DeploymentId
    start_ms: Milliseconds
    end_ms: Milliseconds
    requests: int
    errors: int
    cost_usd_micros: UsdMicros
    cost_squares: int
    latency: Histogram = Histogram()
    first_token: Histogram = Histogram()
    refused: int = 0
    unpriced: int = 0

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Whose window it is: tenant, operation, arm, deployment."""
        return (self.tenant, self.operation, self.arm, self.deployment)

    @property
    def is_signable(self) -> bool:
        """Whether its sums of costs are integers that can be signed; a merged one's may not be."""
        return max(self.cost_usd_micros, self.cost_squares) <= canonical.MAX_INTEGER


def window_fault(window: Window) -> str:
    """Say why a window cannot be counted; empty if it can.

    Cauchy's inequality binds the two sums of costs: whoever breaks it has not added them up.
    """
    numbers = (
        window.start_ms,
        window.requests,
        window.errors,
        window.cost_usd_micros,
        window.cost_squares,
        window.refused,
        window.unpriced,
    )
    if any(type(one) is not int or not 0 <= one <= canonical.MAX_INTEGER for one in numbers):
        return "a number that is no count"
    if not window.start_ms < window.end_ms <= canonical.MAX_INTEGER:
        return "it ends before it starts"
    if window.errors > window.requests:
        return "more errors than requests"
    if window.errors + max(window.refused, window.unpriced) > window.requests:
        return "more refusals, or answers without a cost, than answers"
    if window.cost_usd_micros**2 > window.cost_squares * window.requests:
        return "its sums of costs contradict each other"
    return _histogram_fault(window)


def _histogram_fault(window: Window) -> str:
    answered = window.requests - window.errors - window.refused
    for name, histogram in (("latency", window.latency), ("first_token", window.first_token)):
        fault = histogram.fault()
        if fault:
            return f"{name}: {fault}"
        if histogram.total > answered:
            return f"{name}: more values than answers"
    return ""


def merge_windows(windows: Iterable[Window]) -> Window:
    """Add up windows of one tenant, operation, arm and deployment, in any order.

    Raises:
        ValueError: none, or of different keys; a mistake of the caller's.
    """
    first, *rest = list(windows)
    found = first
    for one in rest:
        if one.key != first.key:
            raise ValueError("windows of different routes, arms or deployments do not add up")
        found = Window(
            *(found.tenant, found.operation, found.arm, found.deployment),
            start_ms=min(found.start_ms, one.start_ms),
            end_ms=max(found.end_ms, one.end_ms),
            requests=found.requests + one.requests,
            errors=found.errors + one.errors,
            cost_usd_micros=UsdMicros(found.cost_usd_micros + one.cost_usd_micros),
            cost_squares=found.cost_squares + one.cost_squares,
            latency=found.latency.merge(one.latency),
            first_token=found.first_token.merge(one.first_token),
            refused=found.refused + one.refused,
            unpriced=found.unpriced + one.unpriced,
        )
    return found
