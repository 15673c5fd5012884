"""The outline of a GraphQL document: which one operation it holds. Not a GraphQL parser.

It reads tokens and bracket depth only. The upstream server validates the rest: what is registered
here is forwarded to it byte for byte.
"""

import re
from typing import Final

import msgspec

DOCUMENT_BYTES_MAX: Final = 1_048_576

_TOKEN: Final = re.compile(
    r"(?P<blank>[\s,\ufeff]+|\#[^\n\r]*)"
    r'|(?P<text>"""(?:\\"""|(?!""").)*"""|"(?:\\[^\n\r]|[^"\\\n\r])*")'
    r"|(?P<name>[_A-Za-z][_0-9A-Za-z]*)"
    r"|(?P<open>[{(\[])|(?P<close>[})\]])"
    r"|(?P<other>\.\.\.|[!$&:=@|]|-?[0-9][0-9A-Za-z.+-]*)",
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
    tokens: list[tuple[str, str]] = []
    at = 0
    while at < len(document):
        match = _TOKEN.match(document, at)
        if match is None or match.lastgroup is None:
            line = document.count("\n", 0, at) + 1
            raise NotOneOperation(f"line {line} is not GraphQL")
        if match.lastgroup != "blank":
            tokens.append((match.lastgroup, match[0]))
        at = match.end()
    return tokens
