"""A client's JSON body: parsed once, with the place of each top-level member in its text.

The gateway forwards the client's original bytes and only splices single members (the model's name,
the stream options), so it needs to know where they stand. The same pass refuses duplicate members
at every depth, because two parsers may take different ones of them (decisions 18).
"""

import json
import re
from collections.abc import Callable
from typing import NoReturn, cast

import msgspec

from verismo.model.errors import DuplicateMember, MalformedRequest

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]

_SPACE = re.compile(r"[ \t\n\r]*").match
_SPACES = frozenset(" \t\n\r")
_PLAIN_NAME = re.compile(r'"([^"\\\x00-\x1f]*)"[ \t\n\r]*:[ \t\n\r]*').match
"""A member's name without escapes, and all that stands between it and its value."""
_NEXT_MEMBER = re.compile(r'[ \t\n\r]*,[ \t\n\r]*(?=")').match


def _refuse_duplicates(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise DuplicateMember(f"the member {name[:64]!r} stands twice in one object")
            seen.add(name)
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedRequest(f"{name} is not JSON")


_scan_once: Callable[[str, int], tuple[JsonValue, int]] = json.JSONDecoder(
    object_pairs_hook=_refuse_duplicates, parse_constant=_refuse_constant
).scan_once  # type: ignore[attr-defined]


VALUES_MAX = 500_000
"""Members and elements of one body, counted by their commas. Parsing this many takes about 0.2 s,
in which the worker answers nobody else; prose of 30 MiB stays below it."""


class JsonBody(msgspec.Struct, frozen=True):
    """A parsed JSON object and where its members' values stand.

    Args:
        text: the whole body as text.
        members: the top-level members' values.
        spans: for each top-level member the start and end of its value, in characters of `text`.
        end: index of the closing brace.
    """

    text: str
    members: dict[str, JsonValue]
    spans: dict[str, tuple[int, int]]
    end: int

    def string(self, name: str) -> str | None:
        """Return a text member, or None where it is missing or null.

        Raises:
            MalformedRequest: the member is of another type.
        """
        value = self.members.get(name)
        if value is not None and not isinstance(value, str):
            raise MalformedRequest(f"`{name}` must be a string")
        return value

    def flag(self, name: str) -> bool:
        """Return a true/false member; missing or null is false.

        Raises:
            MalformedRequest: the member is of another type.
        """
        value = self.members.get(name)
        if value is not None and not isinstance(value, bool):
            raise MalformedRequest(f"`{name}` must be true or false")
        return bool(value)

    def spliced(self, replacements: dict[str, str]) -> bytes:
        """Return the original bytes with some top-level values replaced or appended.

        Args:
            replacements: member name to the JSON text of its new value; a member that is not
                there is added at the end. Everything else keeps its exact bytes.
        """
        if len(replacements) == 1:
            [(name, new)] = replacements.items()
            if name in self.spans:
                start, stop = self.spans[name]
                return f"{self.text[:start]}{new}{self.text[stop:]}".encode()
        edits = [(*self.spans[n], new) for n, new in replacements.items() if n in self.spans]
        added = [f"{json.dumps(n)}:{v}" for n, v in replacements.items() if n not in self.spans]
        if added:
            lead = "," if self.members else ""
            edits.append((self.end, self.end, lead + ",".join(added)))
        pieces: list[str] = []
        position = 0
        for start, stop, new in sorted(edits):
            pieces += (self.text[position:start], new)
            position = stop
        pieces.append(self.text[position:])
        return "".join(pieces).encode()


def parse_object(body: bytes) -> JsonBody:
    """Parse a JSON object strictly.

    Args:
        body: UTF-8 octets.

    Raises:
        MalformedRequest: not UTF-8, not JSON, not an object, nested too deeply, too many values,
            or trailing text.
        DuplicateMember: one object at any depth names a member twice.

    Source: RFC 8259; RFC 7493 (I-JSON) 2.3.
    """
    if len(body) > VALUES_MAX and body.count(b",") + body.count(b"[") > VALUES_MAX:
        raise MalformedRequest(f"the body has more than {VALUES_MAX} JSON values")
    try:
        return _parse_text(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise MalformedRequest(f"the body is not UTF-8 (byte {error.start})") from error
    except RecursionError as error:
        raise MalformedRequest("the JSON is nested too deeply") from error
    except json.JSONDecodeError as error:
        raise MalformedRequest(f"the body is not JSON: {error.msg} at {error.pos}") from error
    except ValueError as error:  # an integer of more digits than Python converts
        raise MalformedRequest("the body has a number that is too long") from error


def _parse_text(text: str) -> JsonBody:
    """Walk the outermost object member by member, noting where each value stands."""
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        raise MalformedRequest("the body must be a JSON object")
    pairs: list[tuple[str, JsonValue]] = []
    spans: dict[str, tuple[int, int]] = {}
    at = _skip(text, at + 1)
    if text[at : at + 1] == "}":
        return _finish(text, pairs, spans, at)
    while True:
        plain = _PLAIN_NAME(text, at)
        if plain is not None:
            member, start = plain[1], plain.end()
        else:
            member, start = _scan_name(text, at)
        value, at = _scan(text, start)
        pairs.append((member, value))
        spans[member] = (start, at)
        following = _NEXT_MEMBER(text, at)
        if following is not None:
            at = following.end()
            continue
        at = _skip(text, at)
        if text[at : at + 1] == "}":
            return _finish(text, pairs, spans, at)
        at = _skip(text, _expect(text, at, ","))


def _scan_name(text: str, at: int) -> tuple[str, int]:
    """Parse a member's name that may hold escapes; returns it and where its value begins."""
    if text[at : at + 1] != '"':
        raise json.JSONDecodeError("expected a member name", text, at)
    name, at = _scan(text, at)
    member = cast("str", name)  # it began with a quotation mark
    return member, _skip(text, _expect(text, _skip(text, at), ":"))


def _scan(text: str, at: int) -> tuple[JsonValue, int]:
    """Parse one value; the decoder's scanner in C, with its way of saying "nothing here" mended."""
    try:
        return _scan_once(text, at)
    except StopIteration as error:
        raise json.JSONDecodeError("expected a value", text, at) from error


def _finish(
    text: str, pairs: list[tuple[str, JsonValue]], spans: dict[str, tuple[int, int]], end: int
) -> JsonBody:
    if _skip(text, end + 1) != len(text):
        raise json.JSONDecodeError("text after the object", text, end + 1)
    return JsonBody(text=text, members=_refuse_duplicates(pairs), spans=spans, end=end)


def _skip(text: str, at: int) -> int:
    if text[at : at + 1] not in _SPACES:
        return at
    match = _SPACE(text, at)
    return match.end() if match else at


def _expect(text: str, at: int, character: str) -> int:
    if text[at : at + 1] != character:
        raise json.JSONDecodeError(f"expected {character!r}", text, at)
    return at + 1
