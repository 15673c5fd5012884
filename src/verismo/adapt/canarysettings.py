"""Settings of a canary: tolerances, weights of the score, error levels, the ladder.

All ratios are integers in millionths. Settings that do not fit together are refused, never mended.
"""

import math
import re
from itertools import pairwise
from typing import Final

import msgspec

from verismo.model import canonical
from verismo.model.decision import SettingsRefused
from verismo.model.units import Milliseconds

PPM: Final = 1_000_000
METRICS: Final = ("p95", "error", "cost", "p99")
_SHARE = re.compile(r"0*(?:\.[0-9]{1,6}|0(?:\.[0-9]{0,6})?|1(?:\.0{0,6})?)").fullmatch


class ScoreWeights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much each metric counts in the score; the four sum to 1,000,000.

    PROMOTE asks for evidence about every metric that has a weight.
    """

    p95_ppm: int = 500_000
    error_ppm: int = 300_000
    cost_ppm: int = 200_000
    p99_ppm: int = 0


class CanarySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a canary is judged by.

    Args:
        weights: of the score.
        threshold_ppm: the score from which on a candidate is good. 850,000: with a weight of 0.2 a
            total failure in cost leaves 800,000.
        p95_tolerance_ppm: how much slower is still within tolerance. 5 %: replicas of one build
            differ by as much.
        p95_harm_ppm: how much slower is harmful.
        p99_tolerance_ppm: the same for p99, which guards by itself.
        p99_harm_ppm: the same for p99.
        error_tolerance_ppm: difference in the share of failures that is within tolerance.
        error_harm_ppm: difference that is harmful.
        error_odds_ppm: ratio of odds up to which more failures are no evidence.
        cost_tolerance_ppm: how much dearer each request may be.
        cost_harm_ppm: how much dearer is harmful.
        severe_ratio_ppm: a ratio of p95 or cost from which on nobody waits.
        severe_odds_ppm: a ratio of odds of failure from which on nobody waits.
        severe_error_ppm: the difference in the share of failures that must come with it.
        alpha_hold_ppm: chance of ever holding a candidate that is within every tolerance.
        alpha_p99_ppm: the part of it that the p99 guard has for itself.
        alpha_promote_ppm: chance of ever promoting one that is at a harm margin.
        alpha_rung_ppm: the same for the evidence of one rung alone.
        alpha_severe_ppm: chance of rolling back for severity without cause.
        alpha_split_ppm: chance of doubting a traffic split that is as it should be.
        ladder_ppm: shares of traffic, ascending, the last one 1,000,000.
        hold_weight_ppm: share of traffic below the first rung.
        windows_min: looks at a rung before PROMOTE.
        requests_min: requests of the candidate at a rung before PROMOTE.
        window_requests_min: fewer in one arm and the window waits for the next one.
        silence_ms_max: without data for longer the verdict is NODATA.
        silence_hold_ms: without data for longer the verdict is HOLD.
        bake_ms_max: at one rung; after that a person is asked. Doubled by each HOLD.
        holds_max: the HOLD that rolls back, at most 10.
        baseline_deployment: digest of what is configured of it, hex; not there in a comparison from
            outside, and in a rollout that was begun by an earlier version.
        candidate_deployment: the same of the candidate.
    """

    weights: ScoreWeights = ScoreWeights()
    threshold_ppm: int = 850_000
    p95_tolerance_ppm: int = 50_000
    p95_harm_ppm: int = 200_000
    p99_tolerance_ppm: int = 50_000
    p99_harm_ppm: int = 600_000
    error_tolerance_ppm: int = 1_000
    error_harm_ppm: int = 5_000
    error_odds_ppm: int = 1_250_000
    cost_tolerance_ppm: int = 20_000
    cost_harm_ppm: int = 100_000
    severe_ratio_ppm: int = 1_500_000
    severe_odds_ppm: int = 5_000_000
    severe_error_ppm: int = 10_000
    alpha_hold_ppm: int = 50_000
    alpha_p99_ppm: int = 10_000
    alpha_promote_ppm: int = 50_000
    alpha_rung_ppm: int = 200_000
    alpha_severe_ppm: int = 1_000
    alpha_split_ppm: int = 1_000
    ladder_ppm: tuple[int, ...] = (50_000, 200_000, 500_000, PPM)
    hold_weight_ppm: int = 10_000
    windows_min: int = 10
    requests_min: int = 500
    window_requests_min: int = 60
    silence_ms_max: Milliseconds = Milliseconds(600_000)
    silence_hold_ms: Milliseconds = Milliseconds(1_800_000)
    bake_ms_max: Milliseconds = Milliseconds(4 * 3_600_000)
    holds_max: int = 3
    baseline_deployment: str | msgspec.UnsetType = msgspec.UNSET
    candidate_deployment: str | msgspec.UnsetType = msgspec.UNSET


def parse_weights(text: str) -> ScoreWeights:
    """Read weights as they are written on the command line.

    Args:
        text: such as `p95=0.5,error=0.3,cost=0.2`; p99 may be named too, what is not named is 0.

    Raises:
        SettingsRefused: says which part cannot be read, or that they do not sum to 1.
    """
    found: dict[str, int] = {}
    for part in text.split(","):
        name, _, share = (piece.strip() for piece in part.partition("="))
        if name not in METRICS:
            raise SettingsRefused(f"{part!r} names no metric", f"Name {', '.join(METRICS)}.")
        if name in found:
            raise SettingsRefused(f"{name} has two weights", "Give each metric one weight.")
        if not share or _SHARE(share) is None:
            raise SettingsRefused(
                f"{part!r} is no weight", "Write name=share, the share from 0 to 1, such as 0.25."
            )
        whole, _, fraction = share.partition(".")
        found[name] = int(whole or "0") * PPM + int(fraction.ljust(6, "0") or "0")
    weights = ScoreWeights(**{f"{name}_ppm": found.get(name, 0) for name in METRICS})
    check_weights(weights)
    return weights


