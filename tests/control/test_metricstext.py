"""Metrics pages are read strictly: half of one, or something else, is refused as a whole."""

import math

import pytest

from verismo.control.metricstext import Selector, TextRefused, parse_samples, parse_selector

WANTED = frozenset({"m", "n"})


def read(text):
    return parse_samples(text.encode(), WANTED)


def test_samples_with_labels_times_and_exemplars_are_read():
    found = read(
        "# HELP m text { with } marks\n# TYPE m counter\n"
        'm{b="2",a="1"} 5 1700000000\nn 1.5e3\r\n'
        'm{a="x } \\" y",b="\\\\ \\n"} 7 # {trace_id="abc"} 0.5 1700.1\nother{} 3\n# EOF\n'
    )
    assert [(one.name, dict(one.labels), one.value) for one in found] == [
        ("m", {"a": "1", "b": "2"}, 5),
        ("n", {}, 1500),
        ("m", {"a": 'x } " y', "b": "\\ \n"}, 7),
    ]


def test_numbers_that_are_none_are_left_to_whoever_counts():
    values = [one.value for one in read('m{a="1"} NaN\nm{a="2"} +Inf\nm{a="3"} -Inf\n')]
    assert math.isnan(values[0])
    assert values[1:] == [math.inf, -math.inf]


@pytest.mark.parametrize(
    "text",
    [
        "<html><body>please log in</body></html>",
        '{"error": "not found"}',
        "m 1\nm 2\n",
        'm{a="1"} 1\nm{a="1"} 1\n',
        'm{a="1",a="2"} 1\n',
        "m{a=1} 1\n",
        'm{a="1"b="2"} 1\n',
        "m one\n",
        "m 1_000\n",
        "m\n",
        'm{a="1" 1\n',
    ],
)
def test_what_is_no_metrics_is_refused(text):
    with pytest.raises(TextRefused):
        read(text)


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(TextRefused, match="UTF-8"):
        parse_samples(b"m\xff 1\n", WANTED)


def test_a_long_line_that_is_no_sample_is_refused_quickly():
    with pytest.raises(TextRefused):
        read("m{" + 'a="' * 50_000)


def test_a_selector_takes_series_whose_labels_match_as_a_whole():
    found = parse_selector('http_seconds{code=2..,route="/v1/chat"}')
    assert found == Selector("http_seconds", (("code", "2.."), ("route", "/v1/chat")))
    assert found.takes({"code": "204", "route": "/v1/chat", "x": "y"})
    assert not found.takes({"code": "2040", "route": "/v1/chat"})
    assert not found.takes({"code": "200"})
    assert parse_selector("up").takes({})


@pytest.mark.parametrize("text", ["", "1up", "m{a}", "m{a=(}", "m{a=1", "m a"])
def test_a_selector_that_is_none_is_refused(text):
    with pytest.raises(TextRefused):
        parse_selector(text)
