"""Runs that are not sealed yet: which calls and which reported hops stand in which trace."""

from collections.abc import Sequence
from typing import Literal, Protocol

from verismo.model.ids import ProvId, TenantId
from verismo.model.run import BegunRun, NotedCall, Refused, ReportedHop, ReportedSource, Run

__all__ = [
    "BegunRun",
    "NotedCall",
    "Refused",
    "ReportedHop",
    "ReportedSource",
    "Run",
    "RunStore",
    "Standing",
]

Standing = Literal["none", "open", "full"]
"""How a call stands to the runs of its trace: it would join none, join one, or not fit into it."""


class RunStore(Protocol):
    """What runs are made of, kept until they are sealed; shared by all workers.

    Durability: none beyond the process: what is lost in a power cut was not sealed, and a hop is
    only worth what its run's seal makes of it.
    Isolation: everything is looked up by tenant and trace together, so that a tenant neither sees
    nor changes what another one does under the same trace id.
    Ordering: of two rows with one span id the first wins; order matters in nothing else. A hop that
    is reported again as it was is taken, once: exporters repeat what they had no answer to.
    Concurrency: any process and any thread; a call waits up to 1 s for another writer,
    and up to 1 s for other threads of its process.
    Every call raises StateError if the store cannot be read or written. Nobody retries.
    """

    def begin(self, tenant: TenantId, trace_id: str, run: BegunRun) -> None:
        """Open a run before its agent is called; one whose seal failed is open again.

        Raises:
            RunLimit: it is nested too deep in other runs.
        """
        ...

    def standing(
        self, tenant: TenantId, trace_id: str, parent_span: str, run_span: str
    ) -> Standing:
        """Say how a call would stand in its trace now; never waits for a writer.

        Args:
            tenant: whose.
            trace_id: 32 hex digits.
            parent_span: the span that makes the call.
            run_span: the run that its `tracestate` names, or empty.
        """
        ...

    def note(self, tenant: TenantId, trace_id: str, call: NotedCall) -> None:
        """Note a sealed call: for the run that its parent is in, that its `run_span` names, or that
        is the trace's only open one. One that belongs to a sealed run joins nothing.
        """
        ...

    def note_at_once(self, tenant: TenantId, trace_id: str, call: NotedCall) -> bool:
        """Note a sealed call as `note` does, within 1 ms; False if another writer is at work."""
        ...

    def report(
        self,
        tenant: TenantId,
        trace_id: str,
        hops: Sequence[ReportedHop],
        *,
        are_roots_known: bool = False,
    ) -> Sequence[Refused]:
        """Take hops of a trace, in any order and any number of portions.

        Args:
            tenant: whose.
            trace_id: 32 hex digits.
            hops: as reported.
            are_roots_known: whether every run of the tenant is begun before its agent works. Then
                a hop whose chain leads too deep below a run is told now: no span on the way can
                turn out to be the root of another one.

        Returns:
            Those that were not taken. One that was taken may still turn out to be an orphan, too
            deep or in a cycle when its run is sealed. One that is told to be too deep still leads
            what stands under it to the run.
        """
        ...

    def collect(
        self, tenant: TenantId, trace_id: str, span_id: str, prov_id: ProvId, at_ms: int
    ) -> Run:
        """Close a run and return what its trace holds; whatever comes later changes nothing.

        Args:
            tenant: whose.
            trace_id: 32 hex digits.
            span_id: its root span; a run that was never begun is closed as well.
            prov_id: the answer that seals it.
            at_ms: Unix ms.

        Raises:
            RunSealed: it was begun for another answer, or another one has closed it; one that
                did so over a minute ago and never ended it does not count.
        """
        ...

    def end(self, tenant: TenantId, trace_id: str, span_id: str, joined: Sequence[str]) -> None:
        """Note that a run is sealed, and which spans it took: no other run joins them."""
        ...
