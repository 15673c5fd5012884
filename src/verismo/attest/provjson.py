"""Graphs as PROV-JSON and back. Nothing is lost: what is read has the ids that were signed.

The mapping (docs/provenance.md has it as a table): what happens is an activity, what is there is an
entity, and an input becomes the relation that fits its two ends. What PROV has no word for stands
in attributes of our own: the number of a hop, its exact times, its commitment, the order of inputs.
Labels, calendar times and agents are added for other people's tools; they are not read back.

Source: PROV-DM; W3C PROV-JSON submission; ADR-027.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final, cast, get_args

import msgspec
from msgspec import UNSET

from verismo.attest.provdocument import (
    ENDS,
    NAME_TYPES,
    QUALIFIED_NAME,
    Document,
    DocumentRefused,
    Record,
    Typed,
    Value,
    Values,
    read_document,
    write_document,
)
from verismo.attest.provenance import VERSION, Graph, GraphRefused, Node, node_id, read_graph
from verismo.attest.provwords import is_reported, title, word
from verismo.model import canonical
from verismo.model.hop import Attribute, HopKind

MEDIA: Final = "application/json"
ENTITIES: Final = frozenset({"request", "source", "response"})
"""Kinds that are things; all others are activities."""
PREFIXES: Final[Mapping[str, str]] = {
    "vm": "urn:verismo:prov:",
    "node": "urn:verismo:node:",
    "attr": "urn:verismo:attribute:",
    "agent": "urn:verismo:agent:",
}
RELATIONS: Final[Mapping[tuple[bool, bool], str]] = {
    (False, True): "used",
    (False, False): "wasInformedBy",
    (True, False): "wasGeneratedBy",
    (True, True): "wasDerivedFrom",
}
"""By whether the hop is an entity, and whether its input is."""
_KINDS: Final = frozenset(get_args(HopKind))
_INTEGER_TYPES: Final = frozenset({"xsd:long", "xsd:int", "xsd:integer"})
_TIME_MS_MAX: Final = 253_402_300_799_999
"""The end of the year 9999, the last that a calendar time has digits for."""
_OWN: Final = frozenset({"number", "t0", "t1", "commit", "version", "answer"})
_PROOF: Final = frozenset({"statement", "signature"})
_ADDED: Final = frozenset({"prov:type", "prov:label", "prov:startTime", "prov:endTime"})
_unsafe = re.compile(r"[^A-Za-z0-9_.]|^\.|\.$")
"""What the local part of a PROV-N name must not have, and some that it may."""
_escaped = re.compile(r"%([0-9A-F]{2})")
_whole = re.compile(r"-?[0-9]{1,16}").fullmatch
_EMPTY: Final = "~"


class ProvRecord(msgspec.Struct, frozen=True):
    """A graph with what signs it.

    Args:
        graph: the graph.
        statement: the signed bytes, base64url; empty if they are not with it.
        signature: the detached JWS; empty if it is not with it.
    """

    graph: Graph
    statement: str = ""
    signature: str = ""


class _Part(msgspec.Struct, frozen=True):
    """As much of a document as tells whose it is."""

    prefix: dict[str, msgspec.Raw]
    entity: msgspec.Raw = msgspec.Raw(b"{}")


class ProvClaim(msgspec.Struct, frozen=True):
    """What a document of this mapping says of itself; empty what it does not say.

    Args:
        answer: the answer; any text.
        statement: the signed bytes, base64url; any text.
        signature: the detached JWS; any text.
    """

    answer: str = ""
    statement: str = ""
    signature: str = ""


def read_prov_claim(data: bytes) -> ProvClaim | None:
    """Return what a document says of itself, whether or not its hops are what they were.

    Args:
        data: any octets.

    Returns:
        None if it is not JSON, or none of its prefixes is of this mapping.
    """
    try:
        part = msgspec.json.decode(data, type=_Part)
        prefixes = {name: msgspec.json.decode(value) for name, value in part.prefix.items()}
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    if not any(prefixes.get(name) == value for name, value in PREFIXES.items()):
        return None
    try:
        entities = msgspec.json.decode(part.entity, type=dict[str, dict[str, msgspec.Raw]])
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return ProvClaim()
    said = {name: value for record in entities.values() for name, value in record.items()}
    return ProvClaim(*(_claimed(said, name) for name in ("answer", "statement", "signature")))


def _claimed(said: Mapping[str, msgspec.Raw], name: str) -> str:
    value = said.get(f"vm:{name}")
    spelt = "" if value is None else msgspec.json.decode(value)
    return spelt if isinstance(spelt, str) else ""


def write_prov_json(record: ProvRecord) -> bytes:
    """Return a graph as PROV-JSON.

    Args:
        record: a graph as `read_graph` returns it, and what signs it.
    """
    return write_document(_document(record))


def read_prov_json(data: bytes) -> ProvRecord:
    """Read a graph out of PROV-JSON that `write_prov_json` wrote, or that a tool wrote of it.

    Args:
        data: JSON, at most 16 MiB.

    Returns:
        The graph; every id in the document is that of the hop that was read.

    Raises:
        DocumentRefused: not PROV-JSON of this mapping.
        GraphRefused: it is, but not of a graph.
    """
    document = read_document(data)
    if {name: document.prefix.get(name) for name in PREFIXES} != dict(PREFIXES):
        raise DocumentRefused("the prefixes are not those of this mapping")
    inputs = _read_inputs(document)
    hops: dict[int, tuple[str, Node]] = {}
    last: Record = {}
    for is_entity, records in ((True, document.entity), (False, document.activity)):
        for name, attributes in records.items():
            number, node = _read_node(name, attributes, inputs.get(name, {}))
            if (node.kind in ENTITIES) != is_entity or number in hops:
                raise DocumentRefused(f"{name} is of the wrong kind, or its number is taken")
            hops[number] = (name, node)
            last = attributes if number == max(hops) else last
    if sorted(hops) != list(range(1, len(hops) + 1)):
        raise DocumentRefused("the hops are not numbered from 1 on")
    for number, (name, node) in sorted(hops.items()):
        if name != f"node:{node_id(node)}":
            raise DocumentRefused(f"node {number} is not what its id {name} is the hash of")
    _check_relations(document, dict(hops.values()))
    nodes = tuple(hops[number][1] for number in sorted(hops))
    if _integer(last.get("vm:version", "")) != VERSION:
        raise DocumentRefused("a version that is not known here; update the reader")
    graph = Graph(VERSION, _text(last.get("vm:answer", "")), nodes)
    try:
        checked, _ = read_graph(canonical.encode(graph))
    except canonical.NotCanonical as error:
        raise GraphRefused(str(error)) from error
    return ProvRecord(
        checked, _text(last.get("vm:statement", "")), _text(last.get("vm:signature", ""))
    )


def _document(record: ProvRecord) -> Document:
    nodes = record.graph.nodes
    parts: dict[str, dict[str, Record]] = {
        name: {}
        for name in ("entity", "activity", "agent", "wasAssociatedWith", *RELATIONS.values())
    }
    names = [f"node:{node_id(node)}" for node in nodes]
    node_of = dict(zip(names, nodes, strict=True))
    for number, (name, node) in enumerate(zip(names, nodes, strict=True), start=1):
        is_entity = node.kind in ENTITIES
        parts["entity" if is_entity else "activity"][name] = _write_node(number, node, is_entity)
        for place, used in enumerate(node.inputs, start=1):
            relation = RELATIONS[is_entity, node_of[f"node:{used}"].kind in ENTITIES]
            later, earlier = ENDS[relation]
            parts[relation][f"_:n{number}.{place}"] = {
                later: name,
                earlier: f"node:{used}",
                "vm:place": _long(place),
            }
        for agent, label in _agents(node):
            parts["agent"][agent] = {"prov:label": label, "prov:type": _name("prov:SoftwareAgent")}
            associated: Record = {"prov:activity": name, "prov:agent": agent}
            parts["wasAssociatedWith"][f"_:n{number}.{agent.partition(':')[2]}"] = associated
    parts["entity"][names[-1]] |= _about(record)
    document: Document = msgspec.convert({"prefix": dict(PREFIXES), **parts}, Document)
    return document


def _about(record: ProvRecord) -> Record:
    """Return what the answer's own entity says of the whole."""
    about: Record = {"vm:version": _long(record.graph.v), "vm:answer": record.graph.prov_id}
    if record.statement:
        about |= {"vm:statement": record.statement, "vm:signature": record.signature}
    return about


