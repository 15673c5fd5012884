"""`verismo grounding`: answers held against sources, and the gate."""

import base64
import json
from pathlib import Path

import msgspec
import pytest

from verismo.examples.agentic_rag.agent import Answer
from verismo.examples.agentic_rag.citations import Citation
from verismo.examples.agentic_rag.passages import Passage

ROOT = Path(__file__).parents[2]
GOLD = ROOT / "gold" / "grounding.jsonl"
SOURCE = "Each answer has a salt of 32 octets. The salt is not stored."


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.md"
    path.write_text(SOURCE, encoding="utf-8")
    return path


def answer(folder: Path, text: str) -> Path:
    path = folder / "answer.md"
    path.write_text(text, encoding="utf-8")
    return path


def gold(folder: Path, *lines: tuple[str, str]) -> Path:
    path = folder / "gold.jsonl"
    rows = [
        {"id": str(number), "claim": claim, "sources": [SOURCE], "label": label}
        for number, (label, claim) in enumerate(lines)
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


GOOD = (
    ("supported", "The salt of an answer has 32 octets."),
    ("altered_number", "The salt of an answer has 64 octets."),
    ("off_topic", "Penguins live in the south."),
)


def test_a_supported_answer_ends_with_0(verismo, tmp_path, source):
    found = verismo(
        "grounding", "show", answer(tmp_path, "The salt has 32 octets."), "--sources", source
    )
    assert found.code == 0
    assert "1 of 1 sentences supported" in found.out
    assert "no proof" in found.out


def test_a_sentence_without_support_ends_with_1_and_says_why(verismo, tmp_path, source):
    found = verismo(
        "grounding", "show", answer(tmp_path, "The salt has 9 octets."), "--sources", source
    )
    assert found.code == 1
    assert "number '9 octets' is not in the source" in found.out


def test_json_has_every_sentence(verismo, tmp_path, source):
    path = answer(tmp_path, "The salt has 32 octets. The salt is stored.")
    found = verismo("grounding", "show", path, "--sources", source, "--json")
    grounding = json.loads(found.out)["grounding"]
    assert [claim["verdict"] for claim in grounding["claims"]] == ["supported", "unsupported"]
    assert grounding["ratio_ppm"] == 500_000


def test_a_folder_of_sources_is_read_by_name(verismo, tmp_path, source):
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "b.md").write_text(SOURCE, encoding="utf-8")
    (folder / "a.txt").write_text("Bread is baked.", encoding="utf-8")
    (folder / "c.bin").write_bytes(b"\xff")
    path = answer(tmp_path, "The salt has 32 octets [2].")
    assert verismo("grounding", "show", path, "--sources", folder).code == 0


