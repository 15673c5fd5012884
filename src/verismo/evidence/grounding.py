"""Source overlap: which source supports which sentence of an answer, and what speaks against it.

A sentence counts as supported by a source if neighbouring sentences there speak of the same, and
none of its numbers, units, names, bounds and negations differs. That is overlap with checks, never
proof: who writes one common noun for another changes no number, no name and no negation, and is
found only where the words around it are the source's. ADR-028 has the reasons, docs/grounding.md
what was measured. English only.

A sentence that cites (`... [2].`) is held against the sources that it cites alone.
"""

import re
from collections.abc import Sequence
from typing import Final, Literal, Protocol

import msgspec

from verismo.evidence.clauses import clauses_of
from verismo.evidence.lexicon import SYMBOLS, UNITS, word_set
from verismo.evidence.openings import with_opening
from verismo.evidence.orders import misorder
from verismo.evidence.overlap import Library, Window
from verismo.evidence.polarity import concept, contradiction, is_refusal, misquantity
from verismo.evidence.quantities import Quantity, equals, quantities, units_of
from verismo.evidence.sentences import sentences
from verismo.evidence.substitution import substituted
from verismo.evidence.words import Token, names, parts, related, singular, tokens

ReasonKind = Literal[
    "off_topic",
    "number",
    "bound",
    "unit",
    "name",
    "negation",
    "order",
    "quantifier",
    "citation",
    "grader",
]
Verdict = Literal["supported", "unsupported", "no_claim"]

OVERLAP_MIN: Final = 0.36
"""Below it nothing is said about the same; chosen on the development half of
gold/grounding.jsonl."""
MARGIN: Final = 0.06
"""How much worse than the best place another one may be and still support; chosen likewise."""
WORDS_MIN: Final = 2
"""A sentence with fewer words of content (`Of course.`) claims nothing."""
BESIDE: Final = 2
"""Words on each side of a name that say what it is a name of."""
UNIT_REACH: Final = 4
"""Within so many words of a number a unit is that number's."""
PPM: Final = 1_000_000

_BLURRED: Final = frozenset(("negation", "order", "quantifier", "bound"))
_CITATION = re.compile(r"\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]")
_CITED_BEHIND = re.compile(r"([.!?])((?:\s*\[\d{1,3}(?:\s*,\s*\d{1,3})*\])+)")
_VERSION = re.compile(r"v(\d+)\Z")
_EACH: Final = word_set("a an each every once one per")
_BARE_DIMENSIONS: Final = frozenset(("time", "months", "money", "euro"))


class Reason(msgspec.Struct, frozen=True):
    """Why a sentence is not supported.

    Args:
        kind: which check failed.
        detail: for the reader, with the words in question.
    """

    kind: ReasonKind
    detail: str


class Grade(msgspec.Struct, frozen=True):
    """A grader's answer.

    Args:
        is_supported: whether the source entails the claim.
        detail: why not, for the reader.
    """

    is_supported: bool
    detail: str = ""


class Grader(Protocol):
    """Judges entailment, where a user has an NLI model or a model that judges.

    It is asked only about sentences that passed every check here, once for each, one after the
    other, and can only take support away. So a grader that fails open changes nothing, and one that
    can be talked into anything by the answer lets nothing through that the checks refuse.
    """

    def grade(self, claim: str, source: str) -> Grade:
        """Say whether a source supports a claim.

        Args:
            claim: one sentence, citations removed.
            source: the whole source that the checks found.

        Raises:
            VerismoError: it cannot be asked; nothing is to be reported as supported then.
        """
        ...


class Claim(msgspec.Struct, frozen=True):
    """One sentence of an answer.

    Args:
        text: as it stands there, citations removed.
        verdict: `no_claim` for questions and for sentences that say too little to be checked.
        source: index of the source that supports it or comes nearest; None if none does.
        overlap_ppm: share of its words that the place found there speaks of, millionths.
        cited: indices of the sources that it cites; empty if it cites none.
        reasons: why it is not supported; empty if it is.
    """

    text: str
    verdict: Verdict
    source: int | None
    overlap_ppm: int
    cited: tuple[int, ...]
    reasons: tuple[Reason, ...]


class Grounding(msgspec.Struct, frozen=True):
    """How far an answer's sentences are supported by its sources.

    Args:
        claims: every sentence in order.
        supported: how many are.
        checked: how many claim anything.
        ratio_ppm: supported / checked, millionths; None if nothing is claimed.
    """

    claims: tuple[Claim, ...]
    supported: int
    checked: int
    ratio_ppm: int | None


