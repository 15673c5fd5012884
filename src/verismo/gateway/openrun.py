"""A run whose agent is at work: what its answer's journey keeps until the run is drawn."""

import asyncio

import msgspec
from msgspec import UnsetType

from verismo.attest.joining import Joined
from verismo.attest.provenance import GraphBuilder
from verismo.model.hop import Attribute, HopKind

_AGENT_KINDS = ("tool", "model")


class Held(msgspec.Struct, frozen=True):
    """A hop that follows those of the run, which are not known yet."""

    kind: HopKind
    attrs: dict[str, Attribute]
    span_ms: tuple[int, int]
    commitment: str | UnsetType


class OpenRun:
    """The run that a journey is the answer of.

    Args:
        span_id: its root span.
        headers: for the agent, so that its own calls can say where they belong.
    """

    def __init__(self, span_id: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        self.span_id = span_id
        self.headers = headers
        self.held: list[Held] = []
        self.joining: asyncio.Task[None] | None = None
        self.joined: Joined | None = None
        self.facts: dict[str, Attribute] = {}

    @property
    def is_open(self) -> bool:
        """Whether it is still to be drawn, so that hops are held back."""
        return self.joined is None

    def replay(self, graph: GraphBuilder, last: str, tops: tuple[str, ...], now_ms: int) -> str:
        """Add the hops that were held back and return the last one.

        Args:
            graph: where they go.
            last: the hop before them.
            tops: what the agent's own hop takes besides: everything that it did.
            now_ms: Unix ms.
        """
        agents = [at for at, hop in enumerate(self.held) if hop.kind in _AGENT_KINDS]
        if tops and not agents:
            # The agent's try was never over; what it did by then is still what happened.
            inputs = (last, *tops)
            last = graph.add("transform", inputs, {"gathers": len(inputs)}, (now_ms, now_ms))
        for at, hop in enumerate(self.held):
            inputs = (last, *tops) if agents and at == agents[-1] else (last,)
            last = graph.add(hop.kind, inputs, hop.attrs, hop.span_ms, hop.commitment)
        return last
