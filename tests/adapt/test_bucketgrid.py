"""Classic buckets count exactly at their edges, and margins mean there what is said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.adapt.bucketgrid import (
    GridTooCoarse,
    Reference,
    Wanted,
    edges_of_bounds,
    histogram_of,
    margins_on,
    reference_of,
)
from verismo.adapt.canarysettings import PPM, buckets_down, buckets_up

USUAL = Wanted(50_000, 200_000)


def grid(factor, first=5_000, last=60_000_000):
    bounds, bound = [], float(first)
    while bound <= last:
        bounds.append(round(bound))
        bound *= factor
    return tuple(bounds)


def around(bounds, us):
    edges = edges_of_bounds(bounds)
    near = max(one for one, bound in zip(edges, bounds, strict=True) if bound <= us)
    return edges, reference_of(near, near + 30)


@given(st.lists(st.integers(0, 50), min_size=5, max_size=5), st.sampled_from([1.02, 1.1, 1.5, 2.0]))
def test_what_lies_above_each_edge_is_counted_exactly(counts, factor):
    bounds = grid(factor, 10_000)[:4]
    edges = edges_of_bounds(bounds)
    found = histogram_of(edges, counts)
    assert found.fault() == ""
    for at, edge in enumerate(edges):
        assert found.count_above(edge) == sum(counts[at + 1 :])


@given(st.lists(st.integers(0, 50), min_size=5, max_size=5).filter(any))
def test_a_quantile_is_one_of_the_edges_or_beyond_them(counts):
    bounds = grid(1.3, 10_000)[:4]
    edges = edges_of_bounds(bounds)
    found = histogram_of(edges, counts).quantile_edge(950_000)
    assert found in edges or counts[-1]


@pytest.mark.parametrize("factor", [1.01**1.5, 1.02, 1.03, 1.05, 1.0914])
def test_margins_on_a_fine_grid_are_the_wanted_ones_or_stricter(factor):
    bounds = grid(factor)
    edges, reference = around(bounds, 1_000_000)
    found = margins_on(edges, bounds, reference, USUAL)
    assert found.tolerance_least_ppm >= USUAL.tolerance_ppm
    assert found.harm_most_ppm <= USUAL.harm_ppm
    for start in range(reference.first, reference.last):
        ours = max(b for e, b in zip(edges, bounds, strict=True) if e <= start)
        for steps, least, most in (
            (buckets_up(PPM + found.tolerance_ppm), found.tolerance_least_ppm, PPM),
            (buckets_down(PPM + found.harm_ppm), 0, found.harm_most_ppm),
        ):
            theirs = max(b for e, b in zip(edges, bounds, strict=True) if e <= start + steps)
            assert least <= PPM * theirs // ours - PPM <= most


@pytest.mark.parametrize("factor", [1.3, 1.5, 2.0, 2.5])
def test_a_coarse_grid_is_refused_and_the_margins_that_it_allows_are_said(factor):
    bounds = grid(factor)
    edges, reference = around(bounds, 1_000_000)
    with pytest.raises(GridTooCoarse, match="allow a tolerance of"):
        margins_on(edges, bounds, reference, USUAL)


def test_a_latency_beyond_the_last_bound_is_refused():
    bounds = grid(1.05, last=2_000_000)
    edges = edges_of_bounds(bounds)
    with pytest.raises(GridTooCoarse, match="too near to the last bound"):
        margins_on(edges, bounds, reference_of(edges[-2], edges[-1]), USUAL)


def test_a_reference_below_the_first_bound_begins_at_it():
    bounds = grid(1.05)
    edges = edges_of_bounds(bounds)
    assert margins_on(edges, bounds, Reference(edges[0] - 50, edges[0] + 20), USUAL)


@pytest.mark.parametrize("bounds", [(), (1_000, 1_001), (2_000, 1_000)])
def test_bounds_that_are_no_grid_are_refused(bounds):
    with pytest.raises(GridTooCoarse):
        edges_of_bounds(bounds)
