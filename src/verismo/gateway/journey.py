"""The journey: what one request has gathered on its way through the pipeline.

It is the only mutable thing that belongs to a request. Each step adds what it found, and the seal
reads it all; whatever goes wrong in between, what was gathered so far is what gets signed.
"""

import os
import time

from msgspec import UNSET, UnsetType

from verismo.attest.commitment import SALT_BYTES, commit
from verismo.attest.joining import Joined
from verismo.attest.provenance import GraphBuilder
from verismo.attest.statement import CacheState, Decision, StatedRequest, is_nonce
from verismo.gateway.ask import Ask
from verismo.gateway.identify import Caller
from verismo.gateway.openrun import Held, OpenRun
from verismo.gateway.resolve import UNREGISTERED, Resolved
from verismo.gateway.snapshot import Snapshot
from verismo.gateway.trace import TraceContext, continue_trace, parent_sampled
from verismo.gateway.windows import Flight, RouteKey
from verismo.model.hop import Attribute, HopKind
from verismo.model.ids import DeploymentId, OperationId, ProvId, prov_id_from
from verismo.model.operation import Deployment
from verismo.model.traffic import Request, Usage
from verismo.model.units import UsdMicros
from verismo.ports.budget import Reservation
from verismo.ports.runs import Standing
from verismo.ports.telemetry import Hop, Telemetry

_NS_PER_MS = 1_000_000
_CHARS_MAX = 128


class Journey:
    """One identified request and everything found out about it.

    Args:
        request: as received.
        caller: who asks.
        snapshot: the configuration in force when it began; the whole journey keeps it.
        kind: of the door it came through.
        telemetry: says whether it is traced.
    """

    def __init__(
        self,
        request: Request,
        caller: Caller,
        snapshot: Snapshot,
        kind: str,
        telemetry: Telemetry,
    ) -> None:
        random = os.urandom(10 + SALT_BYTES + 24)
        self.request = request
        self.caller = caller
        self.snapshot = snapshot
        self.kind = kind
        self.received_ms = request.received_ms
        self.started_ns = time.monotonic_ns()
        self.prov_id: ProvId = prov_id_from(request.received_ms, random[:10])
        self.salt = random[10 : 10 + SALT_BYTES]
        parent = request.headers.get("traceparent", "")
        sampled = telemetry.samples_trace(parent_sampled(parent))
        self.trace: TraceContext = continue_trace(parent, random[10 + SALT_BYTES :], sampled)
        self.graph = GraphBuilder(self.prov_id)
        self.last = ""
        nonce = request.headers.get("attest-nonce")
        self.nonce: str | UnsetType = nonce if nonce is not None and is_nonce(nonce) else UNSET
        self.nonce_refused = nonce is not None and self.nonce is UNSET
        self.ask: Ask | None = None
        self.resolved: Resolved | None = None
        self.bundle = ""
        self.decision: Decision = "none"
        self.cache: CacheState = "off"
        self.reservation: Reservation | None = None
        self.route: RouteKey | None = None
        self.is_failed = False
        self.flight: Flight | None = None
        self.deployment: Deployment | None = None
        self.model = ""
        self.usage: Usage | None = None
        self.cost: UsdMicros | None = None
        self.waited_ns = 0
        self.first_byte_ns = 0
        self.is_sealed = False
        self.is_owed = False
        self.standing: Standing = "none"
        self.is_noted = False
        self.run: OpenRun | None = None
        self.doc: str | UnsetType = UNSET
        self.stated = self._state_request()

    def _state_request(self) -> StatedRequest:
        request, salt = self.request, self.salt
        commitment = commit("req", salt, request.body)
        attrs: dict[str, Attribute] = {
            "method": request.method,
            "path": request.path,
            "prov_id": self.prov_id,
            "trace": self.trace.trace_id,
        }
        if self.trace.parent_id:
            attrs["parent_span"] = self.trace.parent_id
        at = request.received_ms
        self.last = self.graph.add("request", (), attrs, (at, at), commitment)
        return StatedRequest(
            method=request.method,
            path=request.path,
            commit=commitment,
            len=len(request.body),
            query=commit("query", salt, request.query) if request.query else UNSET,
        )

    def now_ms(self) -> int:
        """Return the time as Unix ms: the one clock reading plus what has passed since."""
        return self.received_ms + (time.monotonic_ns() - self.started_ns) // _NS_PER_MS

    def hop(
        self,
        kind: HopKind,
        attrs: dict[str, Attribute],
        began_ms: int,
        commitment: str | UnsetType = UNSET,
    ) -> str:
        """Add the next hop to the graph, after the one before it.

        Args:
            kind: what kind of hop.
            attrs: facts about it.
            began_ms: when it began, Unix ms; it ends now.
            commitment: to the bytes it produced, hex.
        """
        ended_ms = self.now_ms()
        span = (began_ms, ended_ms if ended_ms > began_ms else began_ms)
        if self.run is not None and self.run.is_open:
            self.run.held.append(Held(kind, attrs, span, commitment))
            return self.last
        self.last = self.graph.add(kind, (self.last,), attrs, span, commitment)
        return self.last

    def failed_at(self, deployment: DeploymentId) -> None:
        """Note that a deployment failed, or was not asked since it had failed.

        If it is the one that the request was assigned to, the request counts as failed, although
        another may answer it.
        """
        if self.route is not None and self.route[3] == deployment:
            self.is_failed = True

    def close_run(self, run: OpenRun, joined: Joined, facts: dict[str, Attribute]) -> None:
        """Go on with the graph that holds the run; the agent's own hop takes all of it.

        Args:
            run: this journey's.
            joined: the run as it was drawn.
            facts: for the response node.
        """
        self.graph = joined.graph
        self.last = run.replay(self.graph, self.last, joined.tops, self.now_ms())
        run.joined, run.facts = joined, facts

    def leave_run(self) -> None:
        """Go on without a run that another answer has."""
        self.graph, self.last = self.outline()
        self.run = None

    def outline(self) -> tuple[GraphBuilder, str]:
        """Return the graph as it would end now, without a run that is still open; and its last."""
        graph, last = self.graph.fork(), self.last
        if self.run is not None and self.run.is_open:
            last = self.run.replay(graph, last, (), self.now_ms())
        return graph, last

    def hops(self) -> tuple[Hop, ...]:
        """Return the graph's own nodes as timed hops, for traces; calls have traces of theirs."""
        joined = None if self.run is None else self.run.joined
        skipped = frozenset() if joined is None else joined.ids
        return tuple(
            Hop(
                kind=node.kind,
                start_ns=node.t0 * _NS_PER_MS,
                end_ns=node.t1 * _NS_PER_MS,
                attributes=node.attrs,
            )
            for node in self.graph.nodes_but(skipped)
        )

    @property
    def operation(self) -> str:
        """The operation's id, `-` where none was resolved."""
        return self.resolved.operation.id if self.resolved is not None else "-"

    @property
    def route_operation(self) -> OperationId:
        """The operation of the route that is counted: made-up names make no routes."""
        resolved = self.resolved
        if resolved is None or not resolved.registered:
            return UNREGISTERED
        return resolved.operation.id

    @property
    def asked(self) -> str:
        """What the client called the operation, cut to what a record may hold."""
        return cut(self.ask.name) if self.ask is not None else ""


def cut(text: str) -> str:
    """Shorten somebody else's text to what a record may hold; lone surrogates become `?`."""
    short = text[:_CHARS_MAX]
    return short if short.isascii() else short.encode("utf-8", "replace").decode("utf-8")
