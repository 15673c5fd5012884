"""What a source counts up to becomes a window, unless it contradicts itself."""

import random

import pytest
from tests.support.countedgateway import CountedGateway

from verismo.control.metricstext import parse_selector
from verismo.control.scrapes import (
    Growth,
    Meters,
    SourceLies,
    grown,
    is_one_source,
    read_metrics,
    window_of,
)
from verismo.model.window import window_fault

METERS = Meters(
    parse_selector("lat_seconds{ok=yes}"),
    parse_selector("fails_total"),
    parse_selector("usd_total"),
)
PAGE = """\
lat_seconds_bucket{ok="yes",le="0.1"} 10
lat_seconds_bucket{ok="yes",le="0.2"} 30
lat_seconds_bucket{ok="yes",le="+Inf"} 40
lat_seconds_count{ok="yes"} 40
lat_seconds_bucket{ok="no",le="0.1"} 900
fails_total{why="x"} 3
usd_total 0.5
process_start_time_seconds 7
"""
GROWN = """\
lat_seconds_bucket{ok="yes",le="0.1"} 20
lat_seconds_bucket{ok="yes",le="0.2"} 55
lat_seconds_bucket{ok="yes",le="+Inf"} 70
lat_seconds_count{ok="yes"} 70
fails_total{why="x"} 4
fails_total{why="y"} 2
usd_total 0.75
process_start_time_seconds 7
"""


def read(page):
    return read_metrics(page.encode(), METERS)


def test_a_source_grows_by_the_difference_of_two_scrapes():
    found = grown(read(PAGE), read(GROWN))
    assert found == Growth((100_000, 200_000), (10, 15, 5), 3, 250_000)
    assert found.requests == 33


def test_milliseconds_are_read_as_such():
    meters = Meters(METERS.latency, METERS.errors, None, "ms")
    found = read_metrics(PAGE.encode(), meters)
    assert min(next(iter(found.buckets.values()))) == 100
    assert found.cost is None


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('le="0.2"} 55', 'le="0.2"} 25', "counter_reset"),
        ('why="x"} 4', 'why="x"} 2', "counter_reset"),
        ("usd_total 0.75", "usd_total 0.25", "counter_reset"),
        ("process_start_time_seconds 7", "process_start_time_seconds 8", "counter_reset"),
        ('fails_total{why="x"} 4\n', "", "series_vanished"),
        ('le="0.2"', 'le="0.3"', "buckets_differ"),
    ],
)
def test_what_falls_or_vanishes_or_changes_is_not_believed(old, new, why):
    with pytest.raises(SourceLies, match=why):
        grown(read(PAGE), read(GROWN.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('le="0.2"} 30', 'le="0.2"} 5'),
        ('le="0.2"} 30', 'le="0.2"} NaN'),
        ('le="0.2"} 30', 'le="0.2"} -30'),
        ('le="0.2"} 30', 'le="0.2"} 30.5'),
        ('le="0.2"} 30', 'le="0.2"} 1e300'),
        ('le="0.2"', 'le="NaN"'),
        ('le="0.2"', 'le="-1"'),
        ('le="0.2"', 'le="wide"'),
        ('{ok="yes",le="+Inf"} 40', '{ok="yes",le="1"} 40'),
        ('count{ok="yes"} 40', 'count{ok="yes"} 41'),
        ('why="x"} 3', 'why="x"} NaN'),
        ('why="x"} 3', 'why="x"} -1'),
        ("usd_total 0.5", "usd_total NaN"),
        ("usd_total 0.5", "usd_total -2"),
        ('fails_total{why="x"} 3\n', ""),
        ('ok="yes"', 'ok="perhaps"'),
    ],
)
def test_a_scrape_that_contradicts_itself_is_refused(old, new):
    assert old in PAGE
    with pytest.raises(SourceLies):
        read(PAGE.replace(old, new))


def test_the_spread_of_costs_is_estimated_from_the_parts():
    chance = random.Random(5)
    parts, squares = [], 0
    for _ in range(200):
        costs = [round(chance.gauss(1_000, 200)) for _ in range(50)]
        squares += sum(one * one for one in costs)
        parts.append(Growth((100,), (50, 0), 0, sum(costs)))
    found = window_of(parts, "baseline", 0, 60_000, has_latency=False)
    assert window_fault(found) == ""
    spread = found.cost_squares - found.cost_usd_micros**2 / found.requests
    wanted = squares - found.cost_usd_micros**2 / found.requests
    assert 0.7 < spread / wanted < 1.4