def _write_node(number: int, node: Node, is_entity: bool) -> Record:
    record: Record = {
        "prov:type": _name(f"vm:{node.kind}"),
        "prov:label": f"{node.kind} {title(node)}".rstrip(),
        "vm:number": _long(number),
        "vm:t0": _long(node.t0),
        "vm:t1": _long(node.t1),
    }
    if not is_entity and max(node.t0, node.t1) <= _TIME_MS_MAX:
        record |= {"prov:startTime": _calendar(node.t0), "prov:endTime": _calendar(node.t1)}
    if isinstance(node.commit, str):
        record["vm:commit"] = node.commit
    for name, value in node.attrs.items():
        record[f"attr:{_safe(name)}"] = _write_value(value)
    return record


def _agents(node: Node) -> Iterator[tuple[str, str]]:
    """Yield who had a part in an activity, by name and label: as far as the graph says it."""
    if node.kind in ENTITIES:
        return
    if is_reported(node):
        yield "agent:reporter", "the agent that reported it"
    if node.kind == "policy" and (bundle := word(node.attrs, "bundle")):
        yield f"agent:bundle.{_safe(bundle)}", f"policy bundle {bundle}"
    if provider := word(node.attrs, "provider"):
        yield f"agent:provider.{_safe(provider)}", f"provider {provider}"


