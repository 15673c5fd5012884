"""Two gateways are compared by what they publish; what is not told, or a lie, is never a number."""

import msgspec
import pytest
from tests.support.countedgateway import CountedGateway, Pages, SteppedClock

from verismo.adapt.canaryfile import OUTSIDE, CanaryFile, replay
from verismo.adapt.canarysettings import parse_weights
from verismo.adapters.telemetry_histogram import log_grid
from verismo.control.metricstext import parse_selector
from verismo.control.outside import (
    LATE_MS_MAX,
    PARTS,
    Clock,
    Comparison,
    OutsideWatch,
    Telling,
)
from verismo.control.scrapes import Meters

BLUE, GREEN = "http://blue/metrics", "http://green/metrics"
METERS = Meters(
    parse_selector("verismo_request_seconds{outcome=answer}"),
    parse_selector("verismo_requests_total{status=5..}"),
    parse_selector("verismo_cost_usd_total"),
)


async def compared(
    blue,
    green,
    weights="p95=0.5,error=0.3,cost=0.2",
    windows=10,
    faults=None,
    clock=None,
    **more,
):
    clock = clock or SteppedClock()
    asked = Comparison(
        baseline=BLUE,
        candidate=GREEN,
        windows=windows,
        window_ms=60_000,
        meters=METERS,
        score=msgspec.structs.replace(OUTSIDE, weights=parse_weights(weights)),
    )
    told = []
    pages = Pages({BLUE: blue, GREEN: green}, **more)
    telling = Telling(told.append, [].append if faults is None else faults.append)
    watch = OutsideWatch(asked, pages, Clock(clock.now_ms, clock.until), telling)
    found = await watch.run()
    assert tuple(told) == found.decisions
    return found


def hide_start(gateway):
    text = gateway.text
    gateway.text = lambda: text().replace(b"process_start_time_seconds", b"other_seconds")


@pytest.mark.slow
async def test_an_equal_candidate_is_promoted_after_all_windows():
    found = await compared(CountedGateway(1), CountedGateway(2), requests=200)
    assert (found.verdict, len(found.decisions)) == ("PROMOTE", 11)
    assert found.score.windows_min == 10
    assert found.decisions[0].reasons == ("reference_only",)
    assert "tolerance at least" in found.note


@pytest.mark.slow
@pytest.mark.parametrize("arms", [{BLUE}, {BLUE, GREEN}], ids=["baseline", "both"])
@pytest.mark.parametrize(("bad", "lost"), [((3,), 1), ((36,), 2)], ids=["within", "between"])
async def test_windows_that_the_candidate_did_not_lose_alone_are_made_up_for(arms, bad, lost):
    ways = {BLUE: CountedGateway(1), GREEN: CountedGateway(2)}
    bounds = ways[BLUE].bounds

    def before(number, url):
        ways[url].bounds = None if url in arms and number - 1 - 2 * PARTS in bad else bounds

    found = await compared(*ways.values(), requests=200, before=before)
    assert (found.verdict, len(found.decisions)) == ("PROMOTE", 11 + lost)
    assert [one.verdict for one in found.decisions].count("NODATA") == lost
    assert replay(found).differing == ()
    assert replay(found).is_concluded


@pytest.mark.slow
async def test_a_baseline_that_loses_more_windows_than_may_be_made_up_for_is_no_data():
    blue = CountedGateway(1)

    def before(number, url):
        if url == BLUE and number % PARTS == 4 and number > PARTS:
            blue.reset()

    found = await compared(blue, CountedGateway(2), requests=200, windows=5, before=before)
    assert found.reasons == ("insufficient_data", "no_window")
    assert len(found.decisions) == 8


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["p95=0.5,error=0.3,cost=0.2", "error=0.6,cost=0.4"])
@pytest.mark.parametrize("bad", [(3,), (3, 7)], ids=str)
async def test_a_candidate_that_fails_and_restarts_is_not_promoted(bad, weights):
    green = CountedGateway(2)

    def before(number, url):
        if url == GREEN:
            window, part = divmod(number - 1, PARTS)
            green.failing = 0.9 if window in bad and part in (2, 3) else 0.0
            if window in bad and part == 4:
                green.reset()
                green.started += 100

    found = await compared(CountedGateway(1), green, weights, requests=200, before=before)
    assert found.verdict == "HOLD"
    assert found.reasons[:2] == ("insufficient_data", f"candidate_lost_windows={len(bad)}")
    assert len(found.decisions) == 11
    assert replay(found).is_concluded


