"""The outline of GraphQL documents, with graphql-core as the oracle."""

import pytest
from graphql import OperationDefinitionNode, Visitor, parse, print_ast, visit
from graphql.language import FloatValueNode, IntValueNode, StringValueNode
from hypothesis import given
from hypothesis import strategies as st

from verismo.model.document import (
    NotOneOperation,
    Outline,
    count_values,
    outline,
    without_end_blank,
    without_values,
)

GOOD = [
    "{ user { id } }",
    "query { user { id } }",
    "query User($id: ID!) { user(id: $id) { id name } }",
    'mutation M($s: String! = "a } b") @live(x: {y: [1]}) { createTicket(subject: $s) { id } }',
    "subscription OnTicket { ticket { id } }",
    'query Q($in: In = {a: {b: 1}}) { f(in: $in, t: """block } " \\""" text""") { ...F } }\n'
    "# query Comment { x }\nfragment F on T { id ... on U @include(if: true) { n } }",
    "fragment F on T { id }\nquery query { fragment }",
    "\ufeffquery\t,Tab { a(n: -1.5e10, e: ENUM, l: [1, 2]) }",
    "query ($a: Int) { f(a: $a) }",
]


@pytest.mark.parametrize("text", GOOD)
def test_kind_and_name_agree_with_a_full_parser(text):
    (node,) = [d for d in parse(text).definitions if isinstance(d, OperationDefinitionNode)]
    name = node.name.value if node.name else ""
    assert outline(text) == Outline(node.operation.value, name)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "0 operations"),
        ("# only a comment", "0 operations"),
        ("query A { a } query B { b }", "2 operations"),
        ("{ a } { b }", "2 operations"),
        ("fragment F on T { id }", "0 operations"),
        ("type Query { a: Int }", "'type'"),
        ("query A { a ", "middle"),
        ("query A", "middle"),
        ("query A { a } }", "closes nothing"),
        ("query A { a(b: 1} }", "closes nothing"),
        ('query A { a(b: "open) }', "line 1"),
        ("query A {\n a ; }", "line 2"),
        ("query A { a ö }", "line 1"),
    ],
)
def test_what_is_not_one_operation_is_refused(text, part):
    with pytest.raises(NotOneOperation, match=part):
        outline(text)


@given(st.text('query{}()"#\\ \n$aF1,[]:!', max_size=40))
def test_any_text_is_outlined_or_refused(text):
    try:
        found = outline(text)
    except NotOneOperation:
        return
    assert found.kind in ("query", "mutation", "subscription")


def test_brackets_in_strings_and_comments_do_not_hide_a_second_operation():
    """An attacker who may register queries must not slip a mutation past the review."""
    text = 'query A { a(s: "}") } # }\nmutation B { b }'
    with pytest.raises(NotOneOperation, match="2 operations"):
        outline(text)


class Values(Visitor):
    """Collects what the values in a document are, as a full parser sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def enter(self, node, *_):
        if isinstance(node, (StringValueNode, IntValueNode, FloatValueNode)):
            self.found.add(node.value)


def values_of(text):
    values = Values()
    visit(parse(text), values)
    return values.found


@pytest.mark.parametrize("text", GOOD)
def test_without_values_a_document_is_still_one_of_the_same_outline(text):
    hidden = without_values(text)
    assert outline(hidden) == outline(text)
    assert values_of(hidden) <= {"?", "0"}
    assert without_values(hidden) == hidden
    assert count_values(hidden) == count_values(text)


@pytest.mark.parametrize("text", GOOD)
def test_white_space_that_a_printer_leaves_out_at_the_end_is_no_difference(text):
    printed = print_ast(parse(text))
    assert without_end_blank(printed + "\n") == without_end_blank(printed) == printed


@pytest.mark.parametrize(
    ("text", "hidden", "count"),
    [
        ('{ a(b: "SECRET") }', '{ a(b: "?") }', 1),
        ('{ a(b: """SE "CR" \\"""\nET""") }', '{ a(b: "?") }', 1),
        ('{ a(b: ["SE""CR" "ET"]) }', '{ a(b: ["?""?" "?"]) }', 3),
        ("{ a(b: -42.5e10, c: 7) }", "{ a(b: 0, c: 0) }", 2),
        ("query Q($n: Int = 42) { a(n: $n) } # SECRET", "query Q($n: Int = 0) { a(n: $n) } #", 2),
        ("{ a # SECRET\n b }", "{ a #\n b }", 1),
        ("{ a(b: true, c: null, d: ENUM) x1: y2 }", "{ a(b: true, c: null, d: ENUM) x1: y2 }", 0),
    ],
)
def test_every_value_and_comment_has_a_placeholder_and_names_stay(text, hidden, count):
    assert (without_values(text), count_values(text)) == (hidden, count)


@pytest.mark.parametrize("text", ["{ a(b: 'SECRET') }", '{ a(b: "SECRET) }', "SECRET?"])
def test_what_is_not_graphql_has_no_text_without_values(text):
    with pytest.raises(NotOneOperation):
        without_values(text)


@given(st.text('query{}()"#\\ \n$aF1,[]:!-.', max_size=40))
def test_hiding_values_is_done_after_one_time(text):
    try:
        hidden = without_values(text)
    except NotOneOperation:
        return
    assert without_values(hidden) == hidden
    assert count_values(hidden) == count_values(text)
