"""A decision as a Slack message: what was decided, why, on what evidence, and how to override it.

Pure: a decision in, bytes of Block Kit out, always within the limits that Slack documents: a longer
text is cut, never refused. Text of people and names of routes are escaped, so that nobody can
mention a channel or forge a link through a reason. There are no buttons: an incoming webhook takes
no clicks, so the card names the command that overrides the decision.

Source: Slack's reference of blocks and of text objects; notes-adapt 5.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from verismo.adapt.canaryfile import CanaryFile
from verismo.control.reasonwords import FLAG, in_words, spell, who_by
from verismo.model.act import Act
from verismo.model.decision import (
    Action,
    Controller,
    Decision,
    Metric,
    Subject,
    Verdict,
    decision_digest,
    digest_of,
)
from verismo.model.units import moment_utc

HEADER_CHARS_MAX: Final = 150
SECTION_CHARS_MAX: Final = 3_000
FIELD_CHARS_MAX: Final = 2_000
FIELDS_MAX: Final = 10
CONTEXT_MAX: Final = 10
NAME_CHARS_MAX: Final = 60
"""Of one name in a heading, so that two of them leave room for the verdict."""

_LASTING: Final = frozenset({"hold", "extend", "freeze", "raise", "static"})
"""What ends by itself; of other acts the expiry says only by when they had to be done."""
_LINK: Final = re.compile(r"https://[A-Za-z0-9._~:/?#@!$'()*+,;=%-]+").fullmatch
_ENTITIES: Final[Mapping[str, str]] = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_SHOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "score": ("score_ppm", "threshold_ppm"),
    "spend": ("w60_usd_micros", "limit_usd_micros"),
    "limit": ("ceiling_usd_micros", "hours"),
    "load": ("load_milli", "replicas_wished"),
    "waits": ("requests", "late"),
}
_METRIC_VALUES: Final = ("effect_ppm", "score_ppm")


class PlainText(msgspec.Struct, frozen=True, tag_field="type", tag="plain_text"):
    """Text that is shown as it is."""

    text: str
    emoji: bool = False


class Marked(msgspec.Struct, frozen=True, tag_field="type", tag="mrkdwn"):
    """Text with Slack's marks; `verbatim` keeps names from becoming links and mentions."""

    text: str
    verbatim: bool = True


class Header(msgspec.Struct, frozen=True, tag_field="type", tag="header"):
    """One line in large letters."""

    text: PlainText


class Section(msgspec.Struct, frozen=True, tag_field="type", tag="section"):
    """A paragraph."""

    text: Marked


class Fields(msgspec.Struct, frozen=True, tag_field="type", tag="section"):
    """Short texts in two columns."""

    fields: tuple[Marked, ...]


class Context(msgspec.Struct, frozen=True, tag_field="type", tag="context"):
    """Small print."""

    elements: tuple[Marked, ...]


class Card(msgspec.Struct, frozen=True):
    """A message.

    Args:
        text: for notifications and for readers without blocks.
        blocks: what is shown.
    """

    text: str
    blocks: tuple[Header | Section | Fields | Context, ...]


class CardFacts(msgspec.Struct, frozen=True):
    """What a card says.

    Args:
        controller: who decided.
        subject: about what.
        verdict: the answer.
        action: what is done about it.
        reasons: codes, the first one decided.
        metrics: what was looked at.
        small: what stands in small print.
        command: the command lines by which a person overrides it; empty where nobody can.
        link: where more is told, an https URL; empty for none.
        act: what was told the controller; None where nobody did.
    """

    controller: Controller
    subject: Subject
    verdict: Verdict
    action: Action
    reasons: tuple[str, ...]
    metrics: tuple[Metric, ...]
    small: tuple[str, ...]
    command: str = ""
    link: str = ""
    act: Act | None = None


def decision_facts(
    decision: Decision[msgspec.Struct], command: str = "", act: Act | None = None
) -> CardFacts:
    """Return what the card of a recorded decision says.

    Args:
        decision: of any controller.
        command: the command lines by which a person overrides it.
        act: what was told the controller, by a person or a flag.
    """
    small = (
        f"decision {decision_digest(decision)}",
        f"{decision.controller} rule version {decision.version}",
        f"settings {decision.settings[:12] or 'none'}",
        moment_utc(decision.at_ms),
    )
    return CardFacts(
        controller=decision.controller,
        subject=decision.subject,
        verdict=decision.verdict,
        action=decision.action,
        reasons=decision.reasons,
        metrics=decision.metrics,
        small=small,
        command=command,
        act=act,
    )


def file_facts(file: CanaryFile, link: str = "") -> CardFacts:
    """Return what the card of a comparison or of a rollout in a file says.

    Args:
        file: of any origin; one that was simulated says so.
        link: where more is told.
    """
    last = file.decisions[-1] if file.decisions else None
    small = (
        f"windows: {file.origin}",
        f"{len(file.decisions)} looks",
        "" if last is None else f"decision {last.digest}",
        f"settings {digest_of(file.score)[:12]}",
        moment_utc(file.started_ms),
        file.note,
    )
    return CardFacts(
        controller="canary",
        subject=file.subject,
        verdict=file.verdict,
        action=Action(),
        reasons=file.reasons,
        metrics=() if last is None else last.metrics,
        small=tuple(one for one in small if one),
        link=link,
    )