@pytest.mark.parametrize(
    "parts",
    [[Growth((9,), (5, 0), 0, 70)], [Growth((9,), (5, 0), 0, 70), Growth((9,), (5, 0), 0, None)]],
)
def test_costs_of_one_part_or_of_some_parts_are_not_known(parts):
    found = window_of(parts, "baseline", 0, 1, has_latency=False)
    assert (found.cost_usd_micros, found.cost_squares) == (0, 0)


def test_costs_that_do_not_differ_keep_the_inequality_of_sums():
    parts = [Growth((9,), (7, 0), 0, 701), Growth((9,), (3, 0), 0, 299)]
    assert window_fault(window_of(parts, "baseline", 0, 1, has_latency=False)) == ""


def test_sums_beyond_what_a_window_counts_are_refused():
    parts = [Growth((9,), (1, 0), 0, 2**40), Growth((9,), (1, 0), 0, 2**41)]
    with pytest.raises(SourceLies, match="larger"):
        window_of(parts, "baseline", 0, 1, has_latency=False)


def test_bounds_that_change_within_a_window_are_refused():
    parts = [Growth((9,), (1, 0), 0, 1), Growth((8,), (1, 0), 0, 1)]
    with pytest.raises(SourceLies, match="buckets_differ"):
        window_of(parts, "baseline", 0, 1, has_latency=False)


def test_a_window_counts_what_a_gateway_served():
    gateway, meters = (
        CountedGateway(3, failing=0.1),
        Meters(
            parse_selector("verismo_request_seconds{outcome=answer}"),
            parse_selector("verismo_requests_total{status=5..}"),
            parse_selector("verismo_cost_usd_total"),
        ),
    )
    before = read_metrics(gateway.text(), meters)
    parts = []
    for _ in range(6):
        gateway.serve(50)
        after = read_metrics(gateway.text(), meters)
        parts.append(grown(before, after))
        before = after
    found = window_of(parts, "candidate", 0, 60_000, has_latency=True)
    assert window_fault(found) == ""
    assert (found.requests, found.latency.total) == (300, 300 - found.errors)
    assert 240_000 < found.cost_usd_micros < 360_000


def test_pages_that_go_on_from_one_to_the_next_are_of_one_source():
    assert is_one_source([read(PAGE), read(PAGE), read(GROWN), read(GROWN)])
    between = PAGE.replace("} 30", "} 31").replace("} 40", "} 41")
    assert is_one_source([read(PAGE), read(between), read(GROWN)])


@pytest.mark.parametrize(
    "other",
    [
        PAGE.replace("seconds 7", "seconds 8"),
        PAGE.replace('le="0.1"} 10', 'le="0.1"} 9'),
        PAGE.replace('x"} 3', 'x"} 2'),
        PAGE.replace('x"} 3', 'z"} 3'),
        PAGE.replace('ok="yes"', 'ok="yes",zone="b"'),
        GROWN.replace('x"} 4', 'x"} 5'),
    ],
    ids=["other process", "a bucket", "fewer failures", "other counter", "other series", "ahead"],
)
def test_pages_whose_counters_do_not_go_on_are_of_two_sources(other):
    assert not is_one_source([read(PAGE), read(other), read(GROWN), read(GROWN)])


def test_pages_that_tell_no_start_time_accuse_nobody():
    pages = [one.replace("process_start_time_seconds", "other") for one in (PAGE, GROWN)]
    assert not is_one_source([read(one) for one in (pages[0], *pages, pages[1])])


def test_pages_of_which_one_is_ahead_of_the_other_are_of_two_sources_by_turns():
    between = PAGE.replace("} 30", "} 31").replace("} 40", "} 41")
    assert is_one_source([read(PAGE), read(between), read(GROWN), read(GROWN)])
    assert not is_one_source([read(between), read(PAGE), read(GROWN), read(GROWN)])


def test_pages_that_do_not_grow_tell_nothing_of_their_source():
    assert not is_one_source([read(PAGE), read(PAGE), read(PAGE)])
