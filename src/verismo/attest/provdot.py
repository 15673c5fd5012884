"""A graph in the DOT language of Graphviz, for who wants to lay it out or change it otherwise.

Every text is a quoted string in which nothing means anything to Graphviz: no escapes of its labels,
no character entities, no HTML.

Source: graphviz.org, "DOT Language" and "escString".
"""

from collections.abc import Mapping
from typing import Final

from verismo.attest.provtree import call_facts, call_title
from verismo.attest.provview import View
from verismo.attest.provwords import facts, has_failed, is_reported, marks, plain, title
from verismo.model.hop import HopKind

MEDIA: Final = "text/vnd.graphviz"
_SHAPES: Final[Mapping[HopKind, str]] = {
    "request": "ellipse",
    "response": "ellipse",
    "policy": "octagon",
    "budget": "octagon",
    "approval": "octagon",
    "cache": "cylinder",
    "route": "diamond",
    "transform": "parallelogram",
    "retrieval": "folder",
    "source": "note",
    "model": "component",
    "tool": "box",
}


def write_dot(view: View) -> bytes:
    """Return a graph as a DOT document, UTF-8: joined calls are clusters, hops `n1`, `n2`, ...

    Args:
        view: as `view_graph` returns it.
    """
    answer = view.answer
    lines = [
        "digraph provenance {",
        f"  label={quoted(f'Provenance of {view.prov_id}')};",
        "  labelloc=t;",
        '  node [fontname="sans-serif", fontsize=10];',
    ]
    inside: dict[int, list[int]] = {}
    for response, call in view.calls.items():
        if response != answer.response:
            inside.setdefault(call.parent, []).append(response)
    # A call is opened, its hops are written, then the calls inside; then it is closed.
    waiting: list[tuple[int, bool]] = [(answer.response, False)]
    depth = 1
    while waiting:
        response, is_closed = waiting.pop()
        if is_closed:
            depth -= 1
            lines.append(f"{'  ' * depth}}}")
            continue
        if response != answer.response:
            lines += _opened(view, response, depth)
            depth += 1
            waiting.append((response, True))
        lines += [f"{'  ' * depth}{_hop(view, hop)}" for hop in view.calls[response].hops]
        waiting += [(below, False) for below in reversed(inside.get(response, []))]
    lines += [
        f"  n{used + 1} -> n{user + 1};"
        for user, all_used in enumerate(view.inputs)
        for used in all_used
    ]
    return "\n".join([*lines, "}", ""]).encode("utf-8")


def quoted(text: str) -> str:
    """Return a text as a DOT string that stands for exactly its printable characters."""
    escaped = plain(text).replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _opened(view: View, response: int, depth: int) -> list[str]:
    call = view.calls[response]
    words = [f"call {call.prov_id}".rstrip(), call_title(view, response)]
    label = quoted(" · ".join([*words, *call_facts(view, response)]))
    indent = "  " * depth
    return [f"{indent}subgraph cluster_{response + 1} {{", f"{indent}  label={label};"]


def _hop(view: View, position: int) -> str:
    node = view.nodes[position]
    name = " · ".join([f"{position + 1} {node.kind}", *marks(node)])
    words = [text for text in (name, title(node), " · ".join(facts(node))) if text]
    # `\n` begins a new line of the label: it is ours, those of the texts are gone.
    label = "\\n".join(quoted(text)[1:-1] for text in words)
    style = "dashed" if is_reported(node) else "bold" if has_failed(node) else "solid"
    tooltip = quoted(view.ids[position])
    return (
        f'n{position + 1} [label="{label}", shape={_SHAPES[node.kind]}, style={style}, '
        f"tooltip={tooltip}];"
    )
