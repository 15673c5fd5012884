"""Passages: every word of a document is in one of them, each at an address of its own."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.examples.agentic_rag.passages import CHARACTERS_MAX, cut_documents, read_documents

ROOT = Path(__file__).parents[2]
WORDS = ("text", "- item")
PAGE = """Before any heading.

# Page

Intro.

## First part

One.

```sh
# a comment, no heading
```

## First part

Two.

### Deeper, `with` marks!

Three.
"""


@pytest.fixture(scope="module")
def documents() -> dict[str, str]:
    return read_documents(ROOT)


def test_each_heading_has_its_text_under_an_address_as_github_links_it():
    passages = cut_documents({"docs/page.md": PAGE})
    assert [passage.uri for passage in passages] == [
        "docs/page.md",
        "docs/page.md#page",
        "docs/page.md#first-part",
        "docs/page.md#first-part-1",
        "docs/page.md#deeper-with-marks",
    ]
    assert passages[-1].title == "docs/page.md: Page > First part > Deeper, `with` marks!"
    assert passages[-1].text == "Three."


def test_a_comment_in_a_code_block_is_no_heading():
    [_, _, first, *_] = cut_documents({"docs/page.md": PAGE})
    assert "# a comment, no heading" in first.text


def test_a_long_section_is_cut_between_paragraphs():
    text = "# Long\n\n" + "\n\n".join(f"Paragraph {n}. " + "word " * 60 for n in range(10))
    passages = cut_documents({"a.md": text})
    assert [passage.uri for passage in passages][:3] == ["a.md#long", "a.md#long~2", "a.md#long~3"]
    assert all(passage.text.startswith("Paragraph ") for passage in passages)


def test_a_long_table_is_cut_between_rows():
    rows = "\n".join(f"| row {number} | {'x' * 80} |" for number in range(60))
    passages = cut_documents({"a.md": f"# Table\n\n{rows}"})
    assert len(passages) > 3
    for passage in passages:
        assert all(line.endswith(" |") for line in passage.text.splitlines())


def test_a_section_without_text_gives_no_passage():
    assert [one.uri for one in cut_documents({"a.md": "# A\n\n## B\n\ntext"})] == ["a.md#b"]


def test_our_documents_are_whole_and_no_passage_is_long(documents):
    passages = cut_documents(documents)
    assert len({passage.uri for passage in passages}) == len(passages)
    for path, text in documents.items():
        pieces = [one.text for one in passages if one.uri.partition("#")[0] == path]
        without_headings = re.sub(r"(?m)^#{1,6} .*$", "", text)
        assert sum(len("".join(piece.split())) for piece in pieces) >= len(
            "".join(without_headings.split())
        )
        assert max(map(len, pieces)) <= 3 * CHARACTERS_MAX


@given(
    st.lists(st.sampled_from(["# A", "## B", "text", "", "```", "# A b", "- item"]), max_size=30)
)
def test_no_line_of_text_is_lost_or_doubled(lines):
    passages = cut_documents({"a.md": "\n".join(lines)})
    given_lines = [line for line in lines if line in ("text", "- item")]
    kept = [
        line for one in passages for line in one.text.splitlines() if line in ("text", "- item")
    ]
    assert kept == given_lines
    assert len({passage.uri for passage in passages}) == len(passages)


def test_a_folder_without_documents_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no README\.md"):
        read_documents(tmp_path)


def test_without_a_folder_the_readme_of_the_installed_package_is_read():
    documents = read_documents(None)
    assert list(documents) == ["README.md"]
    assert cut_documents(documents)
