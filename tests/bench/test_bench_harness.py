"""The pure parts of the benchmarks' harness: percentiles, tables, bodies, the page."""

import importlib
import json
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def harness(monkeypatch):
    """Return a module of bench/harness by name; the scripts find each other by folder."""
    monkeypatch.syspath_prepend(BENCH / "harness")
    return importlib.import_module


def test_a_percentile_is_a_value_that_occurred(harness):
    percentile = harness("percentiles").percentile
    values = [float(n) for n in range(100, 0, -1)]
    assert [percentile(values, percent) for percent in (1, 50, 95, 99, 100)] == [1, 50, 95, 99, 100]
    assert percentile([7.0], 50) == percentile([7.0], 99) == 7.0
    assert percentile([1.0, 2.0], 50) == 1.0
    assert percentile([1.0, 2.0], 51) == 2.0


def test_a_table_shows_what_is_missing_as_a_dash_and_leaves_empty_columns_out(harness):
    columns = {"name": "gateway", "rate": "requests/s", "flag": "flag"}
    rows = [{"name": "a", "rate": 1234.4}, {"name": "b", "rate": None}]
    assert harness("table").table(columns, rows) == [
        "| gateway | requests/s |",
        "|---------|------------|",
        "| a       | 1,234      |",
        "| b       | -          |",
    ]


@pytest.mark.parametrize("model", ["gpt-4o-mini", "support.answer", "bench.stream"])
@pytest.mark.parametrize(("size", "stream"), [(330, False), (330, True), (87_000, False)])
def test_a_request_has_one_size_whatever_its_model_is_called(harness, model, size, stream):
    body = harness("bodies").request_body(model, size, stream=stream)
    assert len(body) == size
    assert json.loads(body)["model"] == model


def test_the_upstream_answers_600_bytes_and_50_events_with_usage(harness):
    bodies = harness("bodies")
    assert len(bodies.reply_body()) == 600
    assert json.loads(bodies.reply_body())["usage"]["total_tokens"] == 112
    *events, done = bodies.reply_events()
    assert len(events) == 50
    assert done == b"data: [DONE]\n\n"
    assert json.loads(events[-1].removeprefix(b"data: "))["usage"]["total_tokens"] == 111


def test_a_result_replaces_only_what_stands_between_its_marks(harness):
    filled = harness("document").filled
    page = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n<!-- y -->\n<!-- /y -->\n"
    once = filled(page, "x", ["new"])
    assert once == "a\n<!-- x -->\n\nnew\n\n<!-- /x -->\nb\n<!-- y -->\n<!-- /y -->\n"
    assert filled(once, "x", ["new"]) == once


def test_a_result_without_a_place_in_the_page_is_refused(harness):
    with pytest.raises(LookupError, match="no place for z"):
        harness("document").filled("<!-- x -->\n<!-- /x -->", "z", [])


def test_every_benchmark_has_its_place_in_the_page():
    page = (BENCH.parent / "docs" / "performance.md").read_text(encoding="utf-8")
    for script in BENCH.glob("*.py"):
        assert page.count(f"<!-- {script.stem} -->") == 1, script.stem
        assert page.count(f"<!-- /{script.stem} -->") == 1, script.stem


def test_single_figures_of_a_result_stand_below_its_table(harness):
    result = {
        "command": "python bench/x.py",
        "columns": {"name": "name"},
        "rows": [{"name": "a"}],
        "share": 0.03666667,
        "count": 300,
        "source": "a trace",
        "seeds": [1, 2],
        "machine": {},
        "versions": {},
    }
    lines = harness("document").lines_of(result)
    assert "- figures: share 0.03667, count 300, source `a trace`" in lines
    assert lines[0] == "`python bench/x.py`"
