"""The outline of GraphQL documents, with graphql-core as the oracle."""

import pytest
from graphql import OperationDefinitionNode, parse
from hypothesis import given
from hypothesis import strategies as st

from verismo.model.document import NotOneOperation, Outline, outline

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
