"""What a Prometheus server has of two arms is compared; what is old, torn or a lie is no number."""

import re
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from tests.support.countedgateway import CountedGateway, SteppedClock
from tests.support.federated import FederatedArm, FederatedPages

from verismo.adapt.canaryfile import OUTSIDE
from verismo.control.federation import (
    ArmRefused,
    Federated,
    federate_url,
    parse_arm,
    read_federated,
)
from verismo.control.metricstext import TextRefused, parse_selector
from verismo.control.outside import Clock, Comparison, OutsideWatch, Telling
from verismo.control.scrapes import Meters, SourceLies, grown

BLUE, GREEN = "blue", "green"
METERS = Meters(
    parse_selector("verismo_request_seconds{outcome=answer}"),
    parse_selector("verismo_requests_total{status=5..}"),
    parse_selector("verismo_cost_usd_total"),
)
NOW_MS = 1_700_000_100_000
TAKEN = Federated(30_000, "read from a server")


def arm(job=BLUE, **targets):
    return FederatedArm(targets or {f"{job}-1": CountedGateway(1)}, job)


def scraped(one, at_ms=NOW_MS):
    one.scrape(at_ms)
    return read_federated(one.text(), METERS, TAKEN, at_ms)


def lie(old, new):
    """Return what is read of a page in which something was replaced."""
    one = arm()
    one.alter = lambda text: re.sub(old, new, text, flags=re.MULTILINE)
    assert one.alter("") == ""
    return scraped(one)


@pytest.mark.parametrize(
    ("text", "matchers"),
    [
        ('job="blue"', 'job="blue"'),
        ('{job="blue",version="2"}', 'job="blue",version="2"'),
        (' { job = "blue" , version!="1" , } ', 'job = "blue" , version!="1" '),
        ('job=~"blue|green"', 'job=~"blue|green"'),
        ('job=~"b.+",zone!~"eu-.*"', 'job=~"b.+",zone!~"eu-.*"'),
        (r'job="a\"b\\c"', r'job="a\"b\\c"'),
        ('job="a,b}{"', 'job="a,b}{"'),
    ],
)
def test_a_selector_is_taken_as_it_is_written(text, matchers):
    assert parse_arm(text) == matchers


@pytest.mark.parametrize(
    "text",
    [
        *("", "{}", "blue", "job", "job=blue", "job='blue'", "job=`blue`", 'job=="blue"'),
        *('job="blue', 'job="blue"}', '{job="blue"', 'up{job="blue"}', 'job="blue" or 1'),
        *('job="blue",,', 'job="blue",,zone="a"', '1job="blue"', 'job="a\nb"', r'job=~"a\.b"'),
        *('job=~"("', '__name__="up"', f'job="{"x" * 1_001}"'),
    ],
)
def test_what_is_no_selector_is_refused(text):
    with pytest.raises(ArmRefused):
        parse_arm(text)


@pytest.mark.parametrize("text", ['job!=""', 'job=""', 'job=~".*"', 'job=~"a|"', 'job!~"green"'])
def test_a_selector_that_takes_every_target_is_refused(text):
    with pytest.raises(ArmRefused, match="takes every target"):
        parse_arm(text)


def test_only_the_metrics_that_are_read_are_asked_for():
    url = federate_url("http://127.0.0.1:9090/prom/", 'job="blue & green"', METERS)
    assert url.startswith("http://127.0.0.1:9090/prom/federate?match%5B%5D=")
    (asked,) = parse_qs(urlsplit(url).query)["match[]"]
    assert asked == (
        '{__name__=~"process_start_time_seconds|up|verismo_cost_usd_total|'
        'verismo_request_seconds_bucket|verismo_request_seconds_count|verismo_requests_total",'
        'job="blue & green"}'
    )


@pytest.mark.parametrize(
    "server", ["blue", "ftp://p", "http://", "http://p?x=1", "http://p#x", "http://u:secret@p"]
)
def test_what_is_no_address_of_a_server_is_refused_and_a_password_not_repeated(server):
    with pytest.raises(ArmRefused) as refused:
        federate_url(server, 'job="blue"', METERS)
    assert "secret" not in str(refused.value)


