"""Demand: the samples of a target's load, what is kept of them, and the replicas they ask for.

Load is requests in flight and in the queue, in thousandths: whole numbers all the way, so that
every machine computes the same wish.
"""

from typing import Final

import msgspec

from verismo.adapt.scalingsettings import MILLION, ScalingSettings
from verismo.model.units import Milliseconds

RECENT_MS: Final = 30_000
"""Over which what is in flight is averaged; a request of some seconds is seen several times."""
QUEUE_MS: Final = 15_000
"""Over which the queue is averaged: it is the sign that comes first."""
TREND_MS: Final = 300_000
COUNT_MAX: Final = 10**9
"""More requests in one sample than any target has; keeps every product exact in other languages."""
_MINUTE_MS: Final = 60_000


class ScalingObservation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One sample of a target; None stands for what could not be read, never a default number.

    Args:
        start_ms: its begin, Unix ms.
        end_ms: its end, Unix ms.
        in_flight_milli: mean of requests being worked on, thousandths.
        queued_milli: mean of requests waiting for a slot, thousandths.
        requests: how many began to be worked on, or gave up.
        late: how many of them waited longer than promised.
        replicas: what the platform is asked to run now.
    """

    start_ms: Milliseconds
    end_ms: Milliseconds
    in_flight_milli: int | None
    queued_milli: int | None
    requests: int | None
    late: int | None
    replicas: int | None


class Load(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """What is kept of one recent sample, as `[end_ms, in_flight_milli, queued_milli]`."""

    end_ms: Milliseconds
    in_flight_milli: int
    queued_milli: int


class Minute(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """What is kept of one minute.

    Args:
        number: minutes since 1970.
        samples: how many.
        load_milli: the sum of their loads.
        requests: the sum.
        late: the sum.
        wish: the most replicas that were wished for in it.
    """

    number: int
    samples: int = 0
    load_milli: int = 0
    requests: int = 0
    late: int = 0
    wish: int = 0


class Memory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The load that was seen without a hole.

    Args:
        since_ms: begin of the first sample; None before it.
        until_ms: end of the newest sample.
        late_ms: end of the newest sample of a bad minute; outlives holes.
        recent: the samples of the last half minute.
        minutes: the last minutes, oldest first.
    """

    since_ms: Milliseconds | None = None
    until_ms: Milliseconds = Milliseconds(0)
    late_ms: Milliseconds | None = None
    recent: tuple[Load, ...] = ()
    minutes: tuple[Minute, ...] = ()


class Wish(msgspec.Struct, frozen=True):
    """What the load asks for.

    Args:
        load_milli: now.
        forecast_milli: when a replica that is asked for now serves.
        queued_milli: now.
        replicas: for the larger of both, with the headroom and within the bounds.
    """

    load_milli: int
    forecast_milli: int
    queued_milli: int
    replicas: int


def fault_of(
    observation: ScalingObservation | None,
    memory: Memory,
    settings: ScalingSettings,
    now_ms: Milliseconds,
) -> str:
    """Return why a sample is no data; empty if it is.

    Args:
        observation: as it came, of whatever types.
        memory: what was seen before.
        settings: of the target.
        now_ms: Unix ms.
    """
    if observation is None:
        return "no_sample"
    counts = (
        observation.in_flight_milli,
        observation.queued_milli,
        observation.requests,
        observation.late,
        observation.replicas,
    )
    if any(count is None for count in counts):
        return "sample_incomplete"
    if any(
        type(count) is not int or not 0 <= count <= COUNT_MAX
        for count in counts
        if count is not None
    ):
        return "sample_not_a_count"
    if (observation.late or 0) > (observation.requests or 0) or observation.replicas == 0:
        return "sample_contradicts_itself"
    return _fault_of_time(observation, memory, settings, now_ms)


def _fault_of_time(
    observation: ScalingObservation, memory: Memory, settings: ScalingSettings, now_ms: int
) -> str:
    start_ms, end_ms = observation.start_ms, observation.end_ms
    if type(start_ms) is not int or type(end_ms) is not int or not 0 <= start_ms < end_ms:
        return "sample_without_time"
    if end_ms > now_ms:
        return "sample_from_the_future"
    if now_ms - start_ms > settings.stale_ms_max:
        return "sample_too_old"
    if start_ms < memory.until_ms:
        return "sample_seen_before"
    return ""