def check_answer(answer: str, sources: Sequence[str], grader: Grader | None = None) -> Grounding:
    """Say which sentences of an answer its sources support.

    Args:
        answer: prose or Markdown; `[1]` cites the first source.
        sources: what the answer was made from, whole texts; their order only names them.
        grader: asked as well, where there is one.

    Raises:
        VerismoError: the grader cannot be asked.
    """
    library = Library(sources)
    claims = []
    for sentence in sentences(_CITED_BEHIND.sub(r"\2\1", answer)):
        claim = _check(sentence, library)
        if claim.verdict == "supported" and claim.source is not None and grader is not None:
            claim = _graded(claim, grader.grade(claim.text, sources[claim.source]))
        claims.append(claim)
    supported = sum(claim.verdict == "supported" for claim in claims)
    checked = sum(claim.verdict != "no_claim" for claim in claims)
    ratio = supported * PPM // checked if checked else None
    return Grounding(tuple(claims), supported, checked, ratio)


def _check(sentence: str, library: Library) -> Claim:
    cited = _citations(sentence)
    text = " ".join(_CITATION.sub(" ", sentence).split())
    text = re.sub(r"\s+([.!?,;:])", r"\1", text)
    read = with_opening(text, tokens(text), library.lower)
    if text.endswith("?") or sum(token.is_content for token in read) < WORDS_MIN:
        return Claim(text, "no_claim", None, 0, cited, ())
    unknown = [index + 1 for index in cited if not 0 <= index < len(library)]
    if unknown:
        detail = f"there is no source {', '.join(map(str, unknown))}"
        return Claim(text, "unsupported", None, 0, cited, (Reason("citation", detail),))
    allowed = frozenset(cited) or frozenset(range(len(library)))
    windows = library.windows(read, allowed)
    if not windows or windows[0].score < OVERLAP_MIN:
        best = windows[0].score if windows else 0.0
        detail = f"no source speaks of it: at most {best:.0%} of its words stand together anywhere"
        return Claim(text, "unsupported", None, _ppm(best), cited, (Reason("off_topic", detail),))
    return _nearest(text, read, cited, windows)


def _nearest(
    text: str, read: Sequence[Token], cited: tuple[int, ...], windows: Sequence[Window]
) -> Claim:
    """Return the claim with the best place that passes all checks, else with the nearest one."""
    least = max(OVERLAP_MIN, windows[0].score - MARGIN)
    judged: list[tuple[Window, tuple[Reason, ...]]] = []
    for window in windows:
        if window.score < least:
            break
        reasons = _differences(read, window) or _kept(window, judged)
        if not reasons:
            return Claim(text, "supported", window.source, _ppm(window.score), cited, ())
        judged.append((window, reasons))
    window, reasons = min(judged, key=lambda one: (len(one[1]), -one[0].score, one[0].spelled))
    return Claim(text, "unsupported", window.source, _ppm(window.score), cited, reasons)


def _kept(
    window: Window, judged: Sequence[tuple[Window, tuple[Reason, ...]]]
) -> tuple[Reason, ...]:
    """Return what speaks against a shorter place within this one, which says as much of the claim.

    A neighbour may bring a number or a name; that it lets a denial pass only blurs the denial.
    """
    return next(
        (
            reasons
            for shorter, reasons in judged
            if window.holds(shorter) and any(reason.kind in _BLURRED for reason in reasons)
        ),
        (),
    )


def _differences(read: Sequence[Token], window: Window) -> tuple[Reason, ...]:
    """Return what speaks against a place in a source supporting a claim."""
    source = [sentence.tokens for sentence in window.sentences]
    around = [sentence.tokens for sentence in window.around]
    found = [
        *_numbers(read, around),
        *_units(read, source),
        *_names(read, window),
        *_strays(read, window),
    ]
    if text := substituted(read, source):
        found.append(Reason("name", text))
    if text := contradiction(read, source):
        found.append(Reason("negation", text))
    if text := misorder(read, source):
        found.append(Reason("order", text))
    if text := misquantity(read, source):
        found.append(Reason("quantifier", text))
    return tuple(found)


def _numbers(read: Sequence[Token], source: Sequence[Sequence[Token]]) -> list[Reason]:
    units = frozenset().union(*(units_of(sentence) for sentence in source))
    versions = {
        match[1]
        for sentence in source
        for token in sentence
        if (match := _VERSION.match(token.lower))
    }
    found = []
    for one in quantities(read):
        same = [
            (sentence, other)
            for sentence in source
            for other in quantities(sentence)
            if equals(one, other, units)
        ]
        if same:
            if all(_bounds_differ(read, one, *pair) for pair in same):
                found.append(Reason("bound", f"{one.text!r} is a limit of the other kind there"))
        elif not one.is_weak and one.text not in versions:
            found.append(Reason("number", f"number {one.text!r} is not in the source"))
    return found


