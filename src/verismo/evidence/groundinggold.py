"""Measures grounding on claims whose truth is known: rates with counts and upper bounds, and the
gate.

The gate: at least 95 % of supported claims pass, at most 20 % of altered ones, none that is off
topic; in each half of the gold by itself.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from verismo.evidence.grounding import PPM, Grader, Reason, check_answer

Label = Literal["supported", "altered_number", "altered_name", "negated", "off_topic"]
LABELS: Final[tuple[Label, ...]] = (
    "supported",
    "altered_number",
    "altered_name",
    "negated",
    "off_topic",
)
ALTERED: Final = frozenset(("altered_number", "altered_name", "negated"))

SUPPORTED_PPM_MIN: Final = 950_000
ALTERED_PPM_MAX: Final = 200_000
CONFIDENCE: Final = 0.95


class GoldRefused(ValueError):
    """The gold is not what `verismo grounding check` reads, and why."""


class GoldClaim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One claim whose truth is known.

    Args:
        id: unique in its file.
        claim: one sentence.
        sources: texts; at least one supports it if the label says so.
        label: what was done to it.
        half: its part: `development` if thresholds were chosen on it, `second` and `names` if rules
            were tried on it, `held_out` if neither, empty if not told.
    """

    id: str
    claim: str
    sources: tuple[str, ...]
    label: Label
    half: Literal["", "development", "second", "names", "held_out"] = ""


class Rate(msgspec.Struct, frozen=True):
    """How many claims of one kind passed as supported.

    Args:
        half, label: which claims; `altered` are the three altered kinds together.
        passed, count: of them.
        rate_ppm: passed / count, millionths.
        wrong_ppm_upper: one-sided 95 % upper bound of the share judged wrongly, millionths.
    """

    half: str
    label: str
    passed: int
    count: int
    rate_ppm: int
    wrong_ppm_upper: int


class Misjudged(msgspec.Struct, frozen=True):
    """A claim that was judged wrongly.

    Args:
        id, label, claim: of the gold.
        reasons: why it was refused; empty if it passed.
    """

    id: str
    label: str
    claim: str
    reasons: tuple[Reason, ...]


class GoldReport(msgspec.Struct, frozen=True):
    """What was measured.

    Args:
        rates: by half and label.
        misjudged: each claim that was judged wrongly.
        failures: bars that are missed, for the reader; empty if the gate holds.
    """

    rates: tuple[Rate, ...]
    misjudged: tuple[Misjudged, ...]
    failures: tuple[str, ...]


def read_gold(document: bytes) -> tuple[GoldClaim, ...]:
    """Read JSON lines of claims.

    Raises:
        GoldRefused: a line is no claim, an id stands twice, a claim has no source, or nothing is
            there; the message names the line.
    """
    claims: dict[str, GoldClaim] = {}
    for number, line in enumerate(document.splitlines(), 1):
        if not line.strip():
            continue
        try:
            claim = msgspec.json.decode(line, type=GoldClaim)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise GoldRefused(f"line {number}: {error}") from error
        if claim.id in claims or not claim.sources:
            raise GoldRefused(f"line {number}: an id that stands twice, or no source")
        claims[claim.id] = claim
    if not claims:
        raise GoldRefused("there is no claim in it")
    return tuple(claims.values())


def measure(gold: Sequence[GoldClaim], grader: Grader | None = None) -> GoldReport:
    """Judge every claim and compare with its label.

    Args:
        gold: claims with labels, as `read_gold` returns them.
        grader: asked as well, where there is one.

    Raises:
        VerismoError: the grader cannot be asked.
    """
    judged = []
    for claim in gold:
        found = check_answer(claim.claim, claim.sources, grader)
        passes = found.checked > 0 and found.supported == found.checked
        reasons = tuple(reason for one in found.claims for reason in one.reasons)
        judged.append((claim, passes, reasons))
    halves = sorted({claim.half for claim in gold})
    rates = [
        rate for half in halves for rate in _rates(half, [j for j in judged if j[0].half == half])
    ]
    misjudged = tuple(
        Misjudged(claim.id, claim.label, claim.claim, reasons)
        for claim, passes, reasons in judged
        if passes != (claim.label == "supported")
    )
    return GoldReport(tuple(rates), misjudged, tuple(_failures(rates)))


def _rates(
    half: str, judged: Sequence[tuple[GoldClaim, bool, tuple[Reason, ...]]]
) -> Iterable[Rate]:
    for label in (*LABELS, "altered"):
        chosen = [
            passes
            for claim, passes, _ in judged
            if claim.label == label or (label == "altered" and claim.label in ALTERED)
        ]
        if chosen:
            passed, count = sum(chosen), len(chosen)
            wrong = count - passed if label == "supported" else passed
            rate = passed * PPM // count
            yield Rate(half, label, passed, count, rate, upper_bound_ppm(wrong, count))


def _failures(rates: Sequence[Rate]) -> Iterable[str]:
    """Yield each bar that is missed; a kind of claim without any shows nothing, so it is missed."""
    for half in sorted({rate.half for rate in rates}):
        by_label = {rate.label: rate for rate in rates if rate.half == half}
        where = f" ({half})" if half else ""
        for label in ("supported", "altered", "off_topic"):
            if label not in by_label:
                yield f"no claim with the label {label}{where}"
            elif not _holds(by_label[label]):
                rate = by_label[label]
                yield f"{label}{where}: {rate.passed} of {rate.count} pass, {_BARS[label]}"


def _holds(rate: Rate) -> bool:
    if rate.label == "supported":
        return rate.rate_ppm >= SUPPORTED_PPM_MIN
    if rate.label == "altered":
        return rate.rate_ppm <= ALTERED_PPM_MAX
    return rate.passed == 0


def upper_bound_ppm(events: int, count: int) -> int:
    """Return the one-sided 95 % upper bound of a share, millionths.

    Args:
        events: how often it happened, 0 to `count`.
        count: how often it could have.

    Source: Clopper and Pearson, 1934: the share under which so few events have a chance of 5 %.
    """
    low, high = events * PPM // count, PPM
    while low < high:
        middle = (low + high) // 2
        if _at_most(events, count, middle / PPM) > 1 - CONFIDENCE:
            low = middle + 1
        else:
            high = middle
    return low


def _at_most(events: int, count: int, share: float) -> float:
    """Return the chance of at most so many events."""
    if share >= 1.0:
        return 1.0 if events >= count else 0.0
    term = (1.0 - share) ** count
    total = term
    for event in range(events):
        term *= (count - event) / (event + 1) * share / (1.0 - share)
        total += term
    return total


_BARS: Final = {
    "supported": "at least 95 % have to",
    "altered": "at most 20 % may",
    "off_topic": "none may",
}
