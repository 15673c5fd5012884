"""Error budgets: how fast a route uses up what its objectives allow, from windows.

A burn of 1 uses up the budget exactly at the end of its period; 14.4 uses a fiftieth of thirty days
in an hour. An alarm needs a long span, so that it means something, and a short one, so that it ends
when the trouble does. A span of which less than half was seen has no burn, and neither has one
without requests: nothing is said rather than something made up.

A time counts as late if it is over the threshold's bucket, so up to 1 % over it still counts as in
time: that is the width of a window's buckets.

Source: Google, The Site Reliability Workbook, chapter 5, "Multiwindow, Multi-Burn-Rate Alerts".
"""

from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from verismo.model.units import Milliseconds, Ppm
from verismo.model.window import Window, bucket_of

MILLION: Final = 1_000_000
MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
COVERED_PPM_MIN: Final = 500_000
"""With less of a span seen, the number would be about another span."""

ObjectiveKind = Literal["latency", "errors"]
KINDS: Final[tuple[ObjectiveKind, ...]] = ("latency", "errors")


class Pair(msgspec.Struct, frozen=True):
    """Two spans that together make an alarm.

    Args:
        factor_milli: both have to burn this fast, thousandths.
        long_ms: what makes it mean something.
        short_ms: what ends it.
        severity: `page` wakes somebody.
    """

    factor_milli: int
    long_ms: Milliseconds
    short_ms: Milliseconds
    severity: Literal["page", "warning"]


PAIRS: Final = (
    Pair(14_400, Milliseconds(HOUR_MS), Milliseconds(5 * MINUTE_MS), "page"),
    Pair(6_000, Milliseconds(6 * HOUR_MS), Milliseconds(30 * MINUTE_MS), "page"),
    Pair(1_000, Milliseconds(72 * HOUR_MS), Milliseconds(6 * HOUR_MS), "warning"),
)
SPANS_MS: Final = tuple(sorted({span for pair in PAIRS for span in (pair.long_ms, pair.short_ms)}))


class Objectives(msgspec.Struct, frozen=True):
    """What a route promises.

    Args:
        latency_ms: an answer is there within this; 0 for no such objective.
        latency_ppm: the share of answers that are.
        error_ppm: the share of requests that do not fail.
    """

    latency_ms: Milliseconds
    latency_ppm: Ppm
    error_ppm: Ppm


class Count(msgspec.Struct, frozen=True):
    """What some stretch of time held.

    Args:
        start_ms: Unix ms.
        covered_ms: how much of the time from then on was seen, silence included.
        requests: all.
        errors: those that failed.
        answered: those that did not and whose time is known.
        late: those of them that took longer than promised.
    """

    start_ms: Milliseconds
    covered_ms: int
    requests: int = 0
    errors: int = 0
    answered: int = 0
    late: int = 0


class Burn(msgspec.Struct, frozen=True):
    """How fast one objective burned over one span.

    Args:
        kind: which objective.
        span_ms: how far back.
        covered_ppm: share of the span that was seen.
        total: what was counted.
        bad: what broke the promise of it.
        burn_milli: times as fast as the budget allows, thousandths; None where it cannot be told.
    """

    kind: ObjectiveKind
    span_ms: Milliseconds
    covered_ppm: Ppm
    total: int
    bad: int
    burn_milli: int | None


class Alarm(msgspec.Struct, frozen=True):
    """A pair of spans that both burn too fast."""

    kind: ObjectiveKind
    pair: Pair


def count_windows(
    windows: Iterable[Window], objectives: Objectives, start_ms: int, covered_ms: int
) -> Count:
    """Add up the windows of a route over one stretch of time.

    Args:
        windows: of every arm and deployment of it.
        objectives: of the route.
        start_ms: Unix ms.
        covered_ms: how long a stretch they stand for; no window at all is silence.
    """
    edge = bucket_of(objectives.latency_ms * 1_000) + 1
    requests = errors = answered = late = 0
    for window in windows:
        requests += window.requests
        errors += window.errors
        answered += window.latency.total
        late += window.latency.count_above(edge)
    return Count(Milliseconds(start_ms), covered_ms, requests, errors, answered, late)


def add_up(counts: Sequence[Count], bin_ms: int = MINUTE_MS) -> tuple[Count, ...]:
    """Return counts by minute, so that days of them stay small; the order does not matter."""
    found: dict[int, Count] = {}
    for one in counts:
        start_ms = one.start_ms - one.start_ms % bin_ms
        have = found.get(start_ms, Count(Milliseconds(start_ms), 0))
        found[start_ms] = Count(
            start_ms=Milliseconds(start_ms),
            covered_ms=have.covered_ms + one.covered_ms,
            requests=have.requests + one.requests,
            errors=have.errors + one.errors,
            answered=have.answered + one.answered,
            late=have.late + one.late,
        )
    return tuple(found[start_ms] for start_ms in sorted(found))


def burns(counts: Sequence[Count], objectives: Objectives, now_ms: int) -> tuple[Burn, ...]:
    """Return how fast each objective burned over each span that an alarm looks at.

    Args:
        counts: from `count_windows` or `add_up`.
        objectives: of the route.
        now_ms: Unix ms; where the spans end.
    """
    return tuple(
        _burn(kind, counts, objectives, span_ms, now_ms)
        for kind in KINDS
        if kind == "errors" or objectives.latency_ms
        for span_ms in SPANS_MS
    )


def alarms(found: Sequence[Burn]) -> tuple[Alarm, ...]:
    """Return the pairs of which both spans burn at least as fast as their factor."""
    rates = {(one.kind, one.span_ms): one.burn_milli for one in found}
    return tuple(
        Alarm(kind, pair)
        for kind in KINDS
        for pair in PAIRS
        if _is_fast(rates.get((kind, pair.long_ms)), pair)
        and _is_fast(rates.get((kind, pair.short_ms)), pair)
    )


def _is_fast(burn_milli: int | None, pair: Pair) -> bool:
    return burn_milli is not None and burn_milli >= pair.factor_milli


def _burn(
    kind: ObjectiveKind,
    counts: Sequence[Count],
    objectives: Objectives,
    span_ms: Milliseconds,
    now_ms: int,
) -> Burn:
    # Whole counts only: what began before the span is not part of it.
    inside = [one for one in counts if now_ms - span_ms <= one.start_ms < now_ms]
    covered_ms = sum(one.covered_ms for one in inside)
    if kind == "latency":
        total, bad = sum(one.answered for one in inside), sum(one.late for one in inside)
        allowed_ppm = MILLION - objectives.latency_ppm
    else:
        total, bad = sum(one.requests for one in inside), sum(one.errors for one in inside)
        allowed_ppm = MILLION - objectives.error_ppm
    covered_ppm = min(covered_ms * MILLION // span_ms, MILLION)
    is_known = total > 0 and covered_ppm >= COVERED_PPM_MIN
    return Burn(
        kind=kind,
        span_ms=span_ms,
        covered_ppm=Ppm(covered_ppm),
        total=total,
        bad=bad,
        burn_milli=bad * 1_000 * MILLION // (total * allowed_ppm) if is_known else None,
    )
