"""PROV-JSON documents: the part of PROV that graphs of hops are spelled in, read strictly.

A document has entities, activities and agents, and five relations between two of them. Bundles,
collections, alternates and the like have no counterpart in a graph of hops: a document with them is
refused and not read in part. `provjson` maps graphs to documents and back.

Source: W3C PROV-JSON submission (24 April 2013); PROV-DM.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

DOCUMENT_BYTES_MAX: Final = 16_777_216
"""A graph of 1 MiB becomes about four times as long."""
QUALIFIED_NAME: Final = "prov:QUALIFIED_NAME"
NAME_TYPES: Final = frozenset({QUALIFIED_NAME, "xsd:QName"})
"""Both are in use for a value that is a qualified name; we write the first."""
_KNOWN_PREFIXES: Final = frozenset({"prov", "xsd"})
_BLANK: Final = "_"
ENDS: Final[Mapping[str, tuple[str, str]]] = {
    "used": ("prov:activity", "prov:entity"),
    "wasGeneratedBy": ("prov:entity", "prov:activity"),
    "wasInformedBy": ("prov:informed", "prov:informant"),
    "wasDerivedFrom": ("prov:generatedEntity", "prov:usedEntity"),
    "wasAssociatedWith": ("prov:activity", "prov:agent"),
}
"""The two ends of each relation; the first is what came later."""
_NAMES: Final = frozenset(
    {
        *(end for ends in ENDS.values() for end in ends),
        "prov:plan",
        "prov:generation",
        "prov:usage",
    }
)
"""Attributes whose value is the name of something, spelled as a plain string."""
_spelled = re.compile(r"(?:([^\s:]+):)?(\S.*|)", re.DOTALL).fullmatch


class DocumentRefused(ValueError):
    """The document is no PROV-JSON, or holds what a graph of hops cannot; and what."""


class Typed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A value with its type or language.

    Args:
        value: spelled `$`.
        type: a qualified name, such as `xsd:long`; empty if none is given.
        lang: a language tag; empty if none is given.
    """

    value: str | int | float | bool = msgspec.field(name="$")
    type: str = ""
    lang: str = ""


Value = str | bool | int | float | Typed
Values = Value | tuple[Value, ...]
Record = dict[str, Values]
Relation = tuple[str, str, str, Record]
"""A relation's name, its later and its earlier end, and its other attributes."""


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A document: for each part its records by their identifier."""

    prefix: dict[str, str] = {}
    entity: dict[str, Record] = {}
    activity: dict[str, Record] = {}
    agent: dict[str, Record] = {}
    used: dict[str, Record] = {}
    was_generated_by: dict[str, Record] = msgspec.field(name="wasGeneratedBy", default={})
    was_informed_by: dict[str, Record] = msgspec.field(name="wasInformedBy", default={})
    was_derived_from: dict[str, Record] = msgspec.field(name="wasDerivedFrom", default={})
    was_associated_with: dict[str, Record] = msgspec.field(name="wasAssociatedWith", default={})

    def relations(self) -> Iterator[Relation]:
        """Yield every relation."""
        for name, records in self._related().items():
            later, earlier = ENDS[name]
            for record in records.values():
                rest = {key: value for key, value in record.items() if key not in ENDS[name]}
                yield name, str(record[later]), str(record[earlier]), rest

    def _related(self) -> Mapping[str, dict[str, Record]]:
        return {
            "used": self.used,
            "wasGeneratedBy": self.was_generated_by,
            "wasInformedBy": self.was_informed_by,
            "wasDerivedFrom": self.was_derived_from,
            "wasAssociatedWith": self.was_associated_with,
        }

    def check(self) -> None:
        """Check what the types alone do not say.

        Raises:
            DocumentRefused: a relation with one end, or a name without a declared prefix.
        """
        for records in (self.entity, self.activity, self.agent):
            for name, record in records.items():
                self._check_name(name)
                self._check_record(record)
        for relation, records in self._related().items():
            for name, record in records.items():
                if not name.startswith(f"{_BLANK}:"):
                    self._check_name(name)
                for end in ENDS[relation]:
                    if not isinstance(record.get(end), str):
                        raise DocumentRefused(f"{relation} without one {end}")
                self._check_record(record)

    def _check_record(self, record: Record) -> None:
        for name, values in record.items():
            self._check_name(name)
            for value in values if isinstance(values, tuple) else (values,):
                if isinstance(value, Typed):
                    self._check_typed(value)
                elif isinstance(value, str) and name in _NAMES:
                    self._check_name(value)

    def _check_typed(self, value: Typed) -> None:
        if value.type:
            self._check_name(value.type)
        if value.type in NAME_TYPES:
            self._check_name(str(value.value))

    def _check_name(self, name: str) -> None:
        spelled = _spelled(name)
        prefix = "default" if spelled is None or spelled[1] is None else spelled[1]
        if spelled is None or (prefix not in _KNOWN_PREFIXES and prefix not in self.prefix):
            raise DocumentRefused(f"{name!r} is no name with a declared prefix")


_decode = msgspec.json.Decoder(Document).decode
_encode = msgspec.json.Encoder(order="sorted").encode


def read_document(data: bytes) -> Document:
    """Read a PROV-JSON document.

    Args:
        data: JSON, at most 16 MiB.

    Raises:
        DocumentRefused: too long, not JSON, a member twice, something that a graph of hops has no
            place for, a relation with one end, or a name without a declared prefix.
    """
    if len(data) > DOCUMENT_BYTES_MAX:
        raise DocumentRefused(f"longer than {DOCUMENT_BYTES_MAX} bytes")
    try:
        json.loads(data, object_pairs_hook=_once)
        document = _decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, json.JSONDecodeError) as error:
        raise DocumentRefused(str(error)) from error
    document.check()
    return document


def write_document(document: Document) -> bytes:
    """Return a document as JSON with sorted members."""
    return _encode(document)


def _once(members: list[tuple[str, object]]) -> None:
    """Refuse an object that has a member twice: parsers differ in which one they take."""
    names = [name for name, _ in members]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DocumentRefused(f"the member {twice!r} stands twice in one object")
