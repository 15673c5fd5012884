"""Compares a trajectory with a golden and shows the difference as one tree.

The alignment is the cheapest one: a hop that is missing or unexpected costs as many hops as it
consists of, one of another name costs one. So a difference deep in a run is shown there and not as
two different runs.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Literal

import msgspec

from verismo.evidence.trajectory import TIMES_MAX, Golden, Hop, Step

Change = Literal["same", "missing", "unexpected", "renamed", "moved"]

MARKS: Final[dict[Change, str]] = {
    "same": " ",
    "missing": "-",
    "unexpected": "+",
    "renamed": "~",
    "moved": ">",
}
CONTEXT: Final = 3
"""Unchanged lines that are shown before and after a changed one."""


class Line(msgspec.Struct, frozen=True):
    """One line of a difference.

    Args:
        change: what became of it.
        depth: 0 at the top.
        label: kind and name.
        detail: what was expected, for the reader; empty where nothing differs.
    """

    change: Change
    depth: int
    label: str
    detail: str = ""


class Difference(msgspec.Struct, frozen=True):
    """A golden and a trajectory laid side by side.

    Args:
        lines: the whole tree, changed and unchanged lines.
        matches: whether nothing differs.
    """

    lines: tuple[Line, ...]
    matches: bool


def compare(golden: Golden, hops: Sequence[Hop]) -> Difference:
    """Lay a trajectory beside a golden.

    Args:
        golden: what is expected, with tolerances.
        hops: what was, as `trajectory` returns it.
    """
    aligned = _align(_Level(golden.hop, golden.any_order, golden.others), tuple(hops))
    lines = tuple(_lines(aligned.pairs, 0))
    return Difference(lines, all(line.change == "same" for line in lines))


def spell(difference: Difference) -> str:
    """Return a difference as text, one line for each hop, long unchanged runs left out."""
    lines = difference.lines
    changed = [at for at, line in enumerate(lines) if line.change != "same"]
    shown = {near for at in changed for near in range(at - CONTEXT, at + CONTEXT + 1)}
    shown |= {above for at in changed for above in _above(lines, at)}
    text: list[str] = []
    skipped = 0
    for at, line in enumerate(lines):
        if at not in shown:
            skipped += 1
            continue
        text += [f"  ... {skipped} alike"] if skipped else []
        skipped = 0
        body = f"{MARKS[line.change]} {'  ' * line.depth}{line.label}"
        text.append(f"{body}    ({line.detail})" if line.detail else body)
    text += [f"  ... {skipped} alike"] if skipped else []
    return "\n".join(text)


def _above(lines: Sequence[Line], at: int) -> Iterator[int]:
    """Yield the lines under which a line stands."""
    depth = lines[at].depth
    for place in range(at - 1, -1, -1):
        if lines[place].depth < depth:
            depth = lines[place].depth
            yield place


class _Level(msgspec.Struct, frozen=True):
    steps: tuple[Step, ...]
    any_order: bool
    others: bool


class _Pair(msgspec.Struct, frozen=True):
    """What an alignment made of a step, a hop or both."""

    change: Change
    step: Step | None
    hop: Hop | None
    below: tuple["_Pair", ...] = ()
    count: int = 1


class _Aligned(msgspec.Struct, frozen=True):
    cost: int
    pairs: tuple[_Pair, ...]


_Back = tuple[int, tuple[int, int, int] | None, _Pair | None]
"""Cost from a state to the end, the next state, and what the step there shows."""


def _align(level: _Level, hops: tuple[Hop, ...]) -> _Aligned:
    found = _unordered(level, hops) if level.any_order else _ordered(level, hops)
    return _Aligned(found.cost, tuple(_moved(found.pairs)))


def _ordered(level: _Level, hops: tuple[Hop, ...]) -> _Aligned:
    """Return the cheapest alignment in order, by dynamic programming from the end.

    A state is a step, a hop, and how often the step was met so far.
    """
    best: dict[tuple[int, int, int], _Back] = {(len(level.steps), len(hops), 0): (0, None, None)}
    for step_at in range(len(level.steps), -1, -1):
        caps = _cap(level.steps[step_at]) if step_at < len(level.steps) else 0
        for hop_at in range(len(hops), -1, -1):
            matched = _match(level, hops, step_at, hop_at)
            for count in range(caps, -1, -1):
                state = (step_at, hop_at, count)
                ways = [*_ways(level, hops, state, best, matched)]
                if ways:
                    best[state] = min(ways, key=lambda way: way[0])
    pairs: list[_Pair] = []
    at: tuple[int, int, int] | None = (0, 0, 0)
    cost = best[(0, 0, 0)][0]
    while at is not None:
        _, at, shown = best[at]
        pairs += [shown] if shown is not None else []
    return _Aligned(cost, tuple(pairs))


def _ways(
    level: _Level,
    hops: tuple[Hop, ...],
    state: tuple[int, int, int],
    best: dict[tuple[int, int, int], _Back],
    matched: tuple[int, _Pair] | None,
) -> Iterator[_Back]:
    """Yield what may come next in a state: the hop is the step, is unexpected, or the step is
    over."""
    step_at, hop_at, count = state
    if matched is not None and count < level.steps[step_at].range[1]:
        cost, pair = matched
        following = (step_at, hop_at + 1, min(count + 1, _cap(level.steps[step_at])))
        yield cost + best[following][0], following, pair
    if step_at < len(level.steps):
        step = level.steps[step_at]
        lacking = max(step.range[0] - count, 0)
        following = (step_at + 1, hop_at, 0)
        lost = _Pair("missing", step, None, count=lacking) if lacking else None
        yield lacking * _weight(step) + best[following][0], following, lost
    if hop_at < len(hops):
        following = (step_at, hop_at + 1, count)
        cost, pair = _further(level, hops[hop_at])
        yield cost + best[following][0], following, pair


def _match(
    level: _Level, hops: tuple[Hop, ...], step_at: int, hop_at: int
) -> tuple[int, _Pair] | None:
    """Return what it costs to take a hop for a step; None if their kinds differ."""
    if step_at >= len(level.steps) or hop_at >= len(hops):
        return None
    step, hop = level.steps[step_at], hops[hop_at]
    if step.kind != hop.kind:
        return None
    below = _align(_Level(step.hop, step.any_order, step.others), hop.hops)
    renamed = not step.takes(hop)
    pair = _Pair("renamed" if renamed else "same", step, hop, below.pairs)
    return below.cost + renamed, pair


def _unordered(level: _Level, hops: tuple[Hop, ...]) -> _Aligned:
    """Give each step in turn the hops that fit it best; what remains is unexpected."""
    left = list(range(len(hops)))
    pairs: list[_Pair] = []
    cost = 0
    for step in level.steps:
        fitting = _fitting(step, hops, left)
        least, greatest = step.range
        for own, at, pair in fitting[:greatest]:
            left.remove(at)
            cost += own
            pairs.append(pair)
        lacking = max(least - len(fitting), 0)
        if lacking:
            cost += lacking * _weight(step)
            pairs.append(_Pair("missing", step, None, count=lacking))
    for at in left:
        own, pair = _further(level, hops[at])
        cost += own
        pairs.append(pair)
    return _Aligned(cost, tuple(pairs))


def _fitting(
    step: Step, hops: tuple[Hop, ...], left: Sequence[int]
) -> list[tuple[int, int, _Pair]]:
    """Return the hops that a step takes, those first that are most like it."""
    found = []
    for at in left:
        if step.takes(hops[at]):
            below = _align(_Level(step.hop, step.any_order, step.others), hops[at].hops)
            found.append((below.cost, at, _Pair("same", step, hops[at], below.pairs)))
    return sorted(found, key=lambda one: one[:2])


def _further(level: _Level, hop: Hop) -> tuple[int, _Pair]:
    """Return what a hop costs that no step takes."""
    if level.others:
        return 0, _Pair("same", None, hop)
    return hop.size, _Pair("unexpected", None, hop)


def _moved(pairs: Sequence[_Pair]) -> Iterator[_Pair]:
    """Call hops moved that are missing in one place and unexpected in another one of a level."""
    gone = [pair.step for pair in pairs if pair.change == "missing" and pair.step is not None]
    found = [pair.hop for pair in pairs if pair.change == "unexpected" and pair.hop is not None]
    for pair in pairs:
        if pair.step is not None and pair.change == "missing":
            moved = any(pair.step.takes(hop) for hop in found)
        else:
            moved = pair.change == "unexpected" and any(
                pair.hop is not None and step.takes(pair.hop) for step in gone
            )
        yield msgspec.structs.replace(pair, change="moved") if moved else pair


def _cap(step: Step) -> int:
    """Return up to which count it matters how often a step was met."""
    least, greatest = step.range
    return max(least, 1) if greatest == TIMES_MAX else greatest


def _weight(step: Step) -> int:
    """Return of how many hops a step consists at least."""
    return 1 + sum(below.range[0] * _weight(below) for below in step.hop)


def _lines(pairs: Sequence[_Pair], depth: int) -> Iterator[Line]:
    for pair in pairs:
        if pair.hop is None:
            if pair.step is not None:
                yield from _lost(pair.step, pair.change, pair.count, depth)
        elif pair.step is None:
            yield from _whole(pair.hop, pair.change, depth)
        else:
            renamed = f"expected {pair.step.label}" if pair.change == "renamed" else ""
            yield Line(pair.change, depth, _label(pair.hop), renamed)
            yield from _lines(pair.below, depth + 1)


def _lost(step: Step, change: Change, count: int, depth: int) -> Iterator[Line]:
    """Yield the lines of a step that is not there, or not often enough."""
    expected = "" if step.times == 1 else f", expected {step.times} times"
    detail = "stands elsewhere" if change == "moved" else f"missing{expected}"
    times = f" x{count}" if count > 1 else ""
    yield Line(change, depth, f"{step.label}{times}", detail)
    for below in step.hop:
        if below.range[0]:
            yield from _lost(below, change, below.range[0], depth + 1)


def _whole(hop: Hop, change: Change, depth: int) -> Iterator[Line]:
    """Yield the lines of a hop that no step takes."""
    detail = {"moved": "was expected elsewhere", "unexpected": "not expected here"}.get(change, "")
    yield Line(change, depth, _label(hop), detail)
    for below in hop.hops:
        yield from _whole(below, change, depth + 1)


def _label(hop: Hop) -> str:
    return f"{hop.kind} {hop.name}".rstrip()