def _read_inputs(document: Document) -> dict[str, dict[int, str]]:
    """Return for each hop its inputs by their place."""
    inputs: dict[str, dict[int, str]] = {}
    for relation, later, earlier, rest in document.relations():
        if relation == "wasAssociatedWith":
            continue
        place = _integer(rest.pop("vm:place", ""))
        if rest or place in inputs.setdefault(later, {}):
            raise DocumentRefused(f"a relation of {later} says more, or stands twice")
        inputs[later][place] = earlier
    return inputs


def _check_relations(document: Document, nodes: Mapping[str, Node]) -> None:
    for relation, later, earlier, _ in document.relations():
        if relation == "wasAssociatedWith":
            continue
        if later not in nodes or earlier not in nodes:
            raise DocumentRefused(f"{relation} between things that are not here")
        kinds = nodes[later].kind in ENTITIES, nodes[earlier].kind in ENTITIES
        if RELATIONS[kinds] != relation:
            raise DocumentRefused(f"{relation} does not fit what it relates")


def _read_node(name: str, record: Record, inputs: Mapping[int, str]) -> tuple[int, Node]:
    kind = record.get("prov:type")
    if not isinstance(kind, Typed) or kind.type not in NAME_TYPES:
        raise DocumentRefused(f"{name} has no prov:type of this mapping")
    spelled = str(kind.value).removeprefix("vm:")
    if f"vm:{spelled}" != kind.value or spelled not in _KINDS:
        raise DocumentRefused(f"{name} has no prov:type of this mapping")
    if sorted(inputs) != list(range(1, len(inputs) + 1)):
        raise DocumentRefused(f"the inputs of {name} are not in a known order")
    attrs: dict[str, Attribute] = {}
    for key, value in record.items():
        prefix, _, local = key.partition(":")
        if prefix == "attr":
            attrs[_unsafe_name(local)] = _read_value(value)
        elif key not in _ADDED and not (prefix == "vm" and local in _OWN | _PROOF):
            raise DocumentRefused(f"{name} has {key}, which is not of this mapping")
    commit = record.get("vm:commit", UNSET)
    node = Node(
        v=VERSION,
        kind=cast("HopKind", spelled),
        inputs=tuple(inputs[place].removeprefix("node:") for place in sorted(inputs)),
        attrs=attrs,
        t0=_integer(record.get("vm:t0", "")),
        t1=_integer(record.get("vm:t1", "")),
        commit=UNSET if commit is UNSET else _text(commit),
    )
    return _integer(record.get("vm:number", "")), node


def _write_value(value: Attribute) -> Value:
    if isinstance(value, bool):
        return Typed("true" if value else "false", "xsd:boolean")
    return value if isinstance(value, str) else _long(value)


def _read_value(value: Values) -> Attribute:
    if isinstance(value, bool):
        return value
    if isinstance(value, Typed) and value.type == "xsd:boolean":
        if value.value in ("true", "false", True, False):
            return value.value in ("true", True)
        raise DocumentRefused(f"{value.value!r} is neither true nor false")
    return value if isinstance(value, str) else _integer(value)


def _integer(value: Values) -> int:
    """Read an integer; tools spell it as a number, or as a text with its type."""
    if isinstance(value, Typed) and value.type in _INTEGER_TYPES and not value.lang:
        value = value.value if isinstance(value.value, int) else str(value.value)
        if isinstance(value, str) and _whole(value):
            return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise DocumentRefused(f"{value!r} is no integer")


def _text(value: Values) -> str:
    if isinstance(value, Typed) and value.type == "xsd:string":
        value = value.value
    if isinstance(value, str):
        return value
    raise DocumentRefused(f"{value!r} is no text")


def _long(number: int) -> Typed:
    return Typed(str(number), "xsd:long")


def _name(name: str) -> Typed:
    return Typed(name, QUALIFIED_NAME)


def _calendar(time_ms: int) -> str:
    moment = datetime.fromtimestamp(time_ms // 1_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ms % 1_000:03d}Z"


def _safe(name: str) -> str:
    """Spell any name as the local part of a qualified name."""
    return _unsafe.sub(_escape, name) or _EMPTY


def _escape(found: re.Match[str]) -> str:
    return "".join(f"%{octet:02X}" for octet in found[0].encode("utf-8"))


def _unsafe_name(local: str) -> str:
    """Undo `_safe`; other spellings of a name are refused."""
    plain = "" if local == _EMPTY else _escaped.sub(lambda found: chr(int(found[1], 16)), local)
    if _safe(plain) != local:
        raise DocumentRefused(f"attr:{local} is not the spelling of a name")
    return plain
