"""A graph as a tree of text lines for the terminal.

A graph is no tree: a hop that several others use is shown once, beneath the first of them, and the
others name its number. The spine of a call is a flat list, since its hops follow one another.
"""

from typing import Final

import msgspec

from verismo.attest.provview import View
from verismo.attest.provwords import (
    COST,
    facts,
    marks,
    spell_ms,
    spell_usd,
    title,
    tokens,
    whole,
)

_BRANCH: Final = "├─ "
_LAST: Final = "└─ "
_DOWN: Final = "│  "
_SPACE: Final = "   "
_TITLE_CHARS_MAX: Final = 60


class Line(msgspec.Struct, frozen=True):
    """One line of the tree: a hop, or the heading of a call.

    Args:
        number: of the hop in the graph, from 1; 0 for the heading of a call.
        branches: the lines that lead to it from its parent.
        label: kind and title, or what call it is.
        offset_ms: how long after the answer's request it began.
        facts: what it took and cost, and what it refers to.
        marks: `reported` for a hop that the gateway did not see; `failed` for a refusal, an error
            or a failed try.
    """

    number: int
    branches: str
    label: str
    offset_ms: int
    facts: tuple[str, ...]
    marks: tuple[str, ...] = ()


class _Place(msgspec.Struct, frozen=True):
    """What is to be shown next: a hop or a call, below which branches, as the last or not."""

    position: int
    is_call: bool
    stem: str
    is_last: bool


def draw_tree(view: View) -> tuple[Line, ...]:
    """Return the lines of a graph's tree; the first one is the answer.

    Args:
        view: as `view_graph` returns it.
    """
    began_ms = view.nodes[0].t0
    lines: list[Line] = []
    answer = len(view.nodes) - 1
    waiting = [_Place(answer, True, "", True)]
    while waiting:
        place = waiting.pop()
        is_top = place.is_call and place.position == answer
        joint = "" if is_top else (_LAST if place.is_last else _BRANCH)
        stem = "" if is_top else place.stem + (_SPACE if place.is_last else _DOWN)
        line = _heading if place.is_call else _hop
        lines.append(line(view, place.position, place.stem + joint, began_ms))
        below = _below(view, place, stem)
        waiting.extend(reversed(below))
    return tuple(lines)


def lay_out(lines: tuple[Line, ...]) -> str:
    """Return a tree as text in columns.

    Args:
        lines: as `draw_tree` returns them.
    """
    labels = [f"{line.branches}{_cut(line.label)}" for line in lines]
    width = max(map(len, labels))
    # What led to a seal at the client's wish began before it.
    offsets = [f"{'+' if line.offset_ms >= 0 else ''}{spell_ms(line.offset_ms)}" for line in lines]
    across = max(map(len, offsets))
    rows = zip(lines, labels, offsets, strict=True)
    return "\n".join(
        f"{line.number or '':>4}  {label:{width}}  {offset:>{across}}  "
        f"{'  '.join((*line.facts, *line.marks))}".rstrip()
        for line, label, offset in rows
    )


def call_facts(view: View, response: int) -> tuple[str, ...]:
    """Return what a call took and cost as a whole: time, money, tokens.

    Args:
        view: the graph.
        response: position of the call's response.
    """
    node = view.nodes[response]
    began_ms = view.nodes[view.calls[response].hops[0]].t0
    own, cost = whole(node.attrs, COST), view.calls[response].cost_usd_micros
    money = [] if cost is None else [spell_usd(cost) + ("" if cost == own else " with its calls")]
    return (spell_ms(node.t1 - began_ms), *money, *tokens(node.attrs))


def call_title(view: View, response: int) -> str:
    """Return what a call was: method and path of its request, status of its response."""
    call = view.calls[response]
    first, last = view.nodes[call.hops[0]], view.nodes[response]
    asked = title(first) if first.kind == "request" else ""
    return " ".join(text for text in (asked, title(last)) if text)


def _below(view: View, place: _Place, stem: str) -> list[_Place]:
    """Return what stands beneath a hop, or the spine of a call."""
    calls = view.calls
    if place.is_call:
        below = calls[place.position].spine
        return [_Place(hop, False, stem, hop == below[-1]) for hop in below]
    below = view.beneath[place.position]
    return [_Place(hop, hop in calls, stem, hop == below[-1]) for hop in below]


def _heading(view: View, response: int, branches: str, began_ms: int) -> Line:
    call = view.calls[response]
    name = "answer" if response == call.parent else "call"
    label = f"{name} {call.prov_id or 'without an id'}"
    offset_ms = view.nodes[call.hops[0]].t0 - began_ms
    words = (call_title(view, response), *call_facts(view, response))
    return Line(0, branches, label, offset_ms, words)


def _hop(view: View, position: int, branches: str, began_ms: int) -> Line:
    node = view.nodes[position]
    words = list(facts(node))
    referred = _referred(view, position)
    if referred:
        words.append(f"uses {', '.join(str(used + 1) for used in referred)}")
    label = f"{node.kind:9} {title(node)}".rstrip()
    return Line(position + 1, branches, label, node.t0 - began_ms, tuple(words), marks(node))


def _referred(view: View, position: int) -> list[int]:
    """Return the inputs that the hop's place in the tree does not show."""
    shown = set(view.beneath[position])
    spine = view.calls[view.owner[position]].spine
    if position in spine and position != spine[0]:
        shown.add(spine[spine.index(position) - 1])
    return sorted(set(view.inputs[position]) - shown)


def _cut(text: str) -> str:
    return text if len(text) <= _TITLE_CHARS_MAX else text[: _TITLE_CHARS_MAX - 1] + "…"