def test_a_folder_without_sources_is_wrong_usage(verismo, tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    found = verismo("grounding", "show", answer(tmp_path, "Salt."), "--sources", folder)
    assert (found.code, "holds no source" in found.err) == (2, True)


@pytest.mark.parametrize(
    "body",
    [
        '{"choices":[{"message":{"content":"The salt has 32 octets."}}]}',
        '{"text":"The salt has 32 octets.","citations":[]}',
        'data: {"choices":[{"delta":{"content":"The salt has"}}]}\n\n: x\n\n'
        'data: {"choices":[{"delta":{"content":" 32 octets."}}]}\n\ndata: [DONE]\n\n',
    ],
)
def test_a_saved_exchange_is_read_streamed_or_not(verismo, tmp_path, source, body):
    path = tmp_path / "answer.json"
    content = base64.b64encode(body.encode()).decode()
    exchange = {"v": 1, "response": {"status": 200, "headers": [], "body_base64": content}}
    path.write_text(json.dumps(exchange), encoding="utf-8")
    found = verismo("grounding", "show", path, "--sources", source)
    assert (found.code, "1 of 1" in found.out) == (0, True)


AGENT = msgspec.to_builtins(
    Answer(
        text="The salt has 32 octets [2]. Nobody stores the salt [2].",
        citations=[Citation(2, "docs/salt.md", "Salt")],
        unknown_citations=[],
        sources=[
            Passage("docs/bread.md", "Bread", "Bread is baked."),
            Passage("docs/salt.md", "Salt", SOURCE),
        ],
    )
)
AGENT_EVENTS = (
    'data: {"delta":"The salt has"}\n\ndata: {"delta":" 32"}\n\n'
    f"data: {json.dumps(AGENT)}\n\ndata: [DONE]\n\n"
)


def exchange(body: str) -> str:
    content = base64.b64encode(body.encode()).decode()
    return json.dumps({"v": 1, "response": {"status": 200, "headers": [], "body_base64": content}})


@pytest.mark.parametrize(
    "document",
    [json.dumps(AGENT), AGENT_EVENTS, exchange(json.dumps(AGENT)), exchange(AGENT_EVENTS)],
    ids=["json", "events", "saved-json", "saved-events"],
)
def test_an_agents_answer_is_held_against_its_own_sources(verismo, tmp_path, document):
    path = tmp_path / "answer.json"
    path.write_text(document, encoding="utf-8")
    found = verismo("grounding", "show", path)
    assert (found.code, "2 of 2" in found.out, "by docs/salt.md" in found.out) == (0, True, True)


def test_a_source_without_a_text_keeps_its_number(verismo, tmp_path, documents):
    path = tmp_path / "answer.json"
    bread, salt = AGENT["sources"]
    document = {**AGENT, "sources": [{**bread, "text": ""}, salt]}
    path.write_text(json.dumps(document), encoding="utf-8")
    assert "2 of 2" in verismo("grounding", "show", path).out
    path.write_text(json.dumps({**document, "text": "The salt has 64 octets [2]."}))
    found = verismo("grounding", "show", path, "--sources", documents)
    assert f"by {documents}/salt.md" in found.out
    path.write_text(json.dumps({**AGENT, "sources": [{**bread, "text": ""}]}))
    assert verismo("grounding", "show", path).code == 2


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """A folder in which the files that the agent names are the second and the third."""
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.md").write_text("Nothing of it.", encoding="utf-8")
    (folder / "bread.md").write_text("Bread is baked.", encoding="utf-8")
    (folder / "salt.md").write_text(SOURCE.replace("32", "64"), encoding="utf-8")
    return folder


def test_files_that_are_given_count_in_place_of_an_agents_own_sources(verismo, tmp_path, documents):
    path = tmp_path / "answer.json"
    document = {**AGENT, "text": "The salt has 32 octets [2]. The salt has 64 octets [2]."}
    path.write_text(json.dumps(document), encoding="utf-8")
    assert "1 of 2" in verismo("grounding", "show", path).out
    found = verismo("grounding", "show", path, "--sources", documents)
    assert (
        f"UNSUPPORTED  The salt has 32 octets.\n{'':12} nearest: {documents}/salt.md" in found.out
    )
    assert f"supported    The salt has 64 octets.\n{'':12} by {documents}/salt.md" in found.out


def test_a_citation_of_a_source_that_is_not_among_the_files_finds_nothing(
    verismo, tmp_path, documents
):
    (documents / "salt.md").rename(documents / "other.md")
    path = tmp_path / "answer.json"
    document = {**AGENT, "text": "The salt has 64 octets [2]. The salt has 64 octets."}
    path.write_text(json.dumps(document), encoding="utf-8")
    found = verismo("grounding", "show", path, "--sources", documents)
    assert found.out.startswith("UNSUPPORTED  The salt has 64 octets.\n")
    assert f"by {documents}/other.md" in found.out


def test_an_agents_answer_that_was_cut_is_read_by_its_pieces(verismo, tmp_path, source):
    path = tmp_path / "answer.json"
    path.write_text(AGENT_EVENTS.split('data: {"text')[0], encoding="utf-8")
    found = verismo("grounding", "show", path, "--sources", source)
    assert "The salt has 32" in found.out


def test_an_answer_without_sources_of_its_own_needs_some(verismo, tmp_path):
    found = verismo("grounding", "show", answer(tmp_path, "The salt has 32 octets."))
    assert (found.code, "give --sources" in found.err) == (2, True)


@pytest.mark.parametrize("document", ['{"text": ["a"]}', '{"response": 1}', "{", "data: x\n"])
def test_json_that_is_no_answer_is_refused_with_a_next_step(verismo, tmp_path, source, document):
    path = tmp_path / "answer.json"
    path.write_text(document, encoding="utf-8")
    found = verismo("grounding", "show", path, "--sources", source)
    assert (found.code, "next:" in found.err) == (2, True)


def test_an_answer_without_words_is_refused_and_not_called_supported(verismo, tmp_path, source):
    path = tmp_path / "answer.json"
    content = base64.b64encode(b'{"answer":"The salt has 32 octets."}').decode()
    exchange = {"v": 1, "response": {"status": 200, "headers": [], "body_base64": content}}
    path.write_text(json.dumps(exchange), encoding="utf-8")
    found = verismo("grounding", "show", path, "--sources", source)
    assert (found.code, "holds no answer" in found.err) == (2, True)


def test_what_is_no_answer_is_refused_with_a_next_step(verismo, tmp_path, source):
    path = tmp_path / "answer.json"
    path.write_text('{"a":1}', encoding="utf-8")
    found = verismo("grounding", "show", path, "--sources", source)
    assert (found.code, "next:" in found.err) == (2, True)


def test_gold_that_holds_ends_with_0_and_shows_counts(verismo, tmp_path):
    found = verismo("grounding", "check", "--gold", gold(tmp_path, *GOOD))
    assert found.code == 0, found.out
    assert "1 of 1" in found.out
    assert found.out.strip().endswith("HOLDS")


def test_gold_that_does_not_hold_ends_with_1_and_names_the_bar(verismo, tmp_path):
    wrong = (*GOOD[:2], ("off_topic", "The salt is not stored."))
    found = verismo("grounding", "check", "--gold", gold(tmp_path, *wrong))
    assert found.code == 1
    assert "missed: off_topic: 1 of 1 pass, none may" in found.out


def test_what_is_no_gold_is_wrong_usage(verismo, tmp_path):
    path = tmp_path / "gold.jsonl"
    path.write_text("{}", encoding="utf-8")
    assert verismo("grounding", "check", "--gold", path).code == 2


def test_a_judge_needs_all_its_options(verismo, tmp_path, source):
    path = answer(tmp_path, "The salt has 32 octets.")
    found = verismo("grounding", "show", path, "--sources", source, "--judge-model", "x")
    assert (found.code, "belong together" in found.err) == (2, True)


def test_a_judge_that_is_away_gives_no_verdict(verismo, tmp_path, source):
    path = answer(tmp_path, "The salt has 32 octets.")
    away = ("--judge-url", "http://127.0.0.1:9/v1", "--judge-key", "k", "--judge-model", "x")
    found = verismo("grounding", "show", path, "--sources", source, *away)
    assert (found.code, "cannot be reached" in found.err, found.out) == (2, True, "")


@pytest.mark.slow
def test_nothing_off_topic_and_hardly_a_number_of_our_gold_passes(verismo):
    rates = json.loads(verismo("grounding", "check", "--gold", GOLD, "--json").out)["rates"]
    by_kind = {(rate["half"], rate["label"]): rate["rate_ppm"] for rate in rates}
    for half in ("development", "second", "names", "held_out"):
        assert by_kind[half, "off_topic"] == 0
        assert by_kind.get((half, "altered_number"), 0) <= 100_000
    for half in ("development", "names"):
        assert by_kind[half, "supported"] >= 950_000
        assert by_kind[half, "altered"] <= 200_000
