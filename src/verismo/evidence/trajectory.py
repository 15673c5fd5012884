"""The shape of a run: which hops it took, in which order and under which, without times and ids.

A *trajectory* is the ordered tree that a provenance graph draws: the answer's own hops one after
the other, and under the hop of the agent what it did: tools, retrievals, sources, and calls back
through the gateway as whole calls. A *golden* is a recorded trajectory with tolerances, in TOML for
people. Two runs of one shape give the same tree whatever they cost and however long they took.
"""

import re
import tomllib
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from verismo.attest.provenance import Graph, Node, node_id

VERSION: Final = 1
DEPTH_MAX: Final = 64
"""Far over what the gateway joins; a deeper tree is nothing for people."""
TIMES_MAX: Final = 1_000
"""A graph has no more nodes."""
CALL: Final = "call"
"""The kind of a hop that stands for a whole embedded call."""
KINDS: Final = (
    *("request", "policy", "budget", "cache", "route", "retrieval", "source", "tool", "model"),
    *("transform", "approval", "response", CALL),
)
_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "request": ("path",),
    "policy": ("decision",),
    "cache": ("state",),
    "route": ("arm",),
    "retrieval": ("data_source", "name"),
    "source": ("uri",),
    "tool": ("tool", "agent", "name", "deployment"),
    "model": ("model", "deployment"),
    "transform": ("agent", "workflow", "action", "name", "to"),
    "approval": ("decision", "name"),
    "response": ("status",),
}
"""Which fact of a hop names it, the first that is there."""
_TIMES = re.compile(r"(\d{1,4})(?:(\.\.)(\d{1,4})?)?")


class TrajectoryRefused(ValueError):
    """A golden cannot be read, or a graph is too deep for a tree; and why."""


class Hop(msgspec.Struct, frozen=True):
    """One hop of a trajectory.

    Args:
        kind: as in the graph, or `call` for a call through the gateway, whose hops are below it.
        name: the fact that names it; may be empty.
        hops: what it was made of, in the order in which it began.
    """

    kind: str
    name: str
    hops: tuple["Hop", ...] = ()

    @property
    def size(self) -> int:
        """How many hops it is, itself included."""
        return 1 + sum(hop.size for hop in self.hops)


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One expected hop.

    Args:
        kind: see `Hop`.
        name: what it has to be called; a `*` at its end takes any ending, `*` alone any name.
        times: how often it may stand here in a row: `2`, `"1..3"`, `"1.."`; `"0..1"` is optional.
        any_order: whether the hops below it may come in any order.
        others: whether further hops may stand among those below it.
        hop: the hops below it.
    """

    kind: str
    name: str = ""
    times: int | str = 1
    any_order: bool = False
    others: bool = False
    hop: tuple["Step", ...] = ()

    @property
    def label(self) -> str:
        """How it is shown."""
        return f"{self.kind} {self.name}".rstrip()

    @property
    def range(self) -> tuple[int, int]:
        """Least and greatest number of times."""
        return read_times(self.times)

    def takes(self, hop: Hop) -> bool:
        """Say whether a hop may be this one, by kind and name."""
        if self.kind != hop.kind:
            return False
        if self.name.endswith("*"):
            return hop.name.startswith(self.name[:-1])
        return self.name == hop.name


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A recorded trajectory with its tolerances.

    Args:
        v: format version, 1.
        hop: the answer's own hops.
        any_order, others: see `Step`, for the top.
    """

    v: int
    hop: tuple[Step, ...]
    any_order: bool = False
    others: bool = False


def trajectory(graph: Graph) -> tuple[Hop, ...]:
    """Return the tree that a graph draws, the answer's own hops at its top.

    Args:
        graph: a whole graph as `read_graph` returns it.

    Raises:
        TrajectoryRefused: it is nested deeper than 64.
    """
    return _Tree(graph.nodes).own()


def read_golden(document: str) -> Golden:
    """Read a golden from TOML.

    Raises:
        TrajectoryRefused: no TOML, an unknown key or kind, another version, or `times` that are no
            range; the message says where.
    """
    try:
        golden = msgspec.convert(tomllib.loads(document), Golden)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise TrajectoryRefused(str(error)) from error
    if golden.v != VERSION:
        raise TrajectoryRefused(f"version {golden.v} is not known here")
    if not golden.hop:
        raise TrajectoryRefused("a golden has at least one hop")
    _check(golden.hop, 1)
    return golden


def write_golden(hops: Sequence[Hop], title: str) -> str:
    """Return a golden that takes exactly this trajectory, with a comment on how to loosen it.

    Args:
        hops: as `trajectory` returns them.
        title: one line for people.
    """
    head = _HEAD.format(title=" ".join(title.split()))
    return head + "\n".join(_spell(hops, ("hop",)))