def card_of(facts: CardFacts) -> Card:
    """Make a card, within the limits whatever it has to say.

    Args:
        facts: from `decision_facts` or `file_facts`.
    """
    title = _title(facts)
    who = who_by("" if facts.act is None else facts.act.channel)
    reasons = [in_words(one, who) for one in facts.reasons] or ["no reason was given"]
    blocks: list[Header | Section | Fields | Context] = [
        Header(PlainText(escaped(title, HEADER_CHARS_MAX))),
        Section(Marked(_lines("• ", reasons))),
    ]
    rows = [*_subject(facts.subject), *_act(facts.act), *_action(facts.action)]
    rows += _metrics(facts.metrics)
    if rows:
        blocks.append(Fields(tuple(_field(*one) for one in rows[:FIELDS_MAX])))
    if facts.command:
        # Nothing in a code block is marked up, and a backtick could only end it.
        fitted = escaped(facts.command.replace("`", "'"), SECTION_CHARS_MAX - 40)
        blocks.append(Section(Marked(f"To override it:\n```{fitted}```")))
    if _is_link(facts.link):
        blocks.append(Section(Marked(f"<{facts.link}|Details>")))
    small = tuple(Marked(escaped(one, FIELD_CHARS_MAX)) for one in facts.small[:CONTEXT_MAX])
    blocks.append(Context(small))
    return Card(escaped(f"{title}: {'; '.join(reasons)}", SECTION_CHARS_MAX), tuple(blocks))


def _is_link(url: str) -> bool:
    """Say whether a link may be shown: nothing in it ends the mark or makes another."""
    return len(url) < FIELD_CHARS_MAX and _LINK(url) is not None


def encode_card(card: Card) -> bytes:
    """Return the body that is posted."""
    return msgspec.json.encode(card)


def escaped(text: str, chars_max: int) -> str:
    """Return text that Slack shows as it is and that has at most so many characters.

    Only `&`, `<` and `>` are escaped, as Slack asks; what cannot be printed becomes a space. It is
    cut between characters, never within an entity, and counted as JavaScript counts.

    Args:
        text: from anywhere.
        chars_max: at least 1.
    """
    pieces: list[str] = []
    size, at_mark = 0, 0
    for character in text:
        is_shown = character.isprintable() or character == "\n"
        piece = _ENTITIES.get(character, character if is_shown else " ")
        size += _width(piece)
        if size > chars_max:
            return "".join(pieces[:at_mark]) + "…"
        pieces.append(piece)
        if size < chars_max:
            at_mark = len(pieces)
    return "".join(pieces)


def _width(text: str) -> int:
    return sum(2 if ord(character) > 0xFFFF else 1 for character in text)


def _title(facts: CardFacts) -> str:
    subject, action = facts.subject, facts.action
    names = [subject.target, subject.operation, subject.tenant, subject.candidate]
    about = " / ".join(shortened(one) for one in names if one)
    now = "" if action.kind == "none" else f" at {spell(action.kind, action.after)}"
    return f"{facts.verdict}: {about or facts.controller}{now}"


def shortened(name: str) -> str:
    """Return a name short enough for a heading."""
    return name if len(name) <= NAME_CHARS_MAX else f"{name[: NAME_CHARS_MAX - 1]}…"


def _lines(mark: str, lines: Iterable[str]) -> str:
    text = "\n".join(mark + one.replace("\n", " ") for one in lines)
    return escaped(text, SECTION_CHARS_MAX)


def _field(name: str, value: str) -> Marked:
    label = escaped(name, 100)
    return Marked(f"*{label}*\n{escaped(value, FIELD_CHARS_MAX - 110)}")


def _subject(subject: Subject) -> list[tuple[str, str]]:
    route = " / ".join(one for one in (subject.tenant or "all tenants", subject.operation) if one)
    facts = [("Route", route)] if subject.operation else []
    if subject.candidate:
        facts.append(("Baseline, candidate", f"{subject.baseline}, {subject.candidate}"))
    if subject.target:
        facts.append(("Target", subject.target))
    return facts


def _act(act: Act | None) -> list[tuple[str, str]]:
    if act is None:
        return []
    told_by = FLAG if act.channel == "flag" else act.actor
    until = [("Until", moment_utc(act.expires_ms))] if act.verb in _LASTING else []
    return [("Told by", told_by), ("Why", act.reason), *until]


def _action(action: Action) -> list[tuple[str, str]]:
    if action.kind == "none":
        return []
    before, after = spell(action.kind, action.before), spell(action.kind, action.after)
    name = action.kind.removesuffix("_ppm").removesuffix("_usd_micros").replace("_", " ")
    return [(name.capitalize(), f"{before} → {after}" if before != after else f"stays {after}")]


def _metrics(metrics: tuple[Metric, ...]) -> list[tuple[str, str]]:
    return [(f"{one.name} ({one.status})", _values(one)) for one in metrics]


def _values(metric: Metric) -> str:
    names = _SHOWN.get(metric.name, _METRIC_VALUES)
    known = [(name, metric.values.get(name)) for name in names]
    said = [f"{_plain(name)} {spell(name, one)}" for name, one in known if one is not None]
    return ", ".join(said) or "no data"


def _plain(name: str) -> str:
    for unit in ("_ppm", "_usd_micros", "_milli"):
        name = name.removesuffix(unit)
    return name.replace("_", " ")


CommandOf = Callable[[Decision[msgspec.Struct]], str]
"""Returns the command line that overrides a decision; empty if nobody can."""
