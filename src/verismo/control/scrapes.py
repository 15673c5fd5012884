"""From what a gateway's metrics count up to, scrape after scrape, to the canary's windows.

A window is what the counters grew by, series by series. A counter that falls, a series that
vanishes, a process that started anew, a bucket that holds less than the one below it: nothing of
that window is believed. Nothing is filled in, save what a counter of costs cannot tell: the spread
of the costs of single requests is estimated from how the means of the parts of a window differ
(batch means), so evidence about cost needs several scrapes in each window.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from verismo.adapt.bucketgrid import edges_of_bounds, histogram_of
from verismo.control.metricstext import Labels, Sample, Selector, parse_samples
from verismo.model.canonical import MAX_INTEGER
from verismo.model.ids import DeploymentId, OperationId, TenantId
from verismo.model.units import Milliseconds, UsdMicros
from verismo.model.window import Arm, Histogram, Window

STARTED: Final = "process_start_time_seconds"
UNITS_US: Final[Mapping[str, float]] = {"s": 1e6, "ms": 1e3, "us": 1.0}
MICROS_PER_USD: Final = 1_000_000


class SourceLies(ValueError):
    """What a source counts contradicts itself or what it counted before; says how."""


class Meters(msgspec.Struct, frozen=True):
    """Which metrics are read.

    Args:
        latency: a classic histogram of the answers that did not fail, without a suffix.
        errors: counters of failures.
        cost: counters of US dollars; None where costs are not compared.
        latency_unit: of the histogram's bounds: `s`, `ms` or `us`.
    """

    latency: Selector
    errors: Selector
    cost: Selector | None
    latency_unit: str = "s"


Series = tuple[str, Labels]


class Reading(msgspec.Struct, frozen=True):
    """What one scrape counted, by series.

    Args:
        buckets: cumulative counts by upper bound in microseconds, the infinite one last.
        errors: failures.
        cost: US dollars; None where the source has no such counter.
        started: start times of its processes.
        targets: whose counts these are, where a Prometheus server tells of several.
        stamps_ms: when each series was counted, Unix ms, where the source says it.
    """

    buckets: Mapping[Labels, Mapping[float, int]]
    errors: Mapping[Series, int]
    cost: Mapping[Series, float] | None
    started: Mapping[Series, float]
    targets: frozenset[Labels] = frozenset()
    stamps_ms: Mapping[Series, float] = {}


class Growth(msgspec.Struct, frozen=True):
    """By how much a source grew between two scrapes.

    Args:
        bounds_us: finite upper bounds.
        counts: of each bucket, not cumulated; the unbounded one last.
        errors: failures.
        cost_usd_micros: None where costs are not counted.
    """

    bounds_us: tuple[int, ...]
    counts: tuple[int, ...]
    errors: int
    cost_usd_micros: int | None

    @property
    def requests(self) -> int:
        """How many requests ended, failed ones too."""
        return sum(self.counts) + self.errors


def read_metrics(text: bytes, meters: Meters) -> Reading:
    """Read one scrape.

    Raises:
        TextRefused: it is no metrics.
        SourceLies: a number that counts nothing, buckets that contradict each other, or none of
            the histogram's series.
    """
    return reading_of(parse_samples(text, names_of(meters)), meters)


def names_of(meters: Meters) -> frozenset[str]:
    """Return the names of the samples that a reading is made of."""
    cost_name = "" if meters.cost is None else meters.cost.name
    latency = meters.latency.name
    wanted = {f"{latency}_bucket", f"{latency}_count", meters.errors.name, cost_name, STARTED}
    return frozenset(wanted - {""})


def reading_of(samples: Sequence[Sample], meters: Meters) -> Reading:
    """Make a reading of the samples of one scrape.

    Args:
        samples: of `names_of`; others are left out.
        meters: what is meant by them.

    Raises:
        SourceLies: as `read_metrics`.
    """
    families: dict[str, list[Sample]] = {name: [] for name in names_of(meters)}
    for one in samples:
        if one.name in families:
            families[one.name].append(one)
    bucket, count = f"{meters.latency.name}_bucket", f"{meters.latency.name}_count"
    cost_name = "" if meters.cost is None else meters.cost.name
    if not families[meters.errors.name]:
        raise SourceLies(f"it has no counter {meters.errors.name}")
    cost = None
    if meters.cost is not None and families[cost_name]:
        taken = _taken(families[cost_name], meters.cost)
        cost = {(one.name, one.labels): _amount(one.value, one.name) for one in taken}
    return Reading(
        _read_buckets(families[bucket], families[count], meters),
        {
            (one.name, one.labels): _count(one.value, one.name)
            for one in _taken(families[meters.errors.name], meters.errors)
        },
        cost,
        {(one.name, one.labels): one.value for one in families[STARTED]},
    )


def _taken(samples: Sequence[Sample], selector: Selector) -> Sequence[Sample]:
    return [one for one in samples if selector.takes(dict(one.labels))]


def _read_buckets(
    buckets: Sequence[Sample], counts: Sequence[Sample], meters: Meters
) -> Mapping[Labels, Mapping[float, int]]:
    found: dict[Labels, dict[float, int]] = {}
    for one in _taken(buckets, meters.latency):
        labels = dict(one.labels)
        bound = _bound_us(labels.pop("le", ""), UNITS_US[meters.latency_unit])
        key = tuple(sorted(labels.items()))
        found.setdefault(key, {})[bound] = _count(one.value, one.name)
    if not found:
        raise SourceLies(f"it has no histogram {meters.latency.name} with such labels")
    totals = {one.labels: _count(one.value, one.name) for one in _taken(counts, meters.latency)}
    for key, cumulated in found.items():
        _check_buckets(cumulated, totals.get(key))
    return found


def grown(before: Reading, after: Reading) -> Growth:
    """Return by how much a source grew.

    Raises:
        SourceLies: a counter fell, a series vanished, a process started anew, a target came or
            went, a series went back in time, bounds changed.
    """
    if before.targets != after.targets:
        raise SourceLies("counter_reset: a target came or went")
    back = [one for one, at in after.stamps_ms.items() if at < before.stamps_ms.get(one, at)]
    if back:
        raise SourceLies(f"out_of_order: {back[0][0]} is older than it was a read ago")
    if before.started != after.started:
        raise SourceLies("counter_reset: a process started anew")
    bounds = {tuple(sorted(one)) for one in (*before.buckets.values(), *after.buckets.values())}
    if len(bounds) != 1:
        raise SourceLies("buckets_differ: its series have different bounds")
    order = bounds.pop()
    steps: list[Sequence[int]] = []
    for key, found in after.buckets.items():
        old = before.buckets.get(key, {})
        above = [found[bound] - old.get(bound, 0) for bound in order]
        steps.append([b - a for a, b in zip([0, *above], above, strict=False)])
    _check_kept(before.buckets, after.buckets)
    totals = tuple(sum(column) for column in zip(*steps, strict=True))
    if any(one < 0 for step in steps for one in step):
        raise SourceLies("counter_reset: a bucket holds less than before")
    cost = None
    if before.cost is not None and after.cost is not None:
        cost = round(_growth(before.cost, after.cost) * MICROS_PER_USD)
    return Growth(
        tuple(round(bound) for bound in order[:-1]),
        totals,
        round(_growth(before.errors, after.errors)),
        cost,
    )


def is_one_source(readings: Sequence[Reading]) -> bool:
    """Say whether pages are of one source, although each was read at another address.

    Counters of one source never fall from one page to the next, and all its pages say that it
    started at one time. Those of two sources lie now above, now below each other; but where buckets
    are coarse they may well grow in step, so pages that tell no start time accuse nobody.

    Args:
        readings: in the order in which they were read, of both addresses, now the one first, now
            the other.
    """
    first, last = _counters(readings[0]), _counters(readings[-1])
    started = readings[0].started
    if not started or any(one.started != started for one in readings) or first == last:
        return False
    return all(
        after.get(series, -1) >= count
        for before, after in pairwise(map(_counters, readings))
        for series, count in before.items()
    )


def _counters(reading: Reading) -> Mapping[object, int]:
    """Return what a page counts in whole numbers; sums of money may be rounded anew each time."""
    counted: dict[object, int] = {
        (labels, bound): count
        for labels, found in reading.buckets.items()
        for bound, count in found.items()
    }
    counted.update(reading.errors.items())
    return counted


def window_of(
    growths: Sequence[Growth], arm: Arm, since_ms: int, until_ms: int, *, has_latency: bool
) -> Window:
    """Return the window of an arm.

    Args:
        growths: of the parts of the window, in order, at least one.
        arm: which; deployment and route are named for it.
        since_ms: Unix ms.
        until_ms: Unix ms.
        has_latency: whether latencies are to be compared.

    Raises:
        SourceLies: the bounds changed within the window, or its sums are beyond what is counted.
        GridTooCoarse: bounds that are less than 1 % apart.
    """
    if len({one.bounds_us for one in growths}) != 1:
        raise SourceLies("buckets_differ: the bounds changed")
    requests = sum(one.requests for one in growths)
    cost, squares = _costs(growths)
    counts = [sum(column) for column in zip(*(one.counts for one in growths), strict=True)]
    if max(requests, cost, squares) > MAX_INTEGER:
        raise SourceLies("its sums are larger than a window counts")
    latency = Histogram()
    if has_latency:
        latency = histogram_of(edges_of_bounds(growths[0].bounds_us), counts)
    return Window(
        *(TenantId(""), OperationId("outside"), arm, DeploymentId(arm)),
        start_ms=Milliseconds(since_ms),
        end_ms=Milliseconds(until_ms),
        requests=requests,
        errors=sum(one.errors for one in growths),
        cost_usd_micros=UsdMicros(cost),
        cost_squares=squares,
        latency=latency,
    )


def without_costs(window: Window) -> Window:
    """Return it as one whose costs are not known."""
    return msgspec.structs.replace(window, cost_usd_micros=UsdMicros(0), cost_squares=0)


def _costs(growths: Sequence[Growth]) -> tuple[int, int]:
    """Return the sum of costs and the estimated sum of their squares; zeros if they are unknown."""
    parts = [(one.requests, one.cost_usd_micros) for one in growths if one.requests]
    known = [(requests, cost) for requests, cost in parts if cost is not None]
    if len(known) < len(parts) or len(known) < 2:
        return 0, 0
    requests, total = sum(one[0] for one in known), sum(one[1] for one in known)
    mean = total / requests
    spread = math.fsum(n * (cost / n - mean) ** 2 for n, cost in known) / (len(known) - 1)
    squares = math.ceil((requests - 1) * spread + total * mean)
    # Cauchy's inequality, in integers: rounding may not break what every window has to keep.
    return total, max(squares, -(-(total**2) // requests))


def _check_buckets(found: Mapping[float, int], count: int | None) -> None:
    ordered = [found[bound] for bound in sorted(found)]
    if math.inf not in found or len(found) < 2:
        raise SourceLies("its histogram has no infinite bucket, or only that")
    if any(b < a for a, b in pairwise(ordered)):
        raise SourceLies("a bucket of its histogram holds less than the one below it")
    if count is not None and count != found[math.inf]:
        raise SourceLies("its histogram's count and buckets contradict each other")


def _check_kept(before: Mapping[Labels, object], after: Mapping[Labels, object]) -> None:
    if not before.keys() <= after.keys():
        raise SourceLies("series_vanished: a series is no longer there")


def _growth(before: Mapping[Series, float], after: Mapping[Series, float]) -> float:
    if not before.keys() <= after.keys():
        raise SourceLies("series_vanished: a series is no longer there")
    steps = [value - before.get(series, 0) for series, value in after.items()]
    if any(one < 0 for one in steps):
        raise SourceLies("counter_reset: a counter fell")
    return math.fsum(steps)


def _bound_us(text: str, unit_us: float) -> float:
    try:
        bound = float(text)
    except ValueError as error:
        raise SourceLies(f"a bucket has no bound that is a number: {text!r}") from error
    if math.isnan(bound) or bound <= 0:
        raise SourceLies(f"a bucket has the bound {text!r}")
    return bound * unit_us


def _count(value: float, name: str) -> int:
    if not math.isfinite(value) or value != math.floor(value) or not 0 <= value <= MAX_INTEGER:
        raise SourceLies(f"{name} counts {value}, which is no count")
    return int(value)


def _amount(value: float, name: str) -> float:
    if not math.isfinite(value) or value < 0:
        raise SourceLies(f"{name} is {value}, which is no sum of money")
    return value
