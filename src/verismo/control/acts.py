"""What the control API shows of the controllers, and how a person's act comes in.

The act is done in the thread of the loop, in the process that the request came to: whoever sent it
learns at once whether it was recorded, refused, or came too late. A queue in the database would
take acts that are stale once somebody looks at them. Where another process decides, the answer
names it.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from verismo.adapt.budget import Hand
from verismo.adapt.budgetact import HandState
from verismo.adapt.override import OVERRIDES
from verismo.attest.controlrecord import RecordRefused, read_record
from verismo.control.byhand import by_hand
from verismo.control.recorder import AnyDecision
from verismo.control.rules import BUDGET_ACT
from verismo.model import canonical
from verismo.model.act import Act, Verb
from verismo.model.decision import Action, Controller, Subject
from verismo.model.errors import MalformedRequest, NotFound, StateError
from verismo.model.steering import Steering
from verismo.model.units import Milliseconds
from verismo.ports.admins import AdminRole
from verismo.ports.decisions import DecisionReader, DecisionRow
from verismo.ports.steering import SteeringReader

if TYPE_CHECKING:
    # A command that speaks of acts does not load the web framework behind the guard.
    from verismo.control.guard import Actor

ROWS_MAX: Final = 1_000
ROWS_USUAL: Final = 100
_UNREADABLE: Final = "Run `verismo audit`; it names every record that is not what it should be."


class NewAct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody wants done; who and when is known from the key and the clock.

    Args:
        controller: which.
        verb: what it is to do.
        subject: about what.
        reason: why, 10 to 1,000 characters.
        of: digest of the decision that it overrides; empty for `start` and limits by hand.
        expires_ms: Unix ms; until when what it sets holds.
        values: by name with its unit last.
        channel: how its sender says that it came; nothing comes through Slack.
    """

    controller: Controller
    verb: Verb
    subject: Subject
    reason: str
    of: str = ""
    expires_ms: int = 0
    values: dict[str, int] = {}
    channel: Literal["api", "cli"] = "api"


class Decided(msgspec.Struct, frozen=True):
    """What an act came to, recorded and published.

    Args:
        n: number of its record.
        digest: of the decision; name it in `of` to override it.
        decision: what was decided.
        steering: version in force.
    """

    n: int
    digest: str
    decision: AnyDecision
    steering: int


Take = Callable[[Callable[[int], Act]], Awaitable[Decided]]
"""Does an act that is made once the time is known at which it is done, Unix ms."""


class AdaptDesk(msgspec.Struct, frozen=True):
    """The controllers, as the API sees them.

    Args:
        take: does an act.
        decisions: what was decided; used from threads.
        steering: what gateways are told; used from threads.
    """

    take: Take
    decisions: DecisionReader
    steering: SteeringReader


class DecisionView(msgspec.Struct, frozen=True):
    """One record for people and programs; `verismo audit` is what checks it.

    Args:
        n: its number.
        iat: when it was recorded, Unix ms.
        kind: a decision, or what came of one.
        rule: which rule decided.
        rule_version: of the rule.
        subject: about what.
        verdict: of the decision; empty in an outcome.
        digest: of the decision; what an override names in `of`. Empty in an outcome.
        of: what it overrides, or speaks of.
        result: what came of it; empty in a decision.
        steering: version in force.
        action: what the decision asked for; null in an outcome, and where it was forgotten.
        reasons: of the decision, the first one decided.
        person: who told the controller; empty where nobody did.
        why: the reason that was given.
        set_by_hand: what is set on a route's budget since, with its end; null for nothing.
    """

    n: int
    iat: int
    kind: str
    rule: str
    rule_version: int
    subject: Subject
    verdict: str
    digest: str
    of: str
    result: str
    steering: int
    action: Action | None
    reasons: tuple[str, ...]
    person: str = ""
    why: str = ""
    set_by_hand: Hand | None = None


class SteeringView(msgspec.Struct, frozen=True):
    """What gateways are told, and the document that says it; gateways check its signature.

    Args:
        version: 0 for none.
        digest: what statements under it name as `plan`; empty for none.
        steering: null for none.
        jws: the detached signature over its canonical JSON; empty for none.
    """

    version: int
    digest: str
    steering: Steering | None
    jws: str


class _Shown(msgspec.Struct, frozen=True):
    action: Action
    reasons: tuple[str, ...]