def read_times(times: int | str) -> tuple[int, int]:
    """Return least and greatest of `2`, `"2"`, `"1..3"` or `"1.."`.

    Raises:
        TrajectoryRefused: it is none of these, or no number fits into it.
    """
    match = _TIMES.fullmatch(str(times))
    if match is None:
        raise TrajectoryRefused(f"times = {times!r} is not a number or a range such as 1..3 or 1..")
    least = int(match[1])
    greatest = least if not match[2] else int(match[3] or TIMES_MAX)
    if not 0 <= least <= greatest <= TIMES_MAX or not greatest:
        raise TrajectoryRefused(f"times = {times!r} fits no number from 1 to {TIMES_MAX}")
    return least, greatest


class _Tree:
    """Reads the tree out of a graph: each node stands where it is met first."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = nodes
        self._places = {node_id(node): place for place, node in enumerate(nodes)}
        self._seen: set[int] = set()

    def own(self) -> tuple[Hop, ...]:
        return self._spine(len(self._nodes) - 1, 1)

    def _spine(self, end: int, depth: int) -> tuple[Hop, ...]:
        """Return the hops of one call: from its response back along the first inputs."""
        chain: list[int] = []
        place: int | None = end
        while place is not None and place not in self._seen:
            self._seen.add(place)
            chain.append(place)
            inputs = self._nodes[place].inputs
            begins = self._nodes[place].kind == "request"
            place = self._places[inputs[0]] if inputs and not begins else None
        return tuple(self._hop(one, depth) for one in reversed(chain))

    def _hop(self, place: int, depth: int) -> Hop:
        node = self._nodes[place]
        return Hop(node.kind, _name(node), tuple(self._below(node, depth + 1)))

    def _below(self, node: Node, depth: int) -> Iterator[Hop]:
        """Yield what fed a node and stands nowhere else yet, in the order in which it began."""
        if depth > DEPTH_MAX:
            raise TrajectoryRefused(f"the graph is nested deeper than {DEPTH_MAX}")
        for place in sorted(self._fed(node), key=lambda one: (self._nodes[one].t0, one)):
            if place in self._seen:
                continue
            if self._nodes[place].kind == "response":
                hops = self._spine(place, depth + 1)
                yield Hop(CALL, self._call_name(place), hops)
            else:
                self._seen.add(place)
                yield self._hop(place, depth)

    def _fed(self, node: Node) -> Iterator[int]:
        """Yield the places of a node's inputs; what only gathers others stands for these."""
        waiting = [self._places[one] for one in node.inputs]
        while waiting:
            place = waiting.pop()
            if place in self._seen:
                continue
            fed = self._nodes[place]
            if fed.kind == "transform" and "gathers" in fed.attrs:
                self._seen.add(place)
                waiting.extend(self._places[one] for one in fed.inputs)
            else:
                yield place

    def _call_name(self, end: int) -> str:
        """Return what an embedded call ran: its operation, and its tool where it has one."""
        place = end
        while True:
            node = self._nodes[place]
            operation, tool = node.attrs.get("operation"), node.attrs.get("tool")
            if node.kind == "policy" and isinstance(operation, str):
                return f"{operation} {tool}" if isinstance(tool, str) and tool else operation
            if node.kind == "request" or not node.inputs:
                return _name(node)
            place = self._places[node.inputs[0]]


def _name(node: Node) -> str:
    for fact in _NAMES.get(node.kind, ()):
        if node.attrs.get(fact) not in (None, ""):
            return str(node.attrs[fact])
    return ""


def _check(steps: Sequence[Step], depth: int) -> None:
    if depth > DEPTH_MAX:
        raise TrajectoryRefused(f"nested deeper than {DEPTH_MAX}")
    for step in steps:
        if step.kind not in KINDS:
            raise TrajectoryRefused(f"{step.kind!r} is no kind of hop: {', '.join(KINDS)}")
        read_times(step.times)
        _check(step.hop, depth + 1)


def _spell(hops: Sequence[Hop], path: tuple[str, ...]) -> Iterator[str]:
    """Yield the lines of some hops as TOML; runs of equal hops become one with `times`."""
    indent = "  " * (len(path) - 1)
    at = 0
    while at < len(hops):
        times = 1
        while at + times < len(hops) and hops[at + times] == hops[at]:
            times += 1
        hop = hops[at]
        yield f"{indent}[[{'.'.join(path)}]]"
        yield f"{indent}kind = {_quoted(hop.kind)}"
        if hop.name:
            yield f"{indent}name = {_quoted(hop.name)}"
        if times > 1:
            yield f"{indent}times = {times}"
        yield ""
        yield from _spell(hop.hops, (*path, "hop"))
        at += times


def _quoted(text: str) -> str:
    """Return a TOML string: JSON's escapes are TOML's, but TOML also wants DEL escaped."""
    return msgspec.json.encode(text).decode("utf-8").replace("\x7f", "\\u007f")


_HEAD: Final = """\
# {title}
#
# The hops of a run and what stands below each, in order. To loosen it, give a hop
#   times = "1..3"      so often in a row ("2..": twice or more; "0..1": optional)
#   name = "search*"    any name that begins so ("*": any name)
#   any_order = true    what stands below it may come in any order
#   others = true       further hops may stand among those below it
# At the top of the file the last two hold for the run's own hops.

v = 1

"""
