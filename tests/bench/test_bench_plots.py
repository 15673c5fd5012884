"""The figures of the controllers: they hold what the tables hold, and the same bytes every time."""

import importlib
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
PAGE = ROOT / "docs" / "performance.md"
NAMES = ("canary-peers", "canary-ladder", "budget-rules", "scaling-cost")


@pytest.fixture
def plots(monkeypatch):
    """Return bench/harness/plots.py as a module."""
    monkeypatch.syspath_prepend(ROOT / "bench" / "harness")
    return importlib.import_module("plots")


def drawn(plots, monkeypatch, page, folder):
    """Draw a page's tables into a folder; returns the figures by name."""
    monkeypatch.setattr(sys, "argv", ["plots.py", str(page), "--out", str(folder)])
    plots.main()
    return {file.stem: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.slow
def test_the_figures_in_the_documents_are_those_of_the_tables(plots, monkeypatch, tmp_path):
    found = drawn(plots, monkeypatch, PAGE, tmp_path)
    assert found.keys() == set(NAMES)
    stale = [name for name in NAMES if (IMAGES / f"{name}.svg").read_bytes() != found[name]]
    assert stale == [], "draw them again: python bench/harness/plots.py"


@pytest.mark.slow
def test_another_number_in_a_table_gives_another_figure(plots, monkeypatch, tmp_path):
    page = tmp_path / "page.md"
    text = PAGE.read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| ladder: p95 +20 %"))
    page.write_text(text.replace(row, row.replace(" 392 ", " 393 ").replace(" 6 ", " 7 ")), "utf-8")
    (tmp_path / "out").mkdir()
    found = drawn(plots, monkeypatch, page, tmp_path / "out")
    committed = {name: (IMAGES / f"{name}.svg").read_bytes() for name in NAMES}
    assert [name for name in NAMES if found[name] != committed[name]] == ["canary-ladder"]


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_has_words_and_a_ground_and_nothing_that_runs_or_is_loaded(name):
    text = (IMAGES / f"{name}.svg").read_text(encoding="utf-8")
    tree = ElementTree.fromstring(text)
    words = [one.text for one in tree.iter("{http://www.w3.org/2000/svg}text")]
    assert len(words) > 10
    assert "fill: #ffffff" in text
    assert "<script" not in text
    assert "<image" not in text
    assert "dc:date" not in text


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_stands_in_a_document_with_words_in_its_place(name):
    pages = [path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("adapt-*.md")]
    pictures = [line for page in pages for line in page.splitlines() if f"/{name}.svg)" in line]
    assert len(pictures) == 1
    assert pictures[0].startswith("![")
    assert len(pictures[0].partition("]")[0]) > 40


def test_rows_are_read_by_heading_and_a_second_one_by_the_one_before_it(plots):
    page = (
        "<!-- x -->\n\n`command`\n\n| a | bound | b | bound |\n|---|---|---|---|\n"
        "| 1,200 | - | y | 0.5 |\n\n- figures: none\n<!-- /x -->\n| other |\n"
    )
    rows = plots.rows_of(page, "x")
    assert rows == [{"a": "1,200", "a bound": "-", "b": "y", "b bound": "0.5"}]
    assert plots.number(rows[0]["a"]) == 1_200
    with pytest.raises(ValueError, match="could not convert"):
        plots.number(rows[0]["a bound"])


def test_a_page_without_a_table_is_refused(plots):
    with pytest.raises(LookupError, match="no table of canary"):
        plots.rows_of("<!-- canary -->\n<!-- /canary -->\n", "canary")
