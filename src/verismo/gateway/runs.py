"""Runs on the request path: how an agent's calls find each other, and its answer all of them.

The gateway opens a run before it calls an agent and gives it the run's span as parent, the run's
name in `tracestate` and the answer's salt. The agent's own calls, through whichever worker, note
themselves once they are sealed; the agent's answer is sealed with all of their graphs. A run of an
agent at the client has no opening: it is whatever stands under the span that its seal names.

Nothing here touches the store for a request without `traceparent`. Whatever may wait for the disk
or for another worker happens beside the event loop.

Source: W3C Trace Context, level 2; ADR-023.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from verismo.attest.joining import Joined, join
from verismo.attest.lineage import Selection, select
from verismo.attest.provenance import GraphRefused
from verismo.gateway.ask import Ask
from verismo.gateway.journey import Journey, cut
from verismo.gateway.openrun import OpenRun
from verismo.gateway.resolve import Resolved
from verismo.gateway.seal import RETRY_AFTER_S, Sealed
from verismo.gateway.trace import state_run, state_within
from verismo.model import base64url
from verismo.model.canonical import is_digest
from verismo.model.errors import (
    IntegrityError,
    MalformedRequest,
    OperationUnregistered,
    RunSealed,
    StateError,
)
from verismo.model.hop import Attribute
from verismo.model.ids import ProvId, TenantId
from verismo.model.run import RUN_ENTRIES_MAX, BegunRun, NotedCall, Run
from verismo.ports.journal import JournalReader
from verismo.ports.runs import RunStore
from verismo.ports.telemetry import Telemetry

SALT_HEADER = "attest-run-salt"
STATE_HEADER = "tracestate"
THREADS_MAX = 4
"""Of their own: what waits for a stuck store must not hold up name look-ups and others' work."""
WAITING_S_MAX = 5
"""How long something may wait for such a thread; one more waits 2 s at most for the store."""

T = TypeVar("T")

log = logging.getLogger("verismo.gateway")


class SealedRun(msgspec.Struct, frozen=True):
    """What `POST /v1/runs/{operation}` answers; the graph has the rest.

    Args:
        prov_id: the answer, whose graph is the whole run.
        operation: which agent.
        trace, span: the run's trace and its root span.
        calls: calls through the gateway in the graph.
        hops: reported hops in the graph.
        hops_refused, calls_omitted: what is not in it.
    """

    prov_id: str
    operation: str
    trace: str
    span: str
    calls: int
    hops: int
    hops_refused: int
    calls_omitted: int