def check_weights(weights: ScoreWeights) -> None:
    """Refuse weights that are no shares or do not sum to 1.

    Raises:
        SettingsRefused: says what they sum to.
    """
    shares = [getattr(weights, f"{name}_ppm") for name in METRICS]
    if any(type(share) is not int or not 0 <= share <= PPM for share in shares):
        raise SettingsRefused("a weight is no share", "Give shares from 0 to 1,000,000 ppm.")
    if sum(shares) != PPM:
        raise SettingsRefused(
            f"the weights sum to {sum(shares)} ppm", "Give weights that sum to 1."
        )


def check_settings(settings: CanarySettings) -> None:
    """Refuse settings that do not fit together.

    Raises:
        SettingsRefused: names the setting and what it should be.
    """
    check_weights(settings.weights)
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if name in ("baseline_deployment", "candidate_deployment"):
            _check_digest(name, value)
        elif name not in ("weights", "ladder_ppm") and (type(value) is not int or value < 1):
            raise SettingsRefused(f"{name} is {value!r}", "Give a whole number above 0.")
    _check_margins(settings)
    _check_levels(settings)
    _check_ladder(settings)


def _check_digest(name: str, value: object) -> None:
    if value is not msgspec.UNSET and not (isinstance(value, str) and canonical.is_digest(value)):
        raise SettingsRefused(f"{name} is no digest", "Leave it out.")


def _check_margins(settings: CanarySettings) -> None:
    for metric in METRICS:
        tolerance = getattr(settings, f"{metric}_tolerance_ppm")
        harm = getattr(settings, f"{metric}_harm_ppm")
        # Latencies are compared in steps of 1 %, so the two margins must be a step apart.
        near = buckets_up(PPM + tolerance) >= buckets_down(PPM + harm) and metric != "error"
        if tolerance >= harm or near:
            raise SettingsRefused(
                f"{metric}_harm_ppm {harm} is not above {metric}_tolerance_ppm {tolerance}",
                "Set the harm margin at least 3 % above the tolerance; for errors, above it.",
            )
    if settings.error_harm_ppm >= PPM:
        raise SettingsRefused("error_harm_ppm is 1 or more", "Give a share below 1,000,000 ppm.")
    if settings.error_odds_ppm < PPM or settings.severe_odds_ppm <= settings.error_odds_ppm:
        raise SettingsRefused(
            "error_odds_ppm and severe_odds_ppm are not ratios that grow",
            "Give 1,000,000 or more, and the severe one above the other.",
        )
    if settings.severe_ratio_ppm <= PPM + max(settings.p95_harm_ppm, settings.cost_harm_ppm):
        raise SettingsRefused(
            "severe_ratio_ppm is within the harm margins", "Set it above 1 plus each margin."
        )


def _check_levels(settings: CanarySettings) -> None:
    for name in ("hold", "p99", "promote", "rung", "severe", "split"):
        level = getattr(settings, f"alpha_{name}_ppm")
        if level > PPM // 2:
            raise SettingsRefused(f"alpha_{name}_ppm is {level}", "Give at most 500,000 ppm.")
    if settings.alpha_p99_ppm >= settings.alpha_hold_ppm:
        raise SettingsRefused(
            "alpha_p99_ppm leaves nothing of alpha_hold_ppm", "Give a part of it, such as 10,000."
        )
    if settings.holds_max > 10:
        raise SettingsRefused(
            f"holds_max is {settings.holds_max}", "Give at most 10: each HOLD doubles the bake."
        )
    if settings.threshold_ppm > PPM:
        raise SettingsRefused("threshold_ppm is above 1", "Give a score up to 1,000,000 ppm.")


def _check_ladder(settings: CanarySettings) -> None:
    rungs = (settings.hold_weight_ppm, *settings.ladder_ppm)
    ascending = all(type(one) is int for one in rungs) and all(a < b for a, b in pairwise(rungs))
    if len(rungs) < 3 or not ascending or rungs[-1] != PPM:
        raise SettingsRefused(
            "ladder_ppm does not climb from above hold_weight_ppm to 1,000,000",
            "Give ascending shares such as 50,000, 200,000, 500,000, 1,000,000.",
        )
    if settings.silence_hold_ms < settings.silence_ms_max:
        raise SettingsRefused(
            "silence_hold_ms is below silence_ms_max", "Hold no sooner than data count as missing."
        )


def buckets_up(ratio_ppm: int) -> int:
    """Return the steps of 1 % that reach a ratio: a tolerance is rounded in favour of OK."""
    return math.ceil(_steps(ratio_ppm))


def buckets_down(ratio_ppm: int) -> int:
    """Return the steps of 1 % within a ratio: a harm margin is rounded to what is stricter."""
    return math.floor(_steps(ratio_ppm))


def _steps(ratio_ppm: int) -> float:
    # Rounded, so that a ratio which is a power of 1.01 is one on every machine.
    return round(math.log(ratio_ppm / PPM) / math.log(1.01), 6)
