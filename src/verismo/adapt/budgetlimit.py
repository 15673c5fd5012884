"""The limit of a tenant's route, learned each hour from its own last days of spending.

What is limited is W60: the spend that was offered within 60 s, looked at every 10 s. The rule:

    base(hour)  = max(Q.995 of W60 at this hour of day +- 1 h, Q.999 / 2, maximum / 4)
    limit       = min(kappa * base(hour), ceiling * Q.95)

`kappa` is calibrated for each route on its own past, once a day: each past hour is held against the
base that the other days give for it, and kappa is the conformal quantile of what the hours needed.
A steady route gets a tight limit and a bursty one a loose one. The ceiling makes sure that spend of
a stated multiple of the usual is a breach, however bursty the route was.

Spend counts only up to the limit that was in force, and hours with a breach raise no quantile: a
runaway caller cannot train the limit upwards. Without three days of data nothing is learned.

Source: split conformal prediction, Vovk et al., Algorithmic Learning in a Random World, 2005.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from verismo.model import canonical
from verismo.model.decision import (
    Action,
    Decision,
    Metric,
    SettingsRefused,
    Subject,
    Verdict,
    digest_of,
)
from verismo.model.units import Milliseconds, Ppm, UsdMicros
from verismo.model.window import BUCKETS, LOWER_EDGES_US, Histogram, bucket_of, from_counts

VERSION: Final = 1
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
MILLION: Final = 1_000_000
HOURS_MAX: Final = 7 * 24
"""One week; more history is ignored."""


class SpendHour(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one hour of a route held; `spend_hour` makes it.

    Args:
        start_ms: Unix ms, a whole hour.
        spend: W60 at each evaluation in USD micros, none above the limit in force then.
        sustained_usd_micros: the largest W60 that two successive evaluations reached, likewise.
        breached: whether the route was throttled at any time in it.
    """

    start_ms: Milliseconds
    spend: Histogram
    sustained_usd_micros: UsdMicros
    breached: bool


class LimitSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a limit is learned.

    Args:
        throttled_hours_ppm: share of a route's own hours that its limit may throttle; conformal.
        kappa_ppm_min: least factor on the base.
        kappa_ppm_max: greatest factor on the base.
        ceiling_ppm: greatest limit, as a multiple of the 95th percentile of W60.
        hours_min: history below which nothing is learned.
        floor_usd_micros: least limit.
        band_ppm: a change below this share of the limit is not made.
        rise_ppm: greatest rise for a decision, as a share of the limit.
        fall_ppm: greatest fall for a decision, as a share of the limit.
    """

    throttled_hours_ppm: Ppm = Ppm(5_000)
    kappa_ppm_min: int = 1_200_000
    kappa_ppm_max: int = 6_000_000
    ceiling_ppm: int = 4_500_000
    hours_min: int = 72
    floor_usd_micros: UsdMicros = UsdMicros(10_000)
    band_ppm: Ppm = Ppm(100_000)
    rise_ppm: Ppm = Ppm(500_000)
    fall_ppm: Ppm = Ppm(200_000)


class LimitState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the next hour's decision starts from.

    Args:
        limit_usd_micros: learned limit of W60; None as long as nothing is learned.
        kappa_ppm: factor on the base; 0 before the first calibration.
        usual_usd_micros: the part of the base that does not depend on the hour.
        ceiling_usd_micros: greatest limit.
        calibrated_ms: Unix ms of the last calibration.
        decided_ms: Unix ms of the last decision.
    """

    limit_usd_micros: UsdMicros | None = None
    kappa_ppm: int = 0
    usual_usd_micros: int = 0
    ceiling_usd_micros: int = 0
    calibrated_ms: Milliseconds = Milliseconds(0)
    decided_ms: Milliseconds = Milliseconds(0)


