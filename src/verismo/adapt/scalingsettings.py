"""What a target's scaling is set to, and which settings are refused."""

from typing import Final

import msgspec

from verismo.model.decision import SettingsRefused
from verismo.model.units import Milliseconds, Ppm

GAP_MS_MIN: Final = 120_000
"""The promise of the product: no more than one action in two minutes."""
REPLICAS_MAX: Final = 100_000
"""Far above what one Kubernetes cluster runs; keeps every product below 2**53."""
MILLION: Final = 1_000_000


class Headroom(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much above the forecast is asked for, learned from requests that waited too long.

    Args:
        start_ppm: before anything is learned.
        min_ppm: never below.
        max_ppm: never above.
        raise_ppm: added after a span with a bad minute.
        lower_ppm: taken off after one without.
        every_ms: how often it is learned.
        memory_ms: how long a bad minute counts.
    """

    start_ppm: Ppm = Ppm(350_000)
    min_ppm: Ppm = Ppm(200_000)
    max_ppm: Ppm = Ppm(700_000)
    raise_ppm: Ppm = Ppm(80_000)
    lower_ppm: Ppm = Ppm(6_000)
    every_ms: Milliseconds = Milliseconds(600_000)
    memory_ms: Milliseconds = Milliseconds(1_800_000)


class Steps(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a step is worth the gap that it costs, and how large it is.

    Args:
        up_band_ppm: a step up needs a wish that much above the replicas.
        up_margin_ppm: a step up goes that much above the wish, so that small ones do not follow.
        queue_ppm: with so much of all slots queued, every wish above the replicas is a step up.
        down_band_ppm: a step down needs the largest wish of `calm_ms` that much below the replicas.
        down_max_ppm: a step down takes at most that share of the replicas.
        calm_ms: for how long, without a hole, wishes must have been seen before a step down.
        clean_ms: for how long no minute may have been bad before a step down.
    """

    up_band_ppm: Ppm = Ppm(60_000)
    up_margin_ppm: Ppm = Ppm(80_000)
    queue_ppm: Ppm = Ppm(20_000)
    down_band_ppm: Ppm = Ppm(120_000)
    down_max_ppm: Ppm = Ppm(250_000)
    calm_ms: Milliseconds = Milliseconds(600_000)
    clean_ms: Milliseconds = Milliseconds(900_000)


class ScalingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one target is scaled.

    Args:
        target: its name, such as `deployment/reader`.
        replicas_min: never fewer, 1 at least: with none there is no telemetry to leave it by.
        replicas_max: never more.
        slots: requests that one replica works on at a time.
        cold_start_ms: from the request for a replica to its first answer.
        gap_ms: between two actions, as they reach the platform.
        act_ms_max: how long an action may take to arrive there; the actuator drops a later one.
        tick_ms_max: between two decisions; a longer time, or a clock that goes back, is no time.
        stale_ms_max: how old a sample may be, and how long a hole between two.
        late_ppm: the share of a minute's requests that may wait too long for a slot.
        headroom: how it is learned.
        steps: when they are taken.
    """

    target: str
    replicas_min: int
    replicas_max: int
    slots: int
    cold_start_ms: Milliseconds
    gap_ms: Milliseconds = Milliseconds(120_000)
    act_ms_max: Milliseconds = Milliseconds(5_000)
    tick_ms_max: Milliseconds = Milliseconds(30_000)
    stale_ms_max: Milliseconds = Milliseconds(60_000)
    late_ppm: Ppm = Ppm(10_000)
    headroom: Headroom = Headroom()
    steps: Steps = Steps()

    @property
    def spacing_ms(self) -> int:
        """Between two decisions to act, so that the actions keep the gap however long they take."""
        return self.gap_ms + self.act_ms_max

    def check(self) -> None:
        """Refuse what cannot be kept.

        Raises:
            SettingsRefused: names the setting and what to write instead.
        """
        for name, value, low, high in self._bounds():
            if type(value) is not int or not low <= value <= high:
                raise SettingsRefused(
                    f"scaling of {self.target!r}: {name} is {value!r}",
                    f"Write a whole number from {low} to {high}.",
                )

    def _bounds(self) -> tuple[tuple[str, int, int, int], ...]:
        hour_ms, head, steps = 3_600_000, self.headroom, self.steps
        return (
            ("replicas_min", self.replicas_min, 1, REPLICAS_MAX),
            ("replicas_max", self.replicas_max, self.replicas_min, REPLICAS_MAX),
            ("slots", self.slots, 1, 10_000),
            ("cold_start_ms", self.cold_start_ms, 0, hour_ms),
            ("gap_ms", self.gap_ms, GAP_MS_MIN, hour_ms),
            ("act_ms_max", self.act_ms_max, 0, 60_000),
            ("tick_ms_max", self.tick_ms_max, 1_000, self.gap_ms // 2),
            ("stale_ms_max", self.stale_ms_max, 1_000, 300_000),
            ("late_ppm", self.late_ppm, 0, MILLION),
            ("headroom.min_ppm", head.min_ppm, 0, 10 * MILLION),
            ("headroom.max_ppm", head.max_ppm, head.min_ppm, 10 * MILLION),
            ("headroom.start_ppm", head.start_ppm, head.min_ppm, head.max_ppm),
            ("headroom.raise_ppm", head.raise_ppm, 0, MILLION),
            ("headroom.lower_ppm", head.lower_ppm, 0, MILLION),
            ("headroom.every_ms", head.every_ms, 60_000, 24 * hour_ms),
            ("headroom.memory_ms", head.memory_ms, 0, 24 * hour_ms),
            ("steps.up_band_ppm", steps.up_band_ppm, 0, MILLION),
            ("steps.up_margin_ppm", steps.up_margin_ppm, 0, MILLION),
            ("steps.queue_ppm", steps.queue_ppm, 0, MILLION),
            ("steps.down_band_ppm", steps.down_band_ppm, 0, MILLION),
            ("steps.down_max_ppm", steps.down_max_ppm, 1, MILLION),
            ("steps.calm_ms", steps.calm_ms, 60_000, hour_ms),
            ("steps.clean_ms", steps.clean_ms, 0, 24 * hour_ms),
        )