def test_several_targets_of_an_arm_add_up():
    one = arm(a=CountedGateway(1), b=CountedGateway(2))
    before = scraped(one)
    found = grown(before, scraped(one, NOW_MS + 15_000))
    assert found.requests == 120
    assert found.cost_usd_micros == pytest.approx(120_000, rel=0.1)
    assert len(before.targets) == 2


@pytest.mark.parametrize(("age_ms", "is_data"), [(30_000, True), (30_001, False), (-1_000, True)])
def test_a_sample_is_data_only_while_it_is_fresh(age_ms, is_data):
    one = arm()
    one.scrape(NOW_MS)
    if is_data:
        assert read_federated(one.text(), METERS, TAKEN, NOW_MS + age_ms).targets
        return
    with pytest.raises(SourceLies, match=r"stale: up is 30\.0 s old"):
        read_federated(one.text(), METERS, TAKEN, NOW_MS + age_ms)


def test_one_old_series_among_fresh_ones_is_no_data():
    with pytest.raises(SourceLies, match="stale: verismo_cost_usd_total"):
        lie(f"^(verismo_cost.*) {NOW_MS}$", rf"\1 {NOW_MS - 31_000}")


def test_a_sample_from_the_future_is_no_data():
    one = arm()
    one.scrape(NOW_MS)
    with pytest.raises(SourceLies, match=r"clock_ahead: up is 1\.0 s"):
        read_federated(one.text(), METERS, TAKEN, NOW_MS - 1_001)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (f" {NOW_MS}$", "", "up has no time"),
        (f" {NOW_MS}$", f" {NOW_MS // 1_000}", "stale"),
        (f" {NOW_MS}$", " 1e999", "clock_ahead"),
        (f" {NOW_MS}$", " -1e999", "stale"),
        (r"^(up.*\}) 1", r"\1 NaN", "neither 0 nor 1"),
        (r"^(up.*\}) 1", r"\1 -1", "neither 0 nor 1"),
        (r"^(up.*\}) 1", r"\1 0", "no_target"),
        (r"^up.*\n", "", "no_target"),
        (r"^(verismo_requests.*502.*\}) \S+", r"\1 NaN", "no count"),
        (r"^(verismo_requests.*502.*\}) \S+", r"\1 -4", "no count"),
        (r"^(verismo_requests.*502.*\}) \S+", r"\1 0.5", "no count"),
        (r"^(verismo_cost.*\}) \S+", r"\1 -0.5", "no sum of money"),
        (r"^(verismo_cost.*\}) \S+", r"\1 +Inf", "no sum of money"),
        (r'^(\w+bucket.*"\+Inf".*\}) \S+', r"\1 1", "less than the one below"),
        (r"^(\w+_count.*\}) \S+", r"\1 7", "contradict each other"),
        (rf"^(\w+_count.*) {NOW_MS}$", rf"\1 {NOW_MS - 15_000}", "torn"),
        (r"^verismo_request_seconds.*\n", "", "no histogram"),
        (r"^verismo_requests_total.*\n", "", "no counter"),
    ],
)
def test_a_page_that_lies_is_no_data(old, new, words):
    with pytest.raises(SourceLies, match=words):
        lie(old, new)


@pytest.mark.parametrize("new", ["<html>", "up 1 soon", "up 1 1e", 'up{a="b} 1 1'])
def test_a_page_that_is_no_metrics_is_refused(new):
    with pytest.raises(TextRefused):
        lie(r"^# TYPE.*$", new)


def test_an_instance_that_two_jobs_scrape_is_not_counted_twice():
    with pytest.raises(SourceLies, match="target_twice: 'blue-1'"):
        lie(r"^(up.*)job=(.*)$", r"\1job=\2\n\1job='x',k=\2".replace("job='x',k", 'job="x",k'))