class _Set(msgspec.Struct, frozen=True):
    state: HandState


def role_needed(asked: NewAct) -> AdminRole:
    """Return the least role that may ask for this; the rule that decides looks at it again."""
    is_override = asked.controller == "canary" and asked.verb in OVERRIDES
    return "admin" if is_override else "operator"


def act_of(asked: NewAct, actor: "Actor") -> Callable[[int], Act]:
    """Return what makes the act once its time is known.

    Args:
        asked: as it came in.
        actor: whose key it came with.

    Raises:
        MalformedRequest: a digest or a number that is none.
    """
    if asked.of and not canonical.is_digest(asked.of):
        raise MalformedRequest("`of` is not a digest: 64 characters of lower-case hex")
    numbers = (asked.expires_ms, *asked.values.values())
    if any(not 0 <= one <= canonical.MAX_INTEGER for one in numbers):
        raise MalformedRequest("a number in it is negative, or too large")
    if not all(name.isascii() for name in asked.values):
        raise MalformedRequest("the names in `values` are ASCII")

    def make(now_ms: int) -> Act:
        return Act(
            controller=asked.controller,
            verb=asked.verb,
            subject=asked.subject,
            actor=actor.name,
            key=actor.key_id,
            role=actor.role,
            reason=asked.reason,
            of=asked.of,
            at_ms=Milliseconds(now_ms),
            expires_ms=Milliseconds(asked.expires_ms),
            values=asked.values,
            channel=asked.channel,
        )

    return make


def list_decisions(
    reader: DecisionReader, after: int | None, limit: int
) -> tuple[DecisionView, ...]:
    """Return records in order.

    Args:
        reader: of the records.
        after: numbers over this one; None for the newest.
        limit: how many at most.

    Raises:
        StateError: they cannot be read.
    """
    begin = max(0, reader.last() - limit) if after is None else after
    return tuple(view_of(reader, row) for row in reader.rows(begin, limit))


def newest_decision(reader: DecisionReader, rules: Sequence[str], subject: Subject) -> DecisionView:
    """Return the newest record of any of some rules about a subject.

    Args:
        reader: of the records.
        rules: names, at least one.
        subject: exactly this one.

    Raises:
        NotFound: there is none.
        StateError: it cannot be read.
    """
    if not rules:
        raise MalformedRequest("name at least one `rule`")
    row = reader.newest(rules, canonical.encode(subject).decode("utf-8"))
    if row is None:
        raise NotFound("no such decision")
    return view_of(reader, row)


def view_of(reader: DecisionReader, row: DecisionRow) -> DecisionView:
    """Return a record as it is shown.

    Raises:
        StateError: it cannot be read.
    """
    try:
        record = read_record(row.statement)
        blob = reader.blob(record.decision) if record.decision else None
        shown = None if blob is None else msgspec.json.decode(blob, type=_Shown)
        by_budget = record.rule == BUDGET_ACT.name
        hand = msgspec.json.decode(blob, type=_Set).state.hand if blob and by_budget else None
    except (RecordRefused, msgspec.MsgspecError, UnicodeError) as error:
        raise StateError(f"record {row.n} is damaged: {error}", next_step=_UNREADABLE) from error
    told = by_hand(reader, record)
    return DecisionView(
        n=record.n,
        iat=record.iat,
        kind=record.kind,
        rule=record.rule,
        rule_version=record.rule_version,
        subject=record.subject,
        verdict=record.verdict,
        digest=record.decision,
        of=record.of,
        result=record.result,
        steering=record.steering,
        action=None if shown is None else shown.action,
        reasons=() if shown is None else shown.reasons,
        person="" if told is None else told.actor,
        why="" if told is None else told.reason,
        set_by_hand=hand,
    )


def steering_view(reader: SteeringReader) -> SteeringView:
    """Return what gateways are told.

    Raises:
        StateError: it cannot be read.
    """
    row = reader.newest()
    if row is None:
        return SteeringView(0, "", None, "")
    try:
        steering = canonical.decode(row.statement, Steering)
        return SteeringView(
            row.version, canonical.digest(row.statement), steering, row.jws.decode("ascii")
        )
    except (canonical.NotCanonical, UnicodeError) as error:
        raise StateError(
            f"version {row.version} of the steering is damaged: {error}",
            next_step="Gateways keep what they have. The next round publishes a new version.",
        ) from error