def remember(memory: Memory, seen: ScalingObservation, settings: ScalingSettings) -> Memory:
    """Return the memory with a sample that has no fault; a hole before it empties the memory."""
    if seen.start_ms - memory.until_ms > settings.stale_ms_max:
        memory = Memory(late_ms=memory.late_ms)
    in_flight, queued = seen.in_flight_milli or 0, seen.queued_milli or 0
    recent = tuple(load for load in memory.recent if load.end_ms > seen.end_ms - RECENT_MS)
    minutes, last = _open_minute(memory, seen, settings)
    last = msgspec.structs.replace(
        last,
        samples=last.samples + 1,
        load_milli=last.load_milli + in_flight + queued,
        requests=last.requests + (seen.requests or 0),
        late=last.late + (seen.late or 0),
    )
    is_bad = last.late * MILLION > settings.late_ppm * last.requests
    return Memory(
        since_ms=memory.since_ms if memory.since_ms is not None else seen.start_ms,
        until_ms=seen.end_ms,
        late_ms=seen.end_ms if is_bad else memory.late_ms,
        recent=(*recent, Load(seen.end_ms, in_flight, queued)),
        minutes=(*minutes, last),
    )


def _open_minute(
    memory: Memory, seen: ScalingObservation, settings: ScalingSettings
) -> tuple[tuple[Minute, ...], Minute]:
    number = (seen.end_ms - 1) // _MINUTE_MS
    kept = number - max(settings.steps.calm_ms, TREND_MS) // _MINUTE_MS
    minutes = tuple(minute for minute in memory.minutes if minute.number >= kept)
    if minutes and minutes[-1].number == number:
        return minutes[:-1], minutes[-1]
    return minutes, Minute(number)


def with_wish(memory: Memory, replicas: int) -> Memory:
    """Return the memory with what was wished for at its newest sample."""
    last = memory.minutes[-1]
    raised = msgspec.structs.replace(last, wish=max(last.wish, replicas))
    return msgspec.structs.replace(memory, minutes=(*memory.minutes[:-1], raised))


def wish(memory: Memory, headroom_ppm: int, settings: ScalingSettings) -> Wish:
    """Return the replicas that the load asks for.

    Args:
        memory: with one sample at least.
        headroom_ppm: above the forecast.
        settings: of the target.
    """
    newest_ms = memory.until_ms
    in_flight = [load.in_flight_milli for load in memory.recent]
    queued = [x.queued_milli for x in memory.recent if x.end_ms > newest_ms - QUEUE_MS]
    queued_milli = sum(queued) // len(queued)
    load_milli = sum(in_flight) // len(in_flight) + queued_milli
    horizon_s = (settings.cold_start_ms + settings.gap_ms) // 1_000
    forecast_milli = max(load_milli, _trend(memory, horizon_s))
    needed = -(-forecast_milli * (MILLION + headroom_ppm) // (settings.slots * 1_000 * MILLION))
    replicas = min(max(needed, settings.replicas_min), settings.replicas_max)
    return Wish(load_milli, forecast_milli, queued_milli, replicas)


def _trend(memory: Memory, horizon_s: int) -> int:
    """Return the load at the horizon on the straight line of least squares, thousandths."""
    newest = memory.minutes[-1].number
    points = [
        ((minute.number - newest) * 60, minute.load_milli // minute.samples)
        for minute in memory.minutes
        if minute.number > newest - TREND_MS // _MINUTE_MS
    ]
    count = len(points)
    sum_t = sum(at_s for at_s, _ in points)
    sum_y = sum(load for _, load in points)
    spread = count * sum(at_s * at_s for at_s, _ in points) - sum_t * sum_t
    if spread == 0:
        return 0
    slope = count * sum(at_s * load for at_s, load in points) - sum_t * sum_y
    return sum_y // count + slope * (count * horizon_s - sum_t) // (count * spread)
