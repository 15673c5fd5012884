"""What the picture of a hop is made of: an outline and an icon for each kind, as SVG path data.

A kind is told by its label, its outline and its icon, never by colour alone.
"""

from collections.abc import Callable, Mapping
from typing import Final, Literal

from verismo.model.hop import HopKind

Family = Literal["edge", "rule", "memory", "knowledge", "work"]

FAMILIES: Final[Mapping[HopKind, Family]] = {
    "request": "edge",
    "response": "edge",
    "policy": "rule",
    "budget": "rule",
    "approval": "rule",
    "cache": "memory",
    "route": "memory",
    "transform": "memory",
    "retrieval": "knowledge",
    "source": "knowledge",
    "model": "work",
    "tool": "work",
}
"""Which colour a kind has; the colours only repeat what the outline says."""

ICONS: Final[Mapping[HopKind, str]] = {
    "request": "M1 7h8M6 4l3 3-3 3M13 2v10",
    "response": "M13 7H5M8 4L5 7l3 3M1 2v10",
    "policy": "M7 1l5 2v4c0 3-2 5-5 6-3-1-5-3-5-6V3z",
    "budget": "M7 1a6 6 0 1 0 0 12a6 6 0 1 0 0-12M9 5H6a1 1 0 0 0 0 2h2a1 1 0 0 1 0 2H5M7 3v8",
    "approval": "M7 1a6 6 0 1 0 0 12a6 6 0 1 0 0-12M4 7l2 2.5L10 5",
    "cache": "M2 3c0-1.4 10-1.4 10 0v8c0 1.4-10 1.4-10 0zM2 3c0 1.4 10 1.4 10 0",
    "route": "M7 13V8L2 2M7 8l5-6M2 5V2h3M12 5V2H9",
    "transform": "M1 4h11M9 1l3 3-3 3M13 10H2M5 7l-3 3 3 3",
    "retrieval": "M6 2a4 4 0 1 0 0 8a4 4 0 1 0 0-8M9 9l4 4",
    "source": "M3 1h5l3 3v9H3zM8 1v3h3M5 7h4M5 10h4",
    "model": "M4 4h6v6H4zM5.5 4V1M8.5 4V1M5.5 13v-3M8.5 13v-3M1 5.5h3M1 8.5h3M10 5.5h3M10 8.5h3",
    "tool": "M2 5l3-3 4 4-3 3zM7.5 7.5L13 13",
}
"""Path data within 14 x 14, to be stroked."""


def outline(kind: HopKind, x: int, y: int, width: int, height: int) -> str:
    """Return the path data of a kind's outline, within a box.

    Args:
        kind: of the hop.
        x: the box's left side.
        y: the box's upper side.
        width: of the box, at least 40.
        height: of the box, at least 40.
    """
    return _OUTLINES[kind](x, y, width, height)


def _rounded(x: int, y: int, width: int, height: int, radius: int) -> str:
    across, down = width - 2 * radius, height - 2 * radius
    turn = f"a{radius} {radius} 0 0 1"
    return (
        f"M{x + radius} {y}h{across}{turn} {radius} {radius}v{down}{turn} -{radius} {radius}"
        f"h-{across}{turn} -{radius} -{radius}v-{down}{turn} {radius} -{radius}z"
    )


def _pill(x: int, y: int, width: int, height: int) -> str:
    return _rounded(x, y, width, height, 20)


def _plain(x: int, y: int, width: int, height: int) -> str:
    return _rounded(x, y, width, height, 3)


def _double(x: int, y: int, width: int, height: int) -> str:
    inner = _rounded(x + 3, y + 3, width - 6, height - 6, 6)
    return _rounded(x, y, width, height, 9) + inner


def _barred(x: int, y: int, width: int, height: int) -> str:
    bars = f"M{x + 6} {y}v{height}M{x + width - 6} {y}v{height}"
    return f"M{x} {y}h{width}v{height}h-{width}z{bars}"


def _cut(x: int, y: int, width: int, height: int) -> str:
    cut = 10
    across, down = width - 2 * cut, height - 2 * cut
    return (
        f"M{x + cut} {y}h{across}l{cut} {cut}v{down}l-{cut} {cut}h-{across}l-{cut} -{cut}v-{down}z"
    )


def _page(x: int, y: int, width: int, height: int) -> str:
    fold = 13
    return (
        f"M{x} {y}h{width - fold}l{fold} {fold}v{height - fold}h-{width}z"
        f"M{x + width - fold} {y}v{fold}h{fold}"
    )


def _stack(x: int, y: int, width: int, height: int) -> str:
    return f"M{x} {y}h{width}v{height}h-{width}zM{x} {y + height - 4}h{width}"


_OUTLINES: Final[Mapping[HopKind, Callable[[int, int, int, int], str]]] = {
    "request": _pill,
    "response": _pill,
    "policy": _cut,
    "budget": _cut,
    "approval": _cut,
    "cache": _plain,
    "route": _plain,
    "transform": _plain,
    "retrieval": _stack,
    "source": _page,
    "model": _double,
    "tool": _barred,
}