@pytest.mark.parametrize("has_restarted", [True, False])
def test_a_target_that_comes_or_goes_is_a_counter_reset(has_restarted):
    gateways = {"a": CountedGateway(1), "b": CountedGateway(2)}
    one = arm(**gateways)
    whole = scraped(one)
    del one.targets["b"]
    less = scraped(one, NOW_MS + 15_000)
    with pytest.raises(SourceLies, match="came or went"):
        grown(whole, less)
    assert grown(less, scraped(one, NOW_MS + 30_000)).requests == 60
    if has_restarted:
        gateways["b"].reset()
    one.targets["b"] = gateways["b"]
    with pytest.raises(SourceLies, match="came or went"):
        grown(less, scraped(one, NOW_MS + 45_000))


def test_a_target_that_starts_anew_between_two_reads_is_a_counter_reset():
    one = arm()
    before = scraped(one)
    one.targets["blue-1"].reset()
    with pytest.raises(SourceLies, match="counter_reset"):
        grown(before, scraped(one, NOW_MS + 15_000))


def test_reads_that_go_back_in_time_are_no_growth():
    one = arm()
    before = scraped(one)
    with pytest.raises(SourceLies, match="out_of_order"):
        grown(before, scraped(one, NOW_MS - 1))


def test_a_read_without_a_scrape_since_the_last_one_has_grown_by_nothing():
    one = arm()
    before = scraped(one)
    again = read_federated(one.text(), METERS, TAKEN, NOW_MS + 10_000)
    assert grown(before, again).requests == 0


async def compared(blue, green, before=lambda pages, number, url: None, windows=6):
    clock = SteppedClock(NOW_MS)
    asked = Comparison(
        *(BLUE, GREEN, windows, 60_000, METERS),
        score=msgspec.structs.replace(OUTSIDE, requests_min=300),
        federated=TAKEN,
    )
    pages = FederatedPages(
        {BLUE: blue, GREEN: green},
        clock.now_ms,
        requests=200,
        before=lambda number, url: before(pages, number, url),
    )
    return await OutsideWatch(
        asked, pages, Clock(clock.now_ms, clock.until), Telling([].append, [].append)
    ).run()


@pytest.mark.slow
async def test_an_equal_candidate_is_promoted():
    found = await compared(arm(), arm(GREEN, x=CountedGateway(2), y=CountedGateway(3)))
    assert found.verdict == "PROMOTE"
    assert found.note.startswith("read from a server; p95")


async def test_a_candidate_that_fails_is_rolled_back():
    found = await compared(arm(), arm(GREEN, x=CountedGateway(2, failing=0.5)))
    assert (found.verdict, found.reasons[0]) == ("ROLLBACK", "error_severe")


@pytest.mark.slow
async def test_a_server_that_no_longer_scrapes_gives_no_data_and_the_rest_goes_on():
    def before(pages, number, url):
        if url == GREEN:
            pages.stopped = {GREEN} if 14 <= number < 20 else set()

    found = await compared(arm(), arm(GREEN, x=CountedGateway(2)), before)
    missing = [one for one in found.decisions if one.verdict == "NODATA"]
    assert 1 <= len(missing) <= 2
    assert all("candidate: stale: up" in one.note for one in missing)
    assert len(found.decisions) == 7


@pytest.mark.slow
async def test_a_target_that_vanishes_spoils_its_window_alone():
    green = arm(GREEN, x=CountedGateway(2), y=CountedGateway(3))

    def before(pages, number, url):
        if (number, url) == (15, GREEN):
            del green.targets["y"]

    found = await compared(arm(), green, before)
    missing = [one for one in found.decisions if one.verdict == "NODATA"]
    assert [one.note for one in missing] == ["candidate: counter_reset: a target came or went"]


async def test_arms_that_share_a_target_are_not_compared():
    found = await compared(arm(BLUE, x=CountedGateway(1)), arm(BLUE, x=CountedGateway(2)))
    assert (found.verdict, found.reasons[0]) == ("HOLD", "insufficient_data")
    assert "arms_overlap" in found.reasons[1]
