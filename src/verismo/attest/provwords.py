"""What a hop says about itself in a few words, for people who read a graph.

Attributes are other people's text: whatever a terminal or a viewer might obey becomes `?` here, so
that no renderer has to think of it. Each renderer still quotes for its own syntax.
"""

from collections.abc import Callable, Mapping
from typing import Final

from verismo.attest.provenance import Node
from verismo.model.hop import Attribute, HopKind

_MS_PER_S: Final = 1_000
_MS_PER_MIN: Final = 60_000
_MS_PER_H: Final = 3_600_000
_MICROS_PER_USD: Final = 1_000_000
_STATUS_FAILED: Final = 400

COST: Final = "cost_usd_micros"
REPORTED: Final = "reported"
PROV_ID: Final = "prov_id"
_INPUT_TOKENS: Final = "input_tokens"
_OUTPUT_TOKENS: Final = "output_tokens"
_NAMES: Final[Mapping[HopKind, tuple[str, ...]]] = {
    "model": ("answered_by", "model", "name"),
    "tool": ("tool", "name", "deployment", "model", "agent"),
    "retrieval": ("data_source", "name"),
    "source": ("uri", "name"),
    "transform": ("agent", "workflow", "name"),
    "approval": ("decision", "by", "name"),
    "cache": ("state",),
}


def title(node: Node) -> str:
    """Return what a hop is about: a path, a model, a document, a decision; empty if it says none.

    Args:
        node: a hop as it stands in a graph.
    """
    return _SPELL.get(node.kind, _named)(node)


def facts(node: Node) -> tuple[str, ...]:
    """Return what a hop took and cost, and what went wrong, each as a short text.

    Args:
        node: a hop as it stands in a graph.
    """
    found = [spell_ms(node.t1 - node.t0)] if node.t1 > node.t0 else []
    cost, octets = whole(node.attrs, COST), whole(node.attrs, "octets")
    if cost is not None:
        found.append(spell_usd(cost))
    found += tokens(node.attrs)
    if octets is not None:
        found.append(f"{octets:,} octets")
    if node.kind in ("model", "tool"):
        found += _trouble(node)
    refused = whole(node.attrs, "hops_refused")
    if refused:
        found.append(f"{refused:,} hops refused")
    return tuple(found)


def has_failed(node: Node) -> bool:
    """Say whether a hop records a refusal, an error or a failed try."""
    if node.attrs.get("decision") == "deny" or "error" in node.attrs:
        return True
    return (whole(node.attrs, "status") or 0) >= _STATUS_FAILED


def is_reported(node: Node) -> bool:
    """Say whether an agent reported a hop; the gateway did not see it happen."""
    return node.attrs.get(REPORTED) is True


def marks(node: Node) -> tuple[str, ...]:
    """Return what has to be seen at once: `reported`, `failed`, both or nothing."""
    seen = (("reported", is_reported(node)), ("failed", has_failed(node)))
    return tuple(mark for mark, holds in seen if holds)


def tokens(attrs: Mapping[str, Attribute]) -> list[str]:
    """Return the token counts of a hop as one text, or nothing where it states none."""
    taken, given = whole(attrs, _INPUT_TOKENS), whole(attrs, _OUTPUT_TOKENS)
    if taken is None and given is None:
        return []
    return [f"{taken or 0:,} in, {given or 0:,} out"]


def spell_ms(duration_ms: int) -> str:
    """Spell a duration: `310 ms`, `1.24 s`, `2 min 05 s`, `1 h 02 min`."""
    if duration_ms < 0:
        return f"-{spell_ms(-duration_ms)}"
    if duration_ms < _MS_PER_S:
        return f"{duration_ms} ms"
    if duration_ms < _MS_PER_MIN:
        return f"{duration_ms // _MS_PER_S}.{duration_ms % _MS_PER_S // 10:02d} s"
    if duration_ms < _MS_PER_H:
        minutes, rest_ms = divmod(duration_ms, _MS_PER_MIN)
        return f"{minutes} min {rest_ms // _MS_PER_S:02d} s"
    hours, rest_ms = divmod(duration_ms, _MS_PER_H)
    return f"{hours:,} h {rest_ms // _MS_PER_MIN:02d} min"


def spell_usd(micros: int) -> str:
    """Spell money with as many decimals as it has, two at least: `$0.0031`."""
    dollars, rest = divmod(abs(micros), _MICROS_PER_USD)
    cents = f"{rest:06d}".rstrip("0").ljust(2, "0")
    return f"{'-' if micros < 0 else ''}${dollars:,}.{cents}"


def plain(text: str) -> str:
    """Return a text with everything that does not print replaced by `?`: no escapes, no bidi."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def whole(attrs: Mapping[str, Attribute], name: str) -> int | None:
    """Return an attribute that is an integer; True and False are none."""
    value = attrs.get(name)
    return None if value is None or isinstance(value, bool | str) else value


def word(attrs: Mapping[str, Attribute], name: str) -> str:
    """Return an attribute as printable text; empty if there is none."""
    value = attrs.get(name)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else plain(str(value))


def _trouble(node: Node) -> list[str]:
    if error := word(node.attrs, "error"):
        return [error]
    status = whole(node.attrs, "status")
    return [f"status {status}"] if status is not None and status >= _STATUS_FAILED else []


def _named(node: Node) -> str:
    found = (word(node.attrs, name) for name in _NAMES.get(node.kind, ("name",)))
    return next((text for text in found if text), "")


def _tool(node: Node) -> str:
    if node.attrs.get("referenced") is True:
        return f"call {word(node.attrs, PROV_ID)}, not joined for its size"
    return _named(node)


def _request(node: Node) -> str:
    return f"{word(node.attrs, 'method')} {word(node.attrs, 'path')}".strip()


def _response(node: Node) -> str:
    words = (word(node.attrs, name) for name in ("status", "code", "end"))
    return " ".join(text for text in words if text)


def _policy(node: Node) -> str:
    decision, reasons = word(node.attrs, "decision"), word(node.attrs, "reasons")
    return f"{decision}: {reasons}" if reasons else decision


def _budget(node: Node) -> str:
    reserved = whole(node.attrs, "reserved_usd_micros")
    return _named(node) if reserved is None else f"reserved {spell_usd(reserved)}"


def _route(node: Node) -> str:
    arm, candidates = word(node.attrs, "arm"), whole(node.attrs, "candidates")
    weight_ppm = whole(node.attrs, "weight_ppm")
    if weight_ppm is not None:
        arm = f"{arm} of a rollout at {weight_ppm / 10_000:g} %"
    return arm if candidates is None else f"{arm}, {candidates} to choose from".lstrip(", ")


def _transform(node: Node) -> str:
    gathers = whole(node.attrs, "gathers")
    if gathers is not None:
        return f"gathers {gathers}"
    start, end = word(node.attrs, "from"), word(node.attrs, "to")
    return f"{start} to {end}" if start and end else _named(node)


_SPELL: Final[Mapping[HopKind, Callable[[Node], str]]] = {
    "request": _request,
    "response": _response,
    "policy": _policy,
    "budget": _budget,
    "route": _route,
    "transform": _transform,
    "tool": _tool,
}