class Runs:
    """The runs of one worker's requests.

    Args:
        store: shared by all workers.
        reader: of every worker's journal.
        telemetry: counts what is withheld.
    """

    def __init__(self, store: RunStore, reader: JournalReader, telemetry: Telemetry) -> None:
        self._store = store
        self._reader = reader
        self._telemetry = telemetry
        self._at_work: set[ProvId] = set()
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="runs")

    def arrive(self, journey: Journey) -> None:
        """Find out how a call of a trace stands to the trace's runs.

        Raises:
            IntegrityError: the runs cannot be read.
        """
        trace, view = journey.trace, journey.caller.view
        named = state_run(journey.request.headers.get(STATE_HEADER, ""))
        try:
            standing = self._store.standing(view.tenant.id, trace.trace_id, trace.parent_id, named)
        except StateError as error:
            raise self._withheld(error) from error
        journey.standing = standing
        journey.is_noted = standing == "open" or (standing == "none" and view.seals_runs)

    async def note(self, journey: Journey, sealed: Sealed) -> None:
        """Note a sealed call for the run that it is part of, and end the run that it was.

        Raises:
            IntegrityError: it cannot be noted; served, it would be missing in its run.
        """
        trace, record = journey.trace, sealed.record
        tenant, trace_id, run = record.tenant, trace.trace_id, journey.run
        call = NotedCall(
            span_id=trace.span_id,
            parent_span=trace.parent_id,
            run_span=state_run(journey.request.headers.get(STATE_HEADER, "")),
            prov_id=journey.prov_id,
            t0_ms=journey.received_ms,
            t1_ms=record.written_ms,
            nodes=len(journey.graph),
            octets=len(record.graph),
        )

        joined = None if run is None else run.joined
        if joined is not None:
            self._tell_refused(sealed, trace_id, joined)
        elif self._noted_at_once(tenant, trace_id, call):
            return

        def work() -> None:
            if run is not None and joined is not None:
                self._store.end(tenant, trace_id, run.span_id, joined.spans)
            if journey.is_noted:
                self._store.note(tenant, trace_id, call)

        await self._beside(work)

    def _tell_refused(self, sealed: Sealed, trace_id: str, joined: Joined) -> None:
        """Count and log the reported hops that only the seal refused: they had been taken."""
        reasons = Counter(one.reason for one in joined.refused)
        for reason, count in reasons.items():
            self._telemetry.spans(reason, count)
        if reasons:
            record = sealed.record
            fields: dict[str, str | int] = {
                "prov_id": record.prov_id,
                "trace_id": trace_id,
                "tenant": record.tenant,
            }
            fields.update(sorted(reasons.items()))
            log.warning("reported hops are not in their run's graph", extra={"fields": fields})

    def _noted_at_once(self, tenant: TenantId, trace_id: str, call: NotedCall) -> bool:
        """Note a call in the event loop, where that needs no waiting: a thread costs more."""
        try:
            return self._store.note_at_once(tenant, trace_id, call)
        except StateError as error:
            raise self._withheld(error) from error

    async def begin(self, journey: Journey) -> None:
        """Open the run of an agent that is about to be called.

        Raises:
            RunLimit: agents call each other too deep.
            IntegrityError: it cannot be opened.
        """
        trace = journey.trace
        state = journey.request.headers.get(STATE_HEADER, "") if trace.parent_id else ""
        run = BegunRun(
            trace.span_id, trace.parent_id, state_run(state), journey.now_ms(), journey.prov_id
        )
        tenant = journey.caller.view.tenant.id
        await self._beside(lambda: self._store.begin(tenant, trace.trace_id, run))
        self._at_work.add(journey.prov_id)
        self._telemetry.runs_open(len(self._at_work))
        journey.run = OpenRun(
            trace.span_id,
            (
                (STATE_HEADER, state_within(state, trace.span_id)),
                (SALT_HEADER, base64url.encode_binary_item(journey.salt)),
            ),
        )

    def leave(self, journey: Journey) -> None:
        """Note that nobody works on an answer any more."""
        self._at_work.discard(journey.prov_id)
        self._telemetry.runs_open(len(self._at_work))

    async def reopen(self, journey: Journey, span_id: str) -> None:
        """Open a run again whose seal failed, so that its agent may try again."""
        run = BegunRun(span_id, "", "", journey.now_ms())
        tenant = journey.caller.view.tenant.id
        await self._beside(lambda: self._store.begin(tenant, journey.trace.trace_id, run))

    async def join(self, journey: Journey) -> None:
        """Draw the run of a journey into its graph; nothing happens for one that has none.

        Raises:
            RunSealed: another answer has sealed it.
            IntegrityError: the run or a call's graph cannot be read.
        """
        run = journey.run
        if run is None or not run.is_open:
            return
        if run.joining is None:
            # One that goes on although its request is cancelled: the record needs it all the same.
            run.joining = asyncio.create_task(self._join(journey, run))
        await asyncio.shield(run.joining)

    async def _join(self, journey: Journey, open_run: OpenRun) -> None:
        now_ms = journey.now_ms()
        try:
            run, joined = await self._beside(lambda: self._gather(journey, open_run, now_ms))
        except RunSealed:
            journey.leave_run()
            raise
        finally:
            self.leave(journey)
        refused = len(joined.refused) + run.refused
        omitted = joined.omitted + run.omitted
        facts: dict[str, Attribute] = {
            name: count
            for name, count in (
                ("hops_refused", refused),
                ("calls_referenced", joined.referenced),
                ("calls_omitted", omitted),
            )
            if count
        }
        journey.close_run(open_run, joined, facts)

    def _gather(self, journey: Journey, open_run: OpenRun, now_ms: int) -> tuple[Run, Joined]:
        """Close the run and draw it; runs beside the event loop, which waits with the journey."""
        tenant, span_id = journey.caller.view.tenant.id, open_run.span_id
        run = self._store.collect(tenant, journey.trace.trace_id, span_id, journey.prov_id, now_ms)
        selection = select(run)
        graphs = self._graphs(tenant, selection)
        held = len(open_run.held)
        return run, join(journey.graph, journey.last, selection, graphs, held)

    def _graphs(self, tenant: TenantId, selection: Selection) -> Mapping[ProvId, bytes]:
        """Read the graphs of calls back from the journals; one that is not there is left out."""
        graphs: dict[ProvId, bytes] = {}
        for call in selection.calls[:RUN_ENTRIES_MAX]:
            record = self._reader.find(call.prov_id)
            if record is not None and record.kind == "answer" and record.tenant == tenant:
                graphs[call.prov_id] = record.graph
        return graphs

    async def _beside(self, work: Callable[[], T]) -> T:
        """Do something beside the event loop, to its end even if the request is cancelled."""
        due_ns = time.monotonic_ns() + WAITING_S_MAX * 1_000_000_000

        def in_time() -> T:
            if time.monotonic_ns() > due_ns:
                raise StateError(
                    f"others kept the runs busy for {WAITING_S_MAX} s",
                    next_step="Check the disk, and what else has runs.db open.",
                )
            return work()

        loop = asyncio.get_running_loop()
        try:
            return await asyncio.shield(loop.run_in_executor(self._threads, in_time))
        except (StateError, GraphRefused) as error:
            raise self._withheld(error) from error

    def _withheld(self, error: StateError | GraphRefused) -> IntegrityError:
        self._telemetry.failed_closed("runs")
        fields = {"error": str(error), "next": getattr(error, "advice", "")}
        log.error("runs cannot be used", extra={"fields": fields})
        return IntegrityError(
            "the agent's run cannot be kept or read, so nothing is served that would be missing "
            "in it",
            retry_after_s=RETRY_AFTER_S,
        )


