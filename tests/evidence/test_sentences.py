"""Sentences of answers and of Markdown sources."""

import pytest

from verismo.evidence.sentences import sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ("One.", "Two!", "Three?", "Four")),
        (
            "It takes 1.5 s, e.g. Under load. Then 2.",
            ("It takes 1.5 s, e.g. Under load.", "Then 2."),
        ),
        ("Version 3.11 or newer. It runs.", ("Version 3.11 or newer.", "It runs.")),
        ("See fig. 3. Next", ("See fig. 3.", "Next")),
        ("A line\nthat goes on.\n\nAnother one", ("A line that goes on.", "Another one")),
        ('He said "stop." She went on.', ('He said "stop."', "She went on.")),
        ("Use `a.b`. `c` is next.", ("Use `a.b`.", "`c` is next.")),
        ("state.db holds keys. run/ holds sockets.", ("state.db holds keys. run/ holds sockets.",)),
        ("", ()),
        ("  \n \n", ()),
    ],
)
def test_prose_is_cut_at_its_sentences(text: str, expected: tuple[str, ...]) -> None:
    assert sentences(text) == expected


def test_items_of_lists_and_headings_are_sentences_of_their_own() -> None:
    text = "# Head\nIntro\n- first\n  goes on\n* second\n3. third\n"
    assert sentences(text) == ("Head", "Intro", "first goes on", "second", "third")


def test_rows_of_tables_are_sentences_and_their_rules_are_not() -> None:
    text = "| key | meaning |\n|---|---|\n| `port` | TCP port |\n"
    assert sentences(text) == ("key | meaning", "`port` | TCP port")


def test_fenced_code_is_left_out() -> None:
    assert sentences("Before.\n```sh\nrm -rf /\n```\nAfter.") == ("Before.", "After.")
