"""A graph as an SVG picture: no scripts, no outside references, each hop a link with a title.

Attributes are foreign text: they are escaped, never part of an address or a style, and what does
not print is gone before. The one style sheet has fixed content, so that a Content-Security-Policy
can name its digest; where a policy forbids it the picture stands by its presentation attributes, in
the light colours. The root is a document, not an image, for assistive software: an image would hide
its links.

Source: SVG 2; WAI-ARIA Graphics Module 1.0; ADR-027.
"""

import hashlib
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import accumulate, pairwise
from typing import Final
from unicodedata import east_asian_width

from verismo.attest.provenance import Node
from verismo.attest.provframes import FRAME_TITLE, Drawing, Frame, draw_frames
from verismo.attest.provshapes import FAMILIES, ICONS, Family, outline
from verismo.attest.provtracks import Point
from verismo.attest.provtree import call_facts, call_title
from verismo.attest.provview import View
from verismo.attest.provwords import facts, has_failed, is_reported, marks, plain, title, word
from verismo.model.hop import HopKind
from verismo.model.units import moment_utc

MEDIA: Final = "image/svg+xml"
HOP_WIDTH: Final = 208
HOP_HEIGHT: Final = 56
_MARGIN: Final = 24
_HEAD_HEIGHT: Final = 64
_WIDTH_MIN: Final = 640
_TITLE_CELLS: Final = 28
_FACTS_CELLS: Final = 31
_FRAME_CELL_WIDTH: Final = 7
_LEGEND_WIDTH: Final = 124
_LEGEND_HEIGHT: Final = 24
_SENTENCE_WIDTH: Final = 300
_FACT: Final = 'font-family="ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace"'
_ARROW: Final = "l-4 -7h8z"
_ROUND: Final = 6
"""Radius of the corners of edges."""
_STROKES: Final[Mapping[Family, str]] = {
    "edge": "#1f2328",
    "rule": "#6639ba",
    "memory": "#57606a",
    "knowledge": "#1a7f37",
    "work": "#0550ae",
}
_DARK: Final[Mapping[Family, str]] = {
    "edge": "#f0f6fc",
    "rule": "#c297ff",
    "memory": "#9198a1",
    "knowledge": "#57d364",
    "work": "#79c0ff",
}
_DARK_STROKES: Final = "".join(f".{name}{{stroke:{colour}}}" for name, colour in _DARK.items())
STYLE: Final = (
    "a:hover .shape,a:focus .shape,a:target .shape{stroke-width:3}a:focus{outline:none}"
    "@media (prefers-color-scheme:dark){"
    ".paper{fill:#0d1117}.shape{fill:#161b22}.frame{fill:#11161d;stroke:#6e7681}"
    ".words{fill:#f0f6fc}.lines{stroke:#8b949e}.tips{fill:#8b949e}"
    f"{_DARK_STROKES}.wrong{{stroke:#ff7b72}}"
    "}"
)
STYLE_SHA256: Final = b64encode(hashlib.sha256(STYLE.encode("ascii")).digest()).decode("ascii")
POLICY: Final = f"default-src 'none'; style-src 'sha256-{STYLE_SHA256}'; base-uri 'none'"
"""The Content-Security-Policy under which the picture is whole: it may load and run nothing."""


def write_svg(view: View, call_link: str = "") -> bytes:
    """Return the picture of a graph.

    Args:
        view: as `view_graph` returns it.
        call_link: what follows the prov_id of a joined call in the address of its own picture,
            such as `?format=svg`; the address is relative to this one's. Empty for no such links.

    Returns:
        An SVG document, UTF-8.
    """
    drawing = draw_frames(view, HOP_WIDTH, HOP_HEIGHT)
    kinds = tuple(kind for kind in ICONS if any(node.kind == kind for node in view.nodes))
    width = max(drawing.width, _WIDTH_MIN) + 2 * _MARGIN
    legend = _legend(view, kinds, width, _HEAD_HEIGHT + drawing.height + 2 * _MARGIN)
    height = _HEAD_HEIGHT + drawing.height + 3 * _MARGIN + _legend_height(view, kinds, width)
    left = (width - drawing.width) // 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="graphics-document document" '
        'aria-labelledby="prov-title prov-about" lang="en" font-family="system-ui, sans-serif" '
        'font-size="11">',
        f'<title id="prov-title">Provenance of {escape(view.prov_id)}</title>',
        f'<desc id="prov-about">{escape(_about(view))}</desc>',
        f"<style>{STYLE}</style>",
        _symbols(kinds),
        f'<rect class="paper" width="{width}" height="{height}" fill="#ffffff"/>',
        _head(view),
        f'<g transform="translate({left} {_HEAD_HEIGHT})">',
        *(_frame(view, frame, call_link) for frame in drawing.frames),
        _lines(drawing),
        *(_hop(view, hop, drawing.corners[hop]) for hop in range(len(view.nodes))),
        "</g>",
        legend,
        "</svg>",
    ]
    return "\n".join(parts).encode("utf-8")