def sealed_run(journey: Journey, run: OpenRun) -> SealedRun:
    """Return what is answered to the seal of a run that has been joined."""
    joined = run.joined
    return SealedRun(
        prov_id=journey.prov_id,
        operation=journey.operation,
        trace=journey.trace.trace_id,
        span=run.span_id,
        calls=joined.calls if joined is not None else 0,
        hops=joined.hops if joined is not None else 0,
        hops_refused=int(run.facts.get("hops_refused", 0)),
        calls_omitted=int(run.facts.get("calls_omitted", 0)),
    )


def check_called(resolved: Resolved) -> None:
    """Refuse to call an agent that runs at the client.

    Raises:
        OperationUnregistered: it has no deployment.
    """
    if not resolved.operation.deployments:
        raise OperationUnregistered(
            "this agent runs at its client; POST /v1/runs/ with its name seals what it did"
        )


def check_sealed(resolved: Resolved) -> None:
    """Refuse to seal a run of an agent that the gateway calls: its answers are sealed already.

    Raises:
        OperationUnregistered: it has deployments.
    """
    if resolved.operation.deployments:
        raise OperationUnregistered(
            "the gateway calls this agent and seals its answers; POST /v1/agents/ with its name"
        )


def check_root(journey: Journey) -> str:
    """Return the root span that a seal is for.

    Raises:
        MalformedRequest: the request names none.
    """
    if not journey.trace.parent_id:
        raise MalformedRequest(
            "a run is sealed under its root span: send `traceparent: 00-<trace id>-<root span>-01`"
        )
    return journey.trace.parent_id


def reported_answer(ask: Ask) -> tuple[dict[str, Attribute], str]:
    """Read what a client-side agent says of its final answer.

    Args:
        ask: its body has `answer_sha256` or `answer_commit`, and perhaps `name` and `octets`.

    Returns:
        Facts for the agent's hop, and its commitment, hex; empty if it gave only a hash.

    Raises:
        MalformedRequest: neither is there, or a member is not what it has to be.
    """
    digest, commitment = ask.body.string("answer_sha256"), ask.body.string("answer_commit")
    for name, value in (("answer_sha256", digest), ("answer_commit", commitment)):
        if value is not None and not is_digest(value):
            raise MalformedRequest(f"`{name}` must be a SHA-256, 64 lower-case hex digits")
    if not digest and not commitment:
        raise MalformedRequest("`answer_sha256` or `answer_commit` must say which answer it is")
    facts: dict[str, Attribute] = {"reported": True}
    label, octets = ask.body.string("name"), ask.body.members.get("octets")
    if label:
        facts["name"] = cut(label)
    if octets is not None:
        if not isinstance(octets, int) or isinstance(octets, bool) or not 0 <= octets < 2**53:
            raise MalformedRequest("`octets` must be the length of the answer")
        facts["octets"] = octets
    if digest:
        facts["answer_sha256"] = digest
    return facts, commitment or ""
