"""The outline of a GraphQL document: which one operation it holds, and its text without values.
Not a GraphQL parser.

It reads tokens and bracket depth only. The upstream server validates the rest: what is registered
here is forwarded to it byte for byte.
"""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

DOCUMENT_BYTES_MAX: Final = 1_048_576

_TOKEN: Final = re.compile(
    r"(?P<blank>[\s,\ufeff]+|\#[^\n\r]*)"
    r'|(?P<text>"""(?:\\"""|(?!""").)*"""|"(?:\\[^\n\r]|[^"\\\n\r])*")'
    r"|(?P<name>[_A-Za-z][_0-9A-Za-z]*)"
    r"|(?P<open>[{(\[])|(?P<close>[})\]])"
    r"|(?P<number>-?[0-9][0-9A-Za-z.+-]*)"
    r"|(?P<other>\.\.\.|[!$&:=@|])",
    re.DOTALL,
)
_PAIRS: Final = {"{": "}", "(": ")", "[": "]"}
_OPERATIONS: Final = ("query", "mutation", "subscription")


class Outline(msgspec.Struct, frozen=True):
    """What a document holds.

    Args:
        kind: `query`, `mutation` or `subscription`.
        name: the operation's name; empty if it has none.
    """

    kind: str
    name: str


class NotOneOperation(ValueError):
    """The document is not GraphQL, or does not hold exactly one operation."""


def without_end_blank(document: str) -> str:
    """Return a document without the white space at its end, where it means nothing.

    Files end with a line feed; what a client prints from its syntax tree does not.

    Source: GraphQL October 2021, section 2.1.2.
    """
    return document.rstrip(" \t\n\r")


def outline(document: str) -> Outline:
    """Find the one operation of an executable document.

    Args:
        document: GraphQL source text.

    Returns:
        Its type and name.

    Raises:
        NotOneOperation: says what is wrong; register one operation for each document.

    Source: GraphQL October 2021, sections 2.1, 2.2 and 2.3.
    """
    found: list[Outline] = []
    for head in _definition_heads(document):
        first, name = head[0], head[1] if len(head) > 1 else ""
        is_name = re.fullmatch(r"[_A-Za-z][_0-9A-Za-z]*", name) is not None
        if first == "{":
            found.append(Outline("query", ""))
        elif first in _OPERATIONS:
            found.append(Outline(first, name if is_name else ""))
        elif first != "fragment":
            raise NotOneOperation(f"{first!r} does not start an operation or fragment")
    if len(found) != 1:
        raise NotOneOperation(f"holds {len(found)} operations; register one for each document")
    return found[0]


def without_values(document: str) -> str:
    """Return a document with a placeholder for each value in its text: `"?"` for a string, `0` for
    a number, `#` for a comment.

    What stays is punctuation, names (of operations, fields, arguments, variables, types, enum
    values), `true`, `false` and `null`. So it is still a document of the same outline.

    Raises:
        NotOneOperation: it is not GraphQL, so nothing tells what in it is a value.

    Source: GraphQL October 2021, sections 2.1.4, 2.9.1, 2.9.2 and 2.9.4.
    """
    return "".join(_placeholder(kind, token) or token for kind, token in _lexemes(document))


def count_values(document: str) -> int:
    """Count the strings, numbers and comments in a document; placeholders are such, too.

    Raises:
        NotOneOperation: it is not GraphQL.
    """
    return sum(1 for kind, token in _lexemes(document) if _placeholder(kind, token))


def _placeholder(kind: str, token: str) -> str:
    """Return what stands for a token that is a value; nothing for any other."""
    if kind == "text":
        # Not `""`: two of those side by side would begin a block string.
        return '"?"'
    if kind == "number":
        return "0"
    return "#" if token.startswith("#") else ""


def _definition_heads(document: str) -> list[list[str]]:
    """Return the first two tokens of each definition: a definition ends with its `}`."""
    heads: list[list[str]] = []
    expected: list[str] = []
    head: list[str] = []
    for kind, token in _tokens(document):
        if len(head) < 2:
            head.append(token)
        if kind == "open":
            expected.append(_PAIRS[token])
        elif kind == "close":
            if not expected or expected.pop() != token:
                raise NotOneOperation(f"{token!r} closes nothing")
            if token == "}" and not expected:
                heads.append(head)
                head = []
    if expected or head:
        raise NotOneOperation("ends in the middle of a definition")
    return heads


def _tokens(document: str) -> list[tuple[str, str]]:
    return [(kind, token) for kind, token in _lexemes(document) if kind != "blank"]


def _lexemes(document: str) -> Iterator[tuple[str, str]]:
    """Split a document into tokens and what stands between them; together they are its text."""
    at = 0
    while at < len(document):
        match = _TOKEN.match(document, at)
        if match is None or match.lastgroup is None:
            line = document.count("\n", 0, at) + 1
            raise NotOneOperation(f"line {line} is not GraphQL")
        yield match.lastgroup, match[0]
        at = match.end()