def _about(view: View) -> str:
    """Return the whole in one sentence, for who does not see it."""
    answer = len(view.nodes) - 1
    joined = len(view.calls) - 1
    calls = [f"{joined} joined call{'s' if joined > 1 else ''}"] if joined else []
    reported = sum(map(is_reported, view.nodes))
    told = [f"{reported} reported by the agent"] if reported else []
    count = len(view.nodes)
    words = [f"{count} hop{'s' if count > 1 else ''}", *calls, *told]
    began = moment_utc(view.nodes[0].t0)
    return " · ".join([call_title(view, answer), began, *call_facts(view, answer), *words])


def _head(view: View) -> str:
    return (
        '<g class="words" fill="#1f2328">'
        f'<text font-size="15" font-weight="600" x="{_MARGIN}" y="28">Provenance of '
        f"{escape(view.prov_id)}</text>"
        f'<text x="{_MARGIN}" y="47">{escape(_about(view))}</text></g>'
    )


def _symbols(kinds: Sequence[HopKind]) -> str:
    symbols = (
        f'<symbol id="icon-{kind}" viewBox="-1 -1 16 16"><path d="{ICONS[kind]}"/></symbol>'
        for kind in kinds
    )
    return f"<defs>{''.join(symbols)}</defs>"


def _frame(view: View, frame: Frame, call_link: str) -> str:
    call = view.calls[frame.response]
    name = f"call {call.prov_id}" if call.prov_id else "call without an id"
    words = " · ".join([call_title(view, frame.response), *call_facts(view, frame.response)])
    cells = (frame.width - 24) // _FRAME_CELL_WIDTH
    # The first digits of a prov_id are a time, which calls of one run share.
    short = f"call {call.prov_id[:8]}…{call.prov_id[-12:]}" if call.prov_id else name
    seen = _cut(f"{name} · {words}" if cells > len(name) else short, cells)
    # A prov_id is hexadecimal digits and hyphens: nothing of it can lead elsewhere.
    is_linked = bool(call_link and call.prov_id)
    target = f"{call.prov_id}{call_link}" if is_linked else f"#call-{frame.response + 1}"
    return (
        f'<a id="call-{frame.response + 1}" href="{escape(target)}">'
        f"<title>{escape(f'{name} · {words}')}</title>"
        f'<rect class="frame shape" x="{frame.x}" y="{frame.y}" width="{frame.width}" '
        f'height="{frame.height}" rx="8" fill="#f6f8fa" stroke="#57606a"/>'
        f'<text class="words" font-weight="600" x="{frame.x + 12}" y="{frame.y + FRAME_TITLE - 9}" '
        f'fill="#1f2328">{escape(seen)}</text></a>'
    )


def _lines(drawing: Drawing) -> str:
    """Draw each piece of an edge once, however many edges share it."""
    pieces = {piece for points in drawing.routes.values() for piece in _pieces(points)}
    tips = sorted({points[-1] for points in drawing.routes.values()})
    path = "".join(sorted(pieces))
    heads = "".join(f"M{x} {y}{_ARROW}" for x, y in tips)
    return (
        f'<path class="lines" d="{path}" fill="none" stroke="#6e7781" stroke-width="1.3"/>'
        f'<path class="tips" d="{heads}" fill="#6e7781"/>'
    )


def _pieces(points: Sequence[Point]) -> Iterator[str]:
    """Return a way piece by piece; a corner is round, so that it shows where its edge leads."""
    begin = points[0]
    for at, following in pairwise(points[1:]):
        if (begin[0] == at[0]) == (at[0] == following[0]):
            yield _straight(begin, at)
            begin = at
            continue
        before, behind = _towards(at, begin), _towards(at, following)
        yield _straight(begin, before)
        yield f"M{before[0]} {before[1]}Q{at[0]} {at[1]} {behind[0]} {behind[1]}"
        begin = behind
    yield _straight(begin, points[-1])


def _towards(at: Point, other: Point) -> Point:
    """Return where the corner at one point ends on the way to another, at most half of it."""
    (x, y), (to_x, to_y) = at, other
    if x == to_x:
        return x, y + max(-_ROUND, min(_ROUND, int((to_y - y) / 2)))
    return x + max(-_ROUND, min(_ROUND, int((to_x - x) / 2))), y


def _straight(start: Point, end: Point) -> str:
    if start == end:
        return ""
    x, y = start
    return f"M{x} {y}V{end[1]}" if x == end[0] else f"M{x} {y}H{end[0]}"


