"""What observe mode let through, counted in memory until the worker reports it.

Names and GraphQL texts only; never variables, never prompts. Texts are written down without their
values. `verismo operation learn` turns them into registrations that somebody reviews.
"""

from collections.abc import Sequence

import msgspec

from verismo.gateway.journey import Journey
from verismo.model.document import (
    NotOneOperation,
    outline,
    without_end_blank,
    without_values,
)
from verismo.ports.directory import Observation

PENDING_MAX = 1_000
"""Different observations kept between two reports; more are dropped until the next one."""

DOCUMENT_CHARS_MAX = 65_536
"""A longer document still runs, but nobody would review it."""


class Observer:
    """Counts unregistered operations of this worker."""

    def __init__(self) -> None:
        self._pending: dict[tuple[str, str, str, str], Observation] = {}

    def note(self, journey: Journey) -> None:
        """Count the unregistered operation that a journey is about to run."""
        ask, tenant = journey.ask, journey.caller.view.tenant
        if ask is None or len(ask.document) > DOCUMENT_CHARS_MAX:
            return
        name = "" if ask.kind == "graphql" else journey.asked
        key = (tenant.id, ask.kind, name, ask.document)
        seen = self._pending.get(key)
        if seen is None and len(self._pending) >= PENDING_MAX:
            return
        self._pending[key] = Observation(
            tenant=tenant.id,
            kind=ask.kind,
            name=name,
            document=ask.document,
            count=1 if seen is None else seen.count + 1,
            last_ms=journey.request.received_ms,
        )

    def take(self) -> list[Observation]:
        """Return what was counted since the last call and begin anew."""
        taken = list(self._pending.values())
        self._pending = {}
        return taken


def storable(observations: Sequence[Observation]) -> list[Observation]:
    """Return observations as they may be stored: no value of a document, no word of a client's own.

    A document gets the name that its text gives it, whatever the client called it. A text that is
    not GraphQL is left out, as nothing tells what in it is a value. It takes time for large texts,
    so the request path does not do it.
    """
    return [_storable(seen) if seen.kind == "graphql" else seen for seen in observations]


def _storable(seen: Observation) -> Observation:
    try:
        document = without_values(without_end_blank(seen.document))
    except NotOneOperation:
        return msgspec.structs.replace(seen, name="", document="")
    try:
        name = outline(document).name
    except NotOneOperation:
        name = ""
    return msgspec.structs.replace(seen, name=name, document=document)
