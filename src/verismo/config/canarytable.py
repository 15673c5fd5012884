"""The shape of `[canary]` in verismo.toml: by what candidates are judged."""

from typing import Annotated, Final

import msgspec

from verismo.adapt.canarysettings import METRICS, CanarySettings, check_settings, parse_weights
from verismo.adapt.flag import Flag
from verismo.config.flagtable import Flagged, FlagTable, check_flags
from verismo.config.source import Source
from verismo.model.decision import SettingsRefused
from verismo.model.units import Milliseconds

Share = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Ratio = Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
_USUAL: Final = CanarySettings()


class CanaryTable(msgspec.Struct, frozen=True):
    """By what rollouts are judged that are started from now on: docs/adapt-canary.md.

    Args:
        score_weights: of the score; they sum to 1. p99 may be named too.
        ladder_ppm: shares of the requests, ascending to 1,000,000.
        hold_weight_ppm: share of the requests below the first rung, where a first HOLD leads.
        holds_max: the HOLD that rolls back, at most 10.
        look_s: between two looks, seconds; a multiple of `adapt.window_s`.
        p95_tolerance_ppm: how much slower is still within tolerance, in millionths;
            `verismo canary calibrate` says what the noise of two equal deployments asks for.
        p95_harm_ppm: how much slower is harmful.
        p99_tolerance_ppm: the same for p99, which guards by itself.
        p99_harm_ppm: the same for p99.
        error_tolerance_ppm: difference in the share of failures that is within tolerance.
        error_harm_ppm: difference that is harmful.
        cost_tolerance_ppm: how much dearer a request may be.
        cost_harm_ppm: how much dearer is harmful.
        windows_min: looks at a rung before it is left upwards.
        requests_min: requests of the candidate at a rung before it is left upwards.
        bake_s_max: at one rung, seconds; after that a person is asked. Doubled by each HOLD.
        flags: overrides of running rollouts, by operation; see below.
    """

    score_weights: str = "p95=0.5,error=0.3,cost=0.2"
    ladder_ppm: tuple[Share, ...] = _USUAL.ladder_ppm
    hold_weight_ppm: Share = _USUAL.hold_weight_ppm
    holds_max: Annotated[int, msgspec.Meta(ge=1, le=10)] = _USUAL.holds_max
    look_s: Annotated[int, msgspec.Meta(ge=1, le=3_600)] = 60
    p95_tolerance_ppm: Ratio = _USUAL.p95_tolerance_ppm
    p95_harm_ppm: Ratio = _USUAL.p95_harm_ppm
    p99_tolerance_ppm: Ratio = _USUAL.p99_tolerance_ppm
    p99_harm_ppm: Ratio = _USUAL.p99_harm_ppm
    error_tolerance_ppm: Share = _USUAL.error_tolerance_ppm
    error_harm_ppm: Share = _USUAL.error_harm_ppm
    cost_tolerance_ppm: Ratio = _USUAL.cost_tolerance_ppm
    cost_harm_ppm: Ratio = _USUAL.cost_harm_ppm
    windows_min: Count = _USUAL.windows_min
    requests_min: Count = _USUAL.requests_min
    bake_s_max: Annotated[int, msgspec.Meta(ge=60, le=2_592_000)] = 14_400
    flags: dict[str, FlagTable] = {}


class Canary(msgspec.Struct, frozen=True):
    """A checked `[canary]`.

    Args:
        settings: of rollouts that are started from now on.
        look_ms: between two looks.
        flags: overrides that stand in the configuration.
    """

    settings: CanarySettings = _USUAL
    look_ms: Milliseconds = Milliseconds(60_000)
    flags: tuple[Flag, ...] = ()


def check_canary(table: CanaryTable, source: Source, window_s: int, known: Flagged) -> Canary:
    """Check that the settings fit together, and the flags to what there is.

    Args:
        table: `[canary]`.
        source: verismo.toml; takes the problems.
        window_s: length of a window.
        known: what flags may be about.
    """
    flags = check_flags(table.flags, source, known)
    if table.look_s % window_s:
        source.error(("canary", "look_s"), f"must be a multiple of adapt.window_s, {window_s}")
    try:
        settings = CanarySettings(
            weights=parse_weights(table.score_weights),
            ladder_ppm=table.ladder_ppm,
            bake_ms_max=Milliseconds(table.bake_s_max * 1_000),
            **{name: getattr(table, name) for name in _ALIKE},
        )
        check_settings(settings)
    except SettingsRefused as error:
        source.error(("canary",), str(error))
        return Canary()
    return Canary(settings, Milliseconds(table.look_s * 1_000), flags)


_ALIKE: Final = (
    *(f"{one}_{what}_ppm" for one in METRICS for what in ("tolerance", "harm")),
    "hold_weight_ppm",
    "holds_max",
    "windows_min",
    "requests_min",
)