def _hop(view: View, position: int, corner: Point) -> str:
    node = view.nodes[position]
    x, y = corner
    family = FAMILIES[node.kind]
    is_wrong = has_failed(node)
    stroke = "#cf222e" if is_wrong else _STROKES[family]
    dashes = ' stroke-dasharray="5 3"' if is_reported(node) else ""
    weight = ' stroke-width="2"' if is_wrong else ""
    name = " · ".join((node.kind, *marks(node)))
    words = _fact(x + 12, y + 34, 11, _cut(title(node), _TITLE_CELLS))
    words += _fact(x + 12, y + 48, 10, _cut(" · ".join(facts(node)), _FACTS_CELLS))
    return (
        f'<a id="hop-{position + 1}" href="#hop-{position + 1}" '
        f'aria-label="{escape(_spoken(view, position))}"><title>{escape(_full(view, position))}'
        f'</title><g class="{"wrong" if is_wrong else family}" fill="none" stroke="{stroke}">'
        f'<path class="shape" d="{outline(node.kind, x, y, HOP_WIDTH, HOP_HEIGHT)}" '
        f'fill="#ffffff" fill-rule="nonzero"{dashes}{weight}/>'
        f'<use href="#icon-{node.kind}" x="{x + 12}" y="{y + 7}" width="14" height="14"/></g>'
        f'<g class="words" fill="#1f2328"><text font-weight="600" x="{x + 31}" y="{y + 18}">{name}'
        f'</text><text x="{x + HOP_WIDTH - 16}" y="{y + 18}" text-anchor="end">{position + 1}'
        f"</text>{words}</g></a>"
    )


def _fact(x: int, y: int, size: int, text: str) -> str:
    return f'<text x="{x}" y="{y}" {_FACT} font-size="{size}">{escape(text)}</text>' if text else ""


def _spoken(view: View, position: int) -> str:
    """Return what a hop is and what it uses, in words."""
    node = view.nodes[position]
    used = view.inputs[position]
    uses = f"uses {', '.join(str(one + 1) for one in used)}" if used else "uses nothing"
    words = (f"{position + 1} {node.kind}", *marks(node), title(node), *facts(node), uses)
    return ", ".join(text for text in words if text)


def _full(view: View, position: int) -> str:
    """Return everything that a hop says, line by line."""
    node = view.nodes[position]
    lines = [f"{position + 1} {node.kind}", f"{moment_utc(node.t0)} to {moment_utc(node.t1)}"]
    lines += [f"{plain(name)}: {word(node.attrs, name)}" for name in sorted(node.attrs)]
    if commitment := _commitment(node):
        lines.append(f"commit: {commitment}")
    return "\n".join([*lines, f"id: {view.ids[position]}"])


def _commitment(node: Node) -> str:
    return node.commit if isinstance(node.commit, str) else ""


def _sentences(view: View) -> list[str]:
    said = ["An arrow leads from what was used to what used it."]
    if any(map(is_reported, view.nodes)):
        said.append("Dashed: reported by the agent, not seen.")
    if len(view.calls) > 1:
        said.append("Frame: a joined call with a proof of its own.")
    if any(map(has_failed, view.nodes)):
        said.append("Bold, “failed”: refused, or in error.")
    return said


def _columns(width: int, wanted: int) -> int:
    return max(1, (width - 2 * _MARGIN) // wanted)


def _legend_height(view: View, kinds: Sequence[HopKind], width: int) -> int:
    rows = -(-len(kinds) // _columns(width, _LEGEND_WIDTH))
    rows += -(-len(_sentences(view)) // _columns(width, _SENTENCE_WIDTH))
    return rows * _LEGEND_HEIGHT


def _legend(view: View, kinds: Sequence[HopKind], width: int, top: int) -> str:
    across = _columns(width, _LEGEND_WIDTH)
    parts = ['<g class="legend" aria-hidden="true">']
    for index, kind in enumerate(kinds):
        x = _MARGIN + index % across * _LEGEND_WIDTH
        y = top + index // across * _LEGEND_HEIGHT
        family = FAMILIES[kind]
        parts.append(
            f'<g class="{family}" fill="none" stroke="{_STROKES[family]}">'
            f'<use href="#icon-{kind}" x="{x}" y="{y}" width="14" height="14"/></g>'
            f'<text class="words" x="{x + 20}" y="{y + 11}" fill="#1f2328">{kind}</text>'
        )
    top += -(-len(kinds) // across) * _LEGEND_HEIGHT
    across = _columns(width, _SENTENCE_WIDTH)
    for index, sentence in enumerate(_sentences(view)):
        x = _MARGIN + index % across * _SENTENCE_WIDTH
        y = top + index // across * _LEGEND_HEIGHT + 11
        parts.append(f'<text class="words" x="{x}" y="{y}" fill="#1f2328">{sentence}</text>')
    return "".join([*parts, "</g>"])


def _cut(text: str, cells: int) -> str:
    """Cut a text to what fits into some cells of a fixed-width font."""
    widths = [2 if east_asian_width(character) in "WF" else 1 for character in text]
    if sum(widths) <= cells:
        return text
    ends = accumulate(widths)
    fitting = sum(1 for end in ends if end < cells)
    return text[:fitting] + "…"
