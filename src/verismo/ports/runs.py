"""Runs that are not sealed yet: which calls and which reported hops stand in which trace."""

from collections.abc import Sequence
from typing import Protocol

from verismo.model.ids import ProvId, TenantId
from verismo.model.run import NotedCall, Refused, ReportedHop, ReportedSource, Run

__all__ = ["NotedCall", "Refused", "ReportedHop", "ReportedSource", "Run", "RunSealed", "RunStore"]


class RunSealed(Exception):
    """The run is sealed, or being sealed, already.

    Args:
        prov_id: the answer that sealed it.
    """

    def __init__(self, prov_id: ProvId) -> None:
        super().__init__(prov_id)
        self.prov_id = prov_id


class RunStore(Protocol):
    """What runs are made of, kept until they are sealed; shared by all workers.

    Durability: none beyond the process: what is lost in a power cut was not sealed, and a hop is
    only worth what its run's seal makes of it.
    Isolation: everything is looked up by tenant and trace together, so that a tenant neither sees
    nor changes what another one does under the same trace id.
    Ordering: of two rows with one span id the first wins; order matters in nothing else.
    Concurrency: any process and any thread; a call waits up to 1 s for another writer.
    Every call raises StateError if the store cannot be read or written. Nobody retries.
    """

    def begin(
        self, tenant: TenantId, trace_id: str, span_id: str, at_ms: int, parent_span: str = ""
    ) -> None:
        """Open a run before its agent is called; one whose seal failed is open again.

        Args:
            tenant: whose.
            trace_id: 32 hex digits.
            span_id: its root span, 16 hex digits.
            at_ms: Unix ms.
            parent_span: who called it; its siblings are no part of it. Empty if unknown.
        """
        ...

    def has_room(self, tenant: TenantId, trace_id: str, parent_span: str, run_span: str) -> bool:
        """Say whether another call fits into the run that it would join; true if it joins none."""
        ...

    def note(self, tenant: TenantId, trace_id: str, call: NotedCall) -> None:
        """Note a sealed call; one that belongs to a sealed run joins nothing."""
        ...

    def report(
        self, tenant: TenantId, trace_id: str, hops: Sequence[ReportedHop]
    ) -> Sequence[Refused]:
        """Take hops of a trace, in any order and any number of portions.

        Returns:
            Those that were not taken. One that was taken may still turn out to be an orphan, too
            deep or in a cycle when its run is sealed.
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
            RunSealed: another answer has closed it; one that closed it over a minute ago and never
                ended it does not count.
        """
        ...

    def end(self, tenant: TenantId, trace_id: str, span_id: str, joined: Sequence[str]) -> None:
        """Note that a run is sealed, and which spans it took: no other run joins them."""
        ...

    def prune(self, before_ms: int) -> int:
        """Forget traces in which nothing happened since a time; return how many rows went."""
        ...