@pytest.mark.slow
async def test_a_candidate_that_restarts_while_neither_can_be_read_is_not_promoted():
    ways = {BLUE: CountedGateway(1), GREEN: CountedGateway(2)}
    bounds = ways[BLUE].bounds

    def before(number, url):
        ways[url].bounds = None if number == 15 else bounds
        if (number, url) == (16, GREEN):
            ways[GREEN].reset()

    found = await compared(*ways.values(), requests=200, before=before)
    assert found.reasons[:2] == ("insufficient_data", "candidate_lost_windows=1")


@pytest.mark.slow
async def test_harm_in_the_last_window_that_was_asked_for_is_seen():
    green = CountedGateway(2)

    def before(number, url):
        green.failing = 0.5 * (url == GREEN and number > 10 * PARTS + 1)

    found = await compared(CountedGateway(1), green, requests=200, before=before)
    assert (found.verdict, len(found.decisions)) == ("ROLLBACK", 11)


async def test_thin_windows_are_told_apart_from_too_few_requests():
    ways, weights = (CountedGateway(1), CountedGateway(2)), "error=0.6,cost=0.4"
    found = await compared(*ways, weights, requests=8, windows=12)
    assert found.reasons == ("insufficient_data", "too_few_windows windows=7 least=13")
    assert len(found.decisions) == 15


@pytest.mark.slow
@pytest.mark.parametrize("more", [{"slower": 1.3}, {"failing": 0.02}, {"dearer": 1.3}], ids=str)
async def test_a_harmful_candidate_is_held_or_rolled_back(more):
    found = await compared(CountedGateway(1), CountedGateway(2, **more), requests=200)
    assert found.verdict in ("HOLD", "ROLLBACK")
    assert found.reasons[0] != "insufficient_data"


async def test_a_candidate_that_fails_always_is_rolled_back():
    found = await compared(CountedGateway(1), CountedGateway(2, failing=0.5))
    assert (found.verdict, found.reasons[0]) == ("ROLLBACK", "error_severe")


@pytest.mark.parametrize("away", [BLUE, GREEN])
async def test_a_url_that_gives_no_data_is_held(away):
    ways = {BLUE: CountedGateway(1), GREEN: CountedGateway(2), away: None}
    faults = []
    found = await compared(ways[BLUE], ways[GREEN], faults=faults)
    arm = "baseline" if away == BLUE else "candidate"
    assert [one.split(":")[0] for one in faults] == [arm], "told at once, and once"
    assert (found.verdict, found.reasons[0]) == ("HOLD", "insufficient_data")
    assert "it is away" in found.reasons[1]


async def test_a_url_that_vanishes_is_no_data_and_the_rest_goes_on():
    green = CountedGateway(2)
    bounds = green.bounds

    def before(number, url):
        if url == GREEN:
            green.bounds = None if 20 <= number < 34 else bounds

    found = await compared(CountedGateway(1), green, before=before)
    missing = [one for one in found.decisions if one.verdict == "NODATA"]
    assert len(missing) == 3
    assert all("it is away" in one.note for one in missing)
    assert found.verdict == "HOLD"
    assert found.reasons[0] == "insufficient_data"


async def test_pages_that_take_long_do_not_make_the_comparison_late():
    clock, took_ms, windows = SteppedClock(), 30_000, 4
    began_ms, read = clock.now, []

    def before(number, url):
        if url == GREEN and number > 8:
            clock.now += took_ms
            read.append(number)

    ways = CountedGateway(1), CountedGateway(2)
    found = await compared(*ways, windows=windows, clock=clock, before=before)
    due_ms = began_ms + (windows + 1) * 60_000
    assert due_ms <= clock.now <= due_ms + LATE_MS_MAX + took_ms
    assert len(read) < windows * PARTS
    assert found.verdict == "HOLD"
    assert "late: " in found.decisions[-1].note


@pytest.mark.parametrize("has_started", [True, False])
async def test_a_counter_reset_spoils_its_window_alone(has_started):
    blue = CountedGateway(1)

    def before(number, url):
        if (number, url) == (15, BLUE):
            blue.reset()
            blue.started += 1_000 * has_started

    found = await compared(blue, CountedGateway(2), before=before)
    spoiled = [one for one in found.decisions if one.verdict == "NODATA"]
    assert len(spoiled) == 1
    assert "counter_reset" in spoiled[0].note


async def test_costs_that_only_one_side_tells_are_no_costs():
    green = CountedGateway(2)
    green.has_cost = False
    found = await compared(CountedGateway(1), green)
    assert (found.verdict, found.reasons[:2]) == ("HOLD", ("insufficient_data", "no_data_of: cost"))


