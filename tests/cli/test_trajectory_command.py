"""`verismo trajectory`: recording the shape of a run, and comparing others with it."""

import json
from pathlib import Path

import pytest
from tests.evidence.runs import PROV_ID, graph_of, run_graph

from verismo.attest.provenance import Graph
from verismo.model import canonical


def saved(folder: Path, graph: Graph, name: str = "run.json") -> Path:
    path = folder / name
    path.write_bytes(canonical.encode(graph))
    return path


@pytest.fixture
def golden(verismo, tmp_path) -> Path:
    path = tmp_path / "golden.toml"
    found = verismo("trajectory", "record", saved(tmp_path, run_graph()), "--out", path)
    assert found.code == 0, found.err
    return path


def test_another_run_of_the_same_shape_matches(verismo, tmp_path, golden):
    other = saved(tmp_path, run_graph(start_ms=9_000, salt="22"), "other.json")
    found = verismo("trajectory", "check", golden, other)
    assert (found.code, "matches" in found.out) == (0, True)


def test_a_run_with_a_further_hop_ends_with_1_and_a_tree(verismo, tmp_path, golden):
    other = saved(tmp_path, run_graph(tools=2), "other.json")
    found = verismo("trajectory", "check", golden, other)
    assert found.code == 1
    assert "+   tool lookup    (not expected here)" in found.out.splitlines()


def test_a_golden_that_is_loosened_by_hand_takes_more_runs(verismo, tmp_path, golden):
    text = golden.read_text(encoding="utf-8")
    golden.write_text(
        text.replace('name = "lookup"', 'name = "look*"\n  times = "1..3"'), encoding="utf-8"
    )
    for tools, code in ((1, 0), (3, 0), (4, 1)):
        other = saved(tmp_path, run_graph(tools=tools), "other.json")
        assert verismo("trajectory", "check", golden, other).code == code


def test_json_has_the_changes_alone(verismo, tmp_path, golden):
    same, other = saved(tmp_path, run_graph()), saved(tmp_path, graph_of("x"), "other.json")
    found = verismo("trajectory", "check", golden, same, other, "--json")
    first, second = json.loads(found.out)
    assert (found.code, first["matches"], first["changes"]) == (1, True, [])
    assert {"change", "depth", "label", "detail"} == set(second["changes"][0])


def test_what_was_loosened_is_not_overwritten_by_accident(verismo, tmp_path, golden):
    before = golden.read_bytes()
    path = saved(tmp_path, run_graph(tools=2))
    found = verismo("trajectory", "record", path, "--out", golden)
    assert (found.code, golden.read_bytes() == before) == (2, True)
    assert verismo("trajectory", "record", path, "--out", golden, "--force").code == 0
    assert golden.read_bytes() != before


@pytest.mark.parametrize("name", ["nothing.json", "018f3c1d"])
def test_what_is_neither_file_nor_id_is_wrong_usage(verismo, golden, name):
    found = verismo("trajectory", "check", golden, name)
    assert (found.code, "neither" in found.err) == (2, True)


def test_a_broken_golden_is_wrong_usage_with_its_reason(verismo, tmp_path, golden):
    golden.write_text("v = 1\n[[hop]]\nkind = 'tol'\n", encoding="utf-8")
    found = verismo("trajectory", "check", golden, saved(tmp_path, run_graph()))
    assert (found.code, "no kind of hop" in found.err) == (2, True)


def test_a_file_that_is_no_graph_is_wrong_usage(verismo, tmp_path, golden):
    path = tmp_path / "x.json"
    path.write_text('{"nodes":[]}', encoding="utf-8")
    assert verismo("trajectory", "check", golden, path).code == 2


def test_an_unknown_answer_of_a_data_folder_is_named(verismo, tmp_path, golden):
    (tmp_path / "data").mkdir()
    found = verismo("trajectory", "check", golden, PROV_ID, "--data", tmp_path / "data")
    assert (found.code, PROV_ID in found.err) == (2, True)


@pytest.mark.parametrize(
    "places", [("--url", "http://127.0.0.1:9"), ("--url", "x", "--data", "y", "--key", "k")]
)
def test_places_that_do_not_go_together_are_wrong_usage(verismo, golden, places, monkeypatch):
    monkeypatch.delenv("VERISMO_API_KEY", raising=False)
    assert verismo("trajectory", "check", golden, PROV_ID, *places).code == 2
