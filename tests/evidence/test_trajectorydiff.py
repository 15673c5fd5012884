"""Differences between a golden and a run."""

import pytest

from verismo.evidence.trajectory import Golden, Hop, Step
from verismo.evidence.trajectorydiff import compare, spell

SEARCH, READ, ANSWER = Hop("tool", "search"), Hop("tool", "read"), Hop("model", "small")


def golden(*steps: Step, any_order: bool = False, others: bool = False) -> Golden:
    agent = Step("tool", "agent", any_order=any_order, others=others, hop=steps)
    return Golden(1, (Step("request"), agent, Step("response")))


def run(*hops: Hop) -> tuple[Hop, ...]:
    return (Hop("request", ""), Hop("tool", "agent", hops), Hop("response", ""))


def changes(expected: Golden, *hops: Hop) -> list[tuple[str, str]]:
    found = compare(expected, run(*hops))
    return [(line.change, line.label) for line in found.lines if line.change != "same"]


STEPS = (Step("tool", "search"), Step("tool", "read"), Step("model", "small"))


def test_the_same_run_matches() -> None:
    assert compare(golden(*STEPS), run(SEARCH, READ, ANSWER)).matches


def test_a_missing_hop_is_named_where_it_was_expected() -> None:
    assert changes(golden(*STEPS), SEARCH, ANSWER) == [("missing", "tool read")]


def test_a_further_hop_is_named_where_it_stands() -> None:
    assert changes(golden(*STEPS), SEARCH, READ, Hop("approval", "yes"), ANSWER) == [
        ("unexpected", "approval yes")
    ]


def test_another_name_is_one_change_and_not_two() -> None:
    assert changes(golden(*STEPS), SEARCH, Hop("tool", "write"), ANSWER) == [
        ("renamed", "tool write")
    ]


def test_a_hop_in_another_place_is_moved() -> None:
    found = changes(golden(*STEPS, Step("approval")), SEARCH, READ, Hop("approval", ""), ANSWER)
    assert sorted(change for change, _ in found) == ["moved", "moved"]


@pytest.mark.parametrize(
    ("times", "count", "expected"),
    [
        ("1..3", 1, []),
        ("1..3", 3, []),
        ("1..3", 4, [("unexpected", "tool search")]),
        ("1..3", 0, [("missing", "tool search")]),
        ("2..", 9, []),
        ("2..", 1, [("missing", "tool search")]),
        ("0..1", 0, []),
        ("0..1", 1, []),
        (2, 2, []),
        (3, 1, [("missing", "tool search x2")]),
    ],
)
def test_repeats_are_counted(times: int | str, count: int, expected: list[tuple[str, str]]) -> None:
    steps = (Step("tool", "search", times=times), Step("model", "small"))
    assert changes(golden(*steps), *[SEARCH] * count, ANSWER) == expected


def test_any_order_is_taken_where_it_is_allowed() -> None:
    assert changes(golden(*STEPS, any_order=True), ANSWER, READ, SEARCH) == []
    assert changes(golden(*STEPS), ANSWER, READ, SEARCH)


def test_in_any_order_what_lacks_and_what_is_too_much_is_named() -> None:
    found = changes(golden(*STEPS, any_order=True), ANSWER, SEARCH, SEARCH)
    assert sorted(found) == [("missing", "tool read"), ("unexpected", "tool search")]


def test_in_any_order_the_hop_that_is_most_alike_is_taken() -> None:
    deep = Hop("tool", "search", (ANSWER,))
    steps = (Step("tool", "search", hop=(Step("model", "small"),)), Step("tool", "search"))
    assert changes(golden(*steps, any_order=True), SEARCH, deep) == []


def test_others_are_taken_where_they_are_allowed() -> None:
    assert changes(golden(*STEPS, others=True), SEARCH, READ, Hop("source", "x"), ANSWER) == []
    assert changes(golden(*STEPS, others=True, any_order=True), READ, ANSWER, SEARCH, READ) == []


def test_a_difference_deep_in_a_run_is_shown_there() -> None:
    step = Step("call", "chat", hop=(Step("policy", "allow"), Step("model", "small")))
    hop = Hop("call", "chat", (Hop("policy", "deny"), ANSWER))
    assert changes(golden(step), hop) == [("renamed", "policy deny")]


def test_what_is_below_a_missing_hop_is_missing_too() -> None:
    step = Step("tool", "search", hop=(Step("source", "a"), Step("source", "b", times="0..1")))
    assert changes(golden(step)) == [("missing", "tool search"), ("missing", "source a")]


def test_the_text_marks_changes_and_leaves_long_runs_out() -> None:
    steps = tuple(Step("tool", f"t{number}") for number in range(30))
    hops = [Hop("tool", f"t{number}") for number in range(30) if number != 20]
    text = spell(compare(golden(*steps), run(*hops)))
    assert "-   tool t20    (missing)" in text.splitlines()
    assert "  ... " in text
    assert "tool agent" in text
    assert len(text.splitlines()) < 15


@pytest.mark.slow
def test_large_runs_are_compared_in_moderate_time() -> None:
    steps = tuple(Step("tool", f"t{number % 7}") for number in range(120))
    hops = [Hop("tool", f"t{number % 7}") for number in range(121)]
    assert [change for change, _ in changes(golden(*steps), *hops)] == ["unexpected"]