def _bounds_differ(
    read: Sequence[Token], one: Quantity, sentence: Sequence[Token], other: Quantity
) -> bool:
    """Say whether a lower limit stands for an upper one; to refuse over 5 is to take at most 5."""
    if not one.bound or not other.bound or one.bound == other.bound:
        return False
    return is_refusal(read) == is_refusal(sentence)


def _units(read: Sequence[Token], source: Sequence[Sequence[Token]]) -> list[Reason]:
    """Compare units without a number: each hour, a day, milliseconds."""
    known = {UNITS[unit] for sentence in source for unit in units_of(sentence)}
    known |= {UNITS[one.unit] for s in source for one in quantities(s) if one.unit in UNITS}
    counted = {place for one in quantities(read) for place in range(one.at, one.at + UNIT_REACH)}
    found = []
    for at, token in enumerate(read):
        unit = singular(token.lower)
        if token.kind != "word" or unit in SYMBOLS or at in counted:
            continue
        before = read[at - 1] if at else token
        dimension = UNITS[unit][0] if unit in UNITS else ""
        is_bare = before.lower in _EACH or unit != token.lower or dimension == "money"
        if is_bare and dimension in _BARE_DIMENSIONS and UNITS[unit] not in known:
            found.append(Reason("unit", f"unit {token.text!r} is not in the source"))
    return found


def _names(read: Sequence[Token], window: Window) -> list[Reason]:
    return [
        Reason("name", f"name {name!r} is not in the source")
        for name in names(read)
        if not (_stands(name, window) or _stands(name.removesuffix("s"), window))
    ]


def _strays(read: Sequence[Token], window: Window) -> list[Reason]:
    """Find names in the place of others: where the source has another name of the same shape.

    `pending before not_before_ms, retired from not_after_ms` does not support `pending before
    not_after_ms`. A name of capital and small letters that stands in the place is none: who tells
    of several (`Chrome from 137, Firefox from 129`) may put them in any order.
    """
    content = [token for token in read if token.is_content]
    own = {parts(token.text) for token in content}
    clauses = [clause for sentence in window.sentences for clause in _by_clause(sentence.tokens)]
    found = []
    for at, token in enumerate(content):
        is_plain = not _shape(token) and _stands(token.text, window)
        if token.kind != "name" or is_plain:
            continue
        beside = content[max(at - BESIDE, 0) : at] + content[at + 1 : at + 1 + BESIDE]
        near = frozenset().union(*(related(concept(one)[0]) for one in beside))
        said = [clause for clause in clauses if near & {concept(one)[0] for one in clause}]
        others = {
            parts(one.text)
            for clause in said
            for one in clause
            if one.kind == "name" and _shape(one) == _shape(token)
        }
        if others and parts(token.text) not in others and not others & own:
            found.append(
                Reason("name", f"{sorted(others)[0].strip()!r} stands there for {token.text!r}")
            )
    return found


def _by_clause(sentence: Sequence[Token]) -> list[list[Token]]:
    numbers = clauses_of(sentence)
    return [
        [token for token, number in zip(sentence, numbers, strict=True) if number == one]
        for one in sorted(set(numbers))
    ]


def _shape(token: Token) -> str:
    """Return by what a name is known as one: capitals, or its joining characters."""
    if token.text.isupper():
        return "capitals"
    return "".join(sorted(set(token.text) & set("._/-")))


def _stands(name: str, window: Window) -> bool:
    """Say whether a name stands in a source; what is all capitals has to there, too."""
    if name.isupper() and name.isalpha():
        return any(name in re.findall(r"[^\W\d_]+", one.text) for one in window.sentences)
    return parts(name) in window.spelled


def _citations(sentence: str) -> tuple[int, ...]:
    numbers = [
        int(number) - 1 for match in _CITATION.finditer(sentence) for number in match[1].split(",")
    ]
    return tuple(dict.fromkeys(numbers))


def _graded(claim: Claim, grade: Grade) -> Claim:
    if grade.is_supported:
        return claim
    reason = Reason("grader", grade.detail or "the grader does not find it in the source")
    return msgspec.structs.replace(claim, verdict="unsupported", reasons=(reason,))


def _ppm(share: float) -> int:
    return round(share * PPM)