async def test_buckets_too_coarse_for_the_margins_are_no_data():
    coarse = log_grid(0.005, 60.0, 1.3)
    found = await compared(CountedGateway(1, coarse), CountedGateway(2, coarse))
    assert (found.verdict, found.reasons[0]) == ("HOLD", "insufficient_data")
    assert "bounds allow a tolerance of" in found.reasons[1]
    assert found.decisions == ()


@pytest.mark.slow
async def test_without_a_weight_of_latency_coarse_buckets_do_not_matter():
    coarse = (0.1, 1.0, 10.0)
    ways = CountedGateway(1, coarse), CountedGateway(2, coarse)
    found = await compared(*ways, weights="error=0.5,cost=0.5", requests=200)
    assert found.verdict == "PROMOTE"


async def test_different_bounds_are_not_compared():
    found = await compared(CountedGateway(1), CountedGateway(2, (0.1, 1.0, 10.0)))
    assert "buckets_differ" in found.reasons[1]


async def test_a_gateway_is_not_compared_with_itself():
    one = CountedGateway(1)
    found = await compared(one, one)
    assert (found.verdict, found.reasons[0]) == ("HOLD", "insufficient_data")
    assert found.reasons[1].startswith("arms_overlap: ")
    assert found.decisions == (), "told after the reference, not after all windows"


@pytest.mark.slow
@pytest.mark.parametrize("has_start", [True, False])
@pytest.mark.parametrize("bounds", [(0.1, 1.0, 10.0), (10.0, 60.0)], ids=str)
@pytest.mark.parametrize("ahead", [-30, 30])
async def test_two_gateways_whose_coarse_counters_grow_in_step_are_compared(
    has_start, bounds, ahead
):
    ways = CountedGateway(1, bounds), CountedGateway(2, bounds)
    for one, count in zip(ways, (200, 200 + ahead), strict=True):
        one.serve(count)
        if not has_start:
            hide_start(one)
    found = await compared(*ways, weights="error=0.5,cost=0.5", requests=200)
    assert found.verdict == "PROMOTE"


@pytest.mark.slow
async def test_two_gateways_in_lockstep_that_tell_no_start_time_are_compared():
    ways = CountedGateway(1, (10.0, 60.0)), CountedGateway(2, (10.0, 60.0))
    for one in ways:
        hide_start(one)
    found = await compared(*ways, weights="error=0.5,cost=0.5", requests=200)
    assert found.verdict == "PROMOTE"


async def test_an_idle_gateway_in_front_of_itself_is_no_data_for_want_of_requests():
    one = CountedGateway(1)
    found = await compared(one, one, requests=0)
    assert (found.verdict, found.reasons[0]) == ("HOLD", "insufficient_data")
    assert "answered no request" in found.reasons[1]


async def test_an_address_that_begins_to_lead_to_the_other_arm_gives_no_more_data():
    blue, green = CountedGateway(1), CountedGateway(2)
    own = green.text
    reads = []

    def text():
        reads.append(len(reads))
        return own() if len(reads) < 10 else blue.text()

    green.text = text
    found = await compared(blue, green, windows=3)
    assert found.verdict == "HOLD"
    assert [one.note for one in found.decisions if one.verdict == "NODATA"][-1].startswith("arms_")


async def test_no_requests_are_no_data():
    found = await compared(CountedGateway(1), CountedGateway(2), requests=0)
    assert (found.verdict, found.reasons[0]) == ("HOLD", "insufficient_data")
    few = await compared(CountedGateway(1), CountedGateway(2), requests=3)
    assert (few.verdict, few.reasons[0]) == ("HOLD", "insufficient_data")


async def test_the_file_gives_the_same_verdicts_and_an_altered_one_does_not():
    found = await compared(CountedGateway(1), CountedGateway(2, failing=0.02), windows=5)
    text = msgspec.json.encode(found)
    read = msgspec.json.decode(text, type=CanaryFile)
    assert replay(read).differing == ()
    assert replay(read).is_concluded
    better = msgspec.structs.replace(read, verdict="PROMOTE")
    assert not replay(better).is_concluded
    looks = list(read.decisions)
    ours = looks[1].observation.baseline
    altered = msgspec.structs.replace(
        looks[1].observation, baseline=msgspec.structs.replace(ours, errors=ours.errors + 1)
    )
    looks[1] = msgspec.structs.replace(looks[1], observation=altered)
    changed = msgspec.structs.replace(read, decisions=tuple(looks))
    assert replay(changed).differing[0] == 2
