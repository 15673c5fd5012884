"""One tenant's day as one worker holds it: what is leased, what is in use, what is left for all."""

from typing import Final

from verismo.adapters.budget_slices import Standing
from verismo.model.ids import TenantId
from verismo.model.units import UsdMicros

_NEVER_MS: Final = 2**62


class Account:
    """One tenant's day at this worker, USD micros.

    Attributes:
        granted: what is leased, spent included.
        spent: what was spent here.
        reserved: what is set aside for calls in flight.
        left: what no worker has, when it was last seen.
        elsewhere: what other workers have and had not spent, likewise.
        slice: how much is leased at a time.
        lapses_ms: until when the lease holds, monotonic clock.
        used_ms: when something was last set aside.
        dry_until_ms: before then the file is not asked by a request.
        is_asked: whether the thread is asking for the next slice.
    """

    __slots__ = (
        "day_ms",
        "dry_until_ms",
        "elsewhere",
        "granted",
        "is_asked",
        "lapses_ms",
        "left",
        "limit",
        "reserved",
        "slice",
        "spent",
        "tenant",
        "used_ms",
    )

    def __init__(
        self, tenant: TenantId, day_ms: int, limit: UsdMicros, spent: int, left: int
    ) -> None:
        self.tenant = tenant
        self.day_ms = day_ms
        self.limit = limit
        self.granted = self.spent = spent
        self.reserved = 0
        self.left = left
        self.elsewhere = 0
        self.slice = 1
        self.lapses_ms = 0
        self.used_ms = 0
        self.dry_until_ms = 0
        self.is_asked = False

    @property
    def room(self) -> int:
        """What is leased and not in use."""
        return self.granted - self.spent - self.reserved

    def stand(self, standing: Standing, lapses_ms: int) -> None:
        """Take over what the file says."""
        own = standing.granted - self.spent
        self.granted, self.left = standing.granted, standing.left
        self.elsewhere = max(0, standing.unspent - standing.left - own)
        self.lapses_ms = lapses_ms

    def go_alone(self, workers: int) -> None:
        """Go on without the others: with what is leased, and an even share of what was left."""
        self.granted += self.left // workers
        self.left = self.elsewhere = 0
        self.lapses_ms = _NEVER_MS
