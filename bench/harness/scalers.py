"""The scalers that are compared. All but the guard are re-implementations of a published rule.

HPA: Kubernetes' algorithm details (desired = ceil(load / target), tolerance 10 %, the highest wish
of 300 s before a step down, up by at most the larger of 100 % and 4 pods each 15 s). KPA: Knative's
autoscaler.go (stable 60 s, panic 6 s at 200 %). Each in one configuration, target 70 % of the
slots, and none of them tuned.
"""

from math import ceil

from harness.cluster import SLOTS, Seen
from verismo.adapt import scaling
from verismo.adapt.demand import ScalingObservation
from verismo.adapt.scalingsettings import ScalingSettings
from verismo.model.units import Milliseconds

TARGET = 0.7
MIN, MAX = 1, 5_000
GAP_S = 120


def _load(seen: Seen, now_s: int, over_s: int) -> float:
    begin_s = max(0, now_s - over_s)
    return float((seen.in_flight[begin_s:now_s] + seen.queued[begin_s:now_s]).mean())


class Hpa:
    """Plain HPA, or with a gap between actions, or with stabilisation upwards too."""

    every_s = 15

    def __init__(self, *, gap_s: int = 0, up_s: int = 0) -> None:
        self.gap_s, self.up_s = gap_s, up_s
        self.acted_s = -GAP_S
        self.wishes: list[tuple[int, int]] = []

    def replicas(self, now_s: int, seen: Seen, current: int) -> int:
        load = _load(seen, now_s, 30)
        ratio = load / (TARGET * SLOTS * current)
        wish = current if abs(ratio - 1) <= 0.1 else ceil(load / (TARGET * SLOTS))
        self.wishes = [x for x in self.wishes if x[0] > now_s - 300] + [(now_s, wish)]
        highest = max(x[1] for x in self.wishes)
        lowest = min(x[1] for x in self.wishes if x[0] > now_s - max(self.up_s, 1))
        wanted = current
        if lowest > current:
            wanted = min(lowest, max(2 * current, current + 4))
        elif highest < current:
            wanted = highest
        wanted = min(max(wanted, MIN), MAX)
        if wanted != current:
            if now_s - self.acted_s < self.gap_s:
                return current
            self.acted_s = now_s
        return wanted


class Kpa:
    """Knative's default autoscaler, looked at every 2 s."""

    every_s = 2

    def __init__(self) -> None:
        self.panic_s = -60
        self.peak = 0

    def replicas(self, now_s: int, seen: Seen, current: int) -> int:
        stable, panic = (ceil(_load(seen, now_s, s) / (TARGET * SLOTS)) for s in (60, 6))
        floor = current // 2
        stable, panic = max(stable, floor), max(panic, floor)
        if panic >= 2 * current:
            self.panic_s, self.peak = now_s, max(self.peak, current)
        if now_s - self.panic_s < 60:
            self.peak = max(self.peak, panic, stable)
            return min(max(self.peak, MIN), MAX)
        self.peak = 0
        return min(max(stable, MIN), MAX)


class Guard:
    """Verismo's rule, asked every 5 s with what a gateway would have counted."""

    every_s = 5

    def __init__(self, settings: ScalingSettings) -> None:
        self.settings = settings
        self.state = scaling.start(settings)

    def replicas(self, now_s: int, seen: Seen, current: int) -> int:
        span = slice(now_s - self.every_s, now_s)
        observation = ScalingObservation(
            start_ms=Milliseconds((now_s - self.every_s) * 1_000),
            end_ms=Milliseconds(now_s * 1_000),
            in_flight_milli=int(seen.in_flight[span].sum()) * 1_000 // self.every_s,
            queued_milli=int(seen.queued[span].sum()) * 1_000 // self.every_s,
            requests=int(seen.begun[span].sum()),
            late=int(seen.late[span].sum()),
            replicas=current,
        )
        now_ms = Milliseconds(now_s * 1_000)
        decision = scaling.decide(self.state, observation, self.settings, now_ms)
        self.state = decision.state
        return decision.action.after


def guard(cold_s: int) -> Guard:
    """Return the guard with the settings that it has by default."""
    return Guard(
        ScalingSettings(
            target="simulated",
            replicas_min=MIN,
            replicas_max=MAX,
            slots=SLOTS,
            cold_start_ms=Milliseconds(cold_s * 1_000),
        )
    )
