"""Classic histogram buckets as the canary's: where their edges allow a comparison, and where not.

A classic histogram knows how many values lie above each of its own edges and nothing in between.
The canary compares the baseline's tail above an edge with the candidate's above that edge moved on
by a margin. So each margin is as good as the edges near it: moved from one edge, it comes to rest
on the last edge that it reaches. Counts at edges stay exact; what a margin of the settings really
means on a grid is computed here, and a grid that is too coarse for it is refused.

Source: docs/adapt-canary.md, "From two URLs".
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import msgspec

from verismo.model.window import BUCKETS, Histogram, bucket_of, from_counts

HARM_PPM_MAX: Final = 250_000
"""A p95 that may grow by more before anybody minds is no comparison: the grid is too coarse."""
AROUND: Final = 70
"""Buckets of 1 %, a factor of 2: how far the reference may fall from where it began."""
ABOVE: Final = 35
"""Buckets of 1 %, a factor of 1.4: how far it may rise."""
HARM_STEPS: Final = 20
"""Beyond the highest reference there must be an edge for the usual harm margin."""
PPM: Final = 1_000_000


class Reference(msgspec.Struct, frozen=True):
    """Between which edges the baseline's p95 and p99 may lie while a comparison lasts."""

    first: int
    last: int


class Wanted(msgspec.Struct, frozen=True):
    """Margins of the settings, ratio less 1 in millionths."""

    tolerance_ppm: int
    harm_ppm: int


class Margins(msgspec.Struct, frozen=True):
    """What margins come to on a grid, in millionths.

    Args:
        tolerance_ppm: to be set, so that evidence of being worse is about `tolerance_least_ppm`.
        tolerance_least_ppm: the smallest ratio less 1 that it stands for.
        harm_ppm: to be set.
        harm_most_ppm: the largest ratio less 1 that it stands for.
    """

    tolerance_ppm: int
    tolerance_least_ppm: int
    harm_ppm: int
    harm_most_ppm: int


class GridTooCoarse(ValueError):
    """The edges do not allow the comparison; says which margins they would allow."""


def edges_of_bounds(bounds_us: Sequence[int]) -> tuple[int, ...]:
    """Return the canary's edge for each classic upper bound.

    Args:
        bounds_us: microseconds, ascending, without the infinite one.

    Raises:
        GridTooCoarse: two bounds are the same edge, or there are none.
    """
    edges = tuple(min(bucket_of(one) + 1, BUCKETS - 1) for one in bounds_us)
    if not edges or any(b <= a for a, b in pairwise(edges)):
        raise GridTooCoarse("the buckets' bounds are less than 1 % apart, or there are none")
    return edges


def histogram_of(edges: Sequence[int], counts: Sequence[int]) -> Histogram:
    """Place classic counts so that what lies above each edge is counted exactly.

    Args:
        edges: of the finite bounds.
        counts: values of each bucket, not cumulated; one more than edges, the last one unbounded.
    """
    places = [*(edge - 1 for edge in edges), BUCKETS - 1]
    found: dict[int, int] = {}
    for place, count in zip(places, counts, strict=True):
        found[place] = found.get(place, 0) + count
    return from_counts(found)


def reference_of(p95_edge: int, p99_edge: int) -> Reference:
    """Return the room that is left to the baseline around its edges of the first window."""
    return Reference(p95_edge - AROUND, p99_edge + ABOVE)


def margins_on(
    edges: Sequence[int], bounds_us: Sequence[int], reference: Reference, wanted: Wanted
) -> Margins:
    """Return the margins to set on a grid so that they mean at least, or at most, what is wanted.

    Args:
        edges: of the finite bounds.
        bounds_us: those bounds.
        reference: the baseline's edges now; the grid is looked at around them.
        wanted: the margins of the settings.

    Raises:
        GridTooCoarse: no two edges lie as far apart as is wanted; says what there is.
    """
    first, last = max(reference.first, edges[0]), reference.last
    if last + HARM_STEPS > edges[-1]:
        raise GridTooCoarse(
            "the baseline's latency is too near to the last bound, or beyond it: bounds up to "
            "twice its p99 are needed"
        )
    starts = range(first, last + 1)

    def ratios(steps: int) -> tuple[int, int]:
        found = [_ratio_ppm(edges, bounds_us, start, steps) - PPM for start in starts]
        return min(found), max(found)

    tolerance = next(
        (one for one in range(1, AROUND) if ratios(one)[0] >= wanted.tolerance_ppm), AROUND
    )
    least = ratios(tolerance)[0]
    fitting = [one for one in range(tolerance + 3, AROUND) if ratios(one)[1] <= wanted.harm_ppm]
    # At least three steps beyond the tolerance, or the two margins are the same.
    harm = max(fitting, default=tolerance + 3)
    most = ratios(harm)[1]
    if most > max(HARM_PPM_MAX, wanted.harm_ppm):
        raise GridTooCoarse(
            f"near the baseline's latency the bounds allow a tolerance of {_percent(least)} and a "
            f"harm of {_percent(most)}, no less"
        )
    # Rounded so that the settings, which round a tolerance up and a harm down, come to these steps.
    return Margins(
        math.floor((1.01**tolerance - 1) * PPM), least, math.ceil((1.01**harm - 1) * PPM), most
    )


def _ratio_ppm(edges: Sequence[int], bounds_us: Sequence[int], start: int, steps: int) -> int:
    """Return how far apart the bounds are at which the two arms are counted."""
    ours = bisect_right(edges, start) - 1
    theirs = bisect_right(edges, start + steps) - 1
    return PPM * bounds_us[theirs] // bounds_us[ours]


def _percent(share_ppm: int) -> str:
    return f"{share_ppm / 10_000:.1f} %"