class LimitObservation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the limit of one route is learned from.

    Args:
        subject: tenant and operation.
        hours: its history in any order; repeated hours count once.
        damped: whether changes are halved, because the route went on and off too often.
    """

    subject: Subject
    hours: tuple[SpendHour, ...]
    damped: bool = False


def decide(
    state: LimitState,
    observation: LimitObservation,
    settings: LimitSettings,
    now_ms: Milliseconds,
) -> Decision[LimitState]:
    """Learn the limit of one route for the hour that begins.

    Args:
        state: of the last decision, or `LimitState()`.
        observation: history of the route.
        settings: checked by `check_limit_settings`.
        now_ms: Unix ms.

    Returns:
        CONTINUE with a new limit, NOOP with the old one, NODATA where nothing can be learned; then
        the state is kept as it was.

    Raises:
        SettingsRefused: the settings make no sense.
    """
    check_limit_settings(settings)
    hours, fault = _usable(observation.hours, now_ms)
    if now_ms <= state.decided_ms:
        fault = "clock_stepped_back"
    elif not fault and len(_learnable(hours)) < settings.hours_min:
        fault = f"history_too_short hours={len(_learnable(hours))} min={settings.hours_min}"
    found, reason = state, fault
    verdict: Verdict = "NODATA"
    if not fault:
        found = learn(state, hours, settings, now_ms, damped=observation.damped)
        changed = found.limit_usd_micros != state.limit_usd_micros
        verdict, reason = ("CONTINUE", "learned") if changed else ("NOOP", "within_band")
    values: dict[str, int | None] = {
        "kappa_ppm": found.kappa_ppm or None,
        "ceiling_usd_micros": found.ceiling_usd_micros or None,
        "hours": len(hours),
    }
    return Decision(
        controller="budget",
        version=VERSION,
        subject=observation.subject,
        verdict=verdict,
        action=Action("limit_usd_micros", state.limit_usd_micros or 0, found.limit_usd_micros or 0),
        reasons=(reason,),
        inputs=inputs_digest(observation),
        settings=digest_of(settings),
        at_ms=now_ms,
        metrics=(Metric("limit", "NODATA" if fault else "OK", values),),
        state=found,
    )


def check_limit_settings(settings: LimitSettings) -> None:
    """Refuse settings that make no sense.

    Raises:
        SettingsRefused: names the setting and what to write instead.
    """
    numbers = [getattr(settings, name) for name in settings.__struct_fields__]
    if not all(is_count(one) for one in numbers):
        raise SettingsRefused("a setting is no whole number", "Write integers from 0 up.")
    if not 0 < settings.throttled_hours_ppm < MILLION:
        raise SettingsRefused("throttled_hours_ppm is no share", "Write 1 to 999,999.")
    if not 0 < settings.kappa_ppm_min <= settings.kappa_ppm_max:
        raise SettingsRefused("kappa_ppm_min is above kappa_ppm_max or 0", "Swap or raise them.")
    if not 0 < settings.fall_ppm < MILLION or not settings.rise_ppm:
        raise SettingsRefused(
            "a limit could not move", "Set fall_ppm below 1,000,000, both above 0."
        )
    if settings.ceiling_ppm <= MILLION or not settings.floor_usd_micros:
        raise SettingsRefused(
            "the limit would stop usual spend", "Set ceiling_ppm above 1,000,000."
        )
    if not 24 <= settings.hours_min <= HOURS_MAX:
        raise SettingsRefused("hours_min is not 24 to 168", "Write 72 for three days.")


def is_count(value: object) -> bool:
    """Say whether a value is a whole number, 0 or more, that a record can hold."""
    return type(value) is int and 0 <= value <= canonical.MAX_INTEGER


def inputs_digest(observation: object) -> str:
    """Return the digest of an observation; empty where it holds what no record can."""
    try:
        return digest_of(observation)
    except canonical.NotCanonical:
        return ""


def spend_hour(
    start_ms: Milliseconds, offered: Sequence[int], limits: Sequence[int], *, breached: bool
) -> SpendHour:
    """Sum up one hour of evaluations.

    Args:
        start_ms: Unix ms, a whole hour.
        offered: W60 in USD micros at each evaluation, in order.
        limits: the limit in force at each.
        breached: whether the route was throttled at any time in it.
    """
    clipped = [min(pair) for pair in zip(offered, limits, strict=True)]
    sustained = max((min(pair) for pair in itertools.pairwise(clipped)), default=0)
    counts = Counter(bucket_of(one) for one in clipped)
    return SpendHour(start_ms, from_counts(counts), UsdMicros(sustained), breached)


def hours_fault(hours: Iterable[SpendHour]) -> str:
    """Say why history cannot be learned from; empty if it can."""
    for one in hours:
        numbers = (one.start_ms, one.sustained_usd_micros, *one.spend.buckets, *one.spend.counts)
        if not all(is_count(number) for number in numbers):
            return "number_out_of_range"
        if one.start_ms % HOUR_MS or one.spend.fault():
            return "hour_malformed"
    return ""


def _usable(hours: Iterable[SpendHour], now_ms: int) -> tuple[tuple[SpendHour, ...], str]:
    """Return the last week in order, and why it cannot be used."""
    given = tuple(hours)
    fault = hours_fault(given)
    if fault:
        return (), fault
    by_start: dict[int, SpendHour] = {}
    for one in given:
        if by_start.setdefault(one.start_ms, one) != one:
            return (), "hours_contradict"
    recent = (at for at in by_start if now_ms - HOURS_MAX * HOUR_MS <= at <= now_ms - HOUR_MS)
    return tuple(by_start[at] for at in sorted(recent)), ""


def _learnable(hours: Iterable[SpendHour]) -> list[SpendHour]:
    return [one for one in hours if not one.breached and one.spend.total]


def learn(
    state: LimitState,
    hours: tuple[SpendHour, ...],
    settings: LimitSettings,
    now_ms: int,
    *,
    damped: bool,
) -> LimitState:
    """Return the state with the limit of the hour: the arithmetic of `decide` without its checks.

    Args:
        state: of the last decision.
        hours: the last week, each hour once, at least one of them learnable.
        settings: without fault.
        now_ms: Unix ms.
        damped: whether changes are halved.
    """
    known = state if state.kappa_ppm else None
    if known is None or now_ms - known.calibrated_ms >= DAY_MS:
        known = _calibrated(state, hours, settings, now_ms)
    seasonal = _near(_learnable(hours), now_ms // HOUR_MS % 24)
    base = max(_quantile(_sum(seasonal), 995_000), known.usual_usd_micros)
    wanted = min(known.kappa_ppm * base // MILLION, known.ceiling_usd_micros)
    wanted = max(wanted, settings.floor_usd_micros)
    limit = _moved(state.limit_usd_micros, wanted, settings, 2 if damped else 1)
    return msgspec.structs.replace(known, limit_usd_micros=limit, decided_ms=Milliseconds(now_ms))


def _moved(before: int | None, wanted: int, settings: LimitSettings, damping: int) -> UsdMicros:
    """Return the limit after at most one step towards the wanted one."""
    if before is None:
        return UsdMicros(wanted)
    if abs(wanted - before) * MILLION < settings.band_ppm * before:
        return UsdMicros(before)
    highest = before + before * settings.rise_ppm // damping // MILLION
    lowest = before - before * settings.fall_ppm // damping // MILLION
    return UsdMicros(min(max(wanted, lowest, settings.floor_usd_micros), max(highest, before + 1)))


def _calibrated(
    state: LimitState, hours: tuple[SpendHour, ...], settings: LimitSettings, now_ms: int
) -> LimitState:
    """Set kappa, the usual and the ceiling from the whole history."""
    learnable = _learnable(hours)
    total = _sum(learnable)
    common = _quantile(total, 950_000)
    usual = max(_quantile(total, 999_000) // 2, _quantile(total, MILLION) // 4, 1)
    needs = sorted(_need_ppm(one, learnable, usual) for one in hours)
    kept = settings.throttled_hours_ppm * (len(needs) + 1) // MILLION
    kappa = needs[-max(kept, 1)]
    return msgspec.structs.replace(
        state,
        kappa_ppm=min(max(kappa, settings.kappa_ppm_min), settings.kappa_ppm_max),
        usual_usd_micros=usual,
        # A route that is idle 95 % of the time has no usual spend of a minute; its bursts are it.
        ceiling_usd_micros=settings.ceiling_ppm
        * (common if common > LOWER_EDGES_US[1] else usual)
        // MILLION,
        calibrated_ms=Milliseconds(now_ms),
    )


def _need_ppm(hour: SpendHour, learnable: list[SpendHour], usual: int) -> int:
    """Return the factor on the base of the other days that lets this hour pass."""
    day = hour.start_ms // DAY_MS
    others = [
        one
        for one in _near(learnable, hour.start_ms // HOUR_MS % 24)
        if one.start_ms // DAY_MS != day
    ]
    base = max(_quantile(_sum(others), 995_000), usual)
    return -(-hour.sustained_usd_micros * MILLION // base)  # rounded up: the hour passes


def _near(hours: Iterable[SpendHour], hour_of_day: int) -> list[SpendHour]:
    """Return the hours that lie at most one hour of day away."""
    return [one for one in hours if (one.start_ms // HOUR_MS - hour_of_day + 1) % 24 <= 2]


def _sum(hours: Iterable[SpendHour]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for hour in hours:
        for bucket, count in zip(hour.spend.buckets, hour.spend.counts, strict=True):
            counts[bucket] = counts.get(bucket, 0) + count
    return counts


def _quantile(counts: dict[int, int], share_ppm: int) -> int:
    """Return the first bucket edge above a share of the values, in USD micros; 0 without any."""
    edge = from_counts(counts).quantile_edge(share_ppm)
    return 0 if edge is None else LOWER_EDGES_US[min(edge, BUCKETS - 1)]
