"""Writes records of decisions: numbered, linked, signed, and durable when a call returns."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from verismo.attest.controlrecord import (
    NO_RECORD,
    OUTCOME,
    STEERING,
    VERSION,
    ControlRecord,
    RecordRefused,
    read_record,
    sign_record,
)
from verismo.attest.jws import TYPE_DECISION
from verismo.attest.keyentry import KeyEntry
from verismo.attest.planseal import SealRefused, check_seal
from verismo.control.looks import Look
from verismo.model import canonical
from verismo.model.act import Act
from verismo.model.decision import Decision, Subject, encode_decision
from verismo.model.errors import StateError
from verismo.model.steering import STEERING_VERSION
from verismo.model.units import Milliseconds
from verismo.ports.decisions import DecisionRow, DecisionStore
from verismo.ports.signer import Signer, SigningFailed

AnyLook = Look[msgspec.Struct, object, msgspec.Struct]
AnyDecision = Decision[msgspec.Struct]

_EXAMINE = (
    "Nothing is decided until then. `verismo audit` names every record that is not what it should "
    "be; bring adapt.db back from a backup."
)


class Turn(msgspec.Struct, frozen=True):
    """Under what something is recorded.

    Args:
        token: of the lease.
        steering: version in force, 0 for none.
        now_ms: Unix ms.
    """

    token: int
    steering: int
    now_ms: int


class Recorded(msgspec.Struct, frozen=True):
    """A decision that is durable.

    Args:
        n: number of its record.
        digest: of its bytes, hex; what a person names who overrides it.
        statement: digest of the record's statement, hex.
        decision: itself.
        record: what was signed.
        act: what was told the controller; None where nobody did.
    """

    n: int
    digest: str
    statement: str
    decision: AnyDecision
    record: ControlRecord
    act: Act | None = None


class Unrecordable(StateError):
    """A decision that cannot be made or written down as things are; others are not affected."""


class Recorder:
    """Appends records for whoever holds the lease; from one thread.

    Args:
        store: where they are kept.
        signer: holder of a key of the role `plan`.
        keys: returns the keys of the newest ring; raises StateError if it cannot be read.
        issuer: the gateway's.
    """

    def __init__(
        self,
        store: DecisionStore,
        signer: Signer,
        keys: Callable[[], Sequence[KeyEntry]],
        issuer: str,
    ) -> None:
        self._store = store
        self._signer = signer
        self._keys = keys
        self._issuer = issuer
        self._n = 0
        self._prev = NO_RECORD

    def resume(self) -> None:
        """Read where the sequence ends; call it with each lease that is taken.

        Raises:
            StateError: it cannot be read, or its last record was altered: a sequence is not gone on
                with that no verifier would follow.
        """
        tip = self._store.tip()
        self._n, self._prev = self._store.last(), NO_RECORD
        if tip is None:
            return
        try:
            # Whether its key still counts is no matter: a key may have been revoked since.
            check_seal(tip.statement, tip.jws.decode("ascii"), TYPE_DECISION, self._keys())
            if read_record(tip.statement).n != tip.n:
                raise RecordRefused("its number is not the one that it is kept under")
        except (SealRefused, RecordRefused, UnicodeError) as error:
            raise StateError(
                f"the last record of decisions, {tip.n}, cannot be believed: {error}",
                next_step=_EXAMINE,
            ) from error
        self._prev = canonical.digest(tip.statement)

    def is_unanswered(self, version: int) -> bool:
        """Say whether a version of the steering was published whose outcome no record tells.

        Args:
            version: the newest.

        Raises:
            StateError: the records cannot be read.
        """
        row = self._store.newest((OUTCOME,), _subject_text(Subject()))
        try:
            return version > (0 if row is None else read_record(row.statement).steering)
        except RecordRefused as error:
            raise StateError(
                f"the last outcome cannot be read: {error}", next_step=_EXAMINE
            ) from error

    def decided(self, turn: Turn, look: AnyLook, decision: AnyDecision, of: str = "") -> Recorded:
        """Record a decision and everything it was made from.

        Args:
            turn: whose.
            look: what was decided.
            decision: the answer.
            of: digest of the decision that a person overrode by it; empty for none.

        Raises:
            LeaseElsewhere: another process decides now; this one has decided nothing.
            Unrecordable: it cannot be encoded; nothing was written.
            StateError: it cannot be signed or stored.
        """
        try:
            before, inputs = canonical.encode(look.before), canonical.encode(look.observation)
            settings, answer = canonical.encode(look.settings), encode_decision(decision)
        except canonical.NotCanonical as error:
            raise Unrecordable(
                f"a decision of the rule {look.rule.name} cannot be recorded: {error}",
                next_step="A controller saw or made a number that is none; report it. Nothing "
                "changes about this subject until then.",
            ) from error
        record = ControlRecord(
            v=VERSION,
            iss=self._issuer,
            iat=Milliseconds(turn.now_ms),
            n=self._n + 1,
            prev=self._prev,
            kind="decision",
            rule=look.rule.name,
            rule_version=look.rule.version,
            subject=look.subject,
            verdict=decision.verdict,
            before=canonical.digest(before),
            inputs=canonical.digest(inputs),
            settings=canonical.digest(settings),
            decision=canonical.digest(answer),
            of=of,
            steering=turn.steering,
        )
        blobs = {canonical.digest(one): one for one in (before, inputs, settings, answer)}
        self._append(turn, record, blobs)
        return Recorded(record.n, record.decision, self._prev, decision, record)

    def steered(self, turn: Turn, result: str) -> None:
        """Record that the steering in force holds every decision so far.

        Args:
            turn: whose.
            result: `published`, or `found` where a crash came before this record.

        Raises:
            LeaseElsewhere: another process decides now.
            StateError: it cannot be signed or stored.
        """
        self._outcome(turn, (STEERING, STEERING_VERSION), Subject(), self._prev, result)

    def acted(self, turn: Turn, recorded: Recorded, result: str) -> None:
        """Record what came of a decision besides the steering.

        Args:
            turn: whose.
            recorded: the decision.
            result: what the shell says.

        Raises:
            LeaseElsewhere: another process decides now.
            StateError: it cannot be signed or stored.
        """
        was = recorded.record
        rule = (was.rule, was.rule_version)
        self._outcome(turn, rule, was.subject, recorded.statement, result)

    def _outcome(
        self, turn: Turn, rule: tuple[str, int], subject: Subject, of: str, result: str
    ) -> None:
        record = ControlRecord(
            v=VERSION,
            iss=self._issuer,
            iat=Milliseconds(turn.now_ms),
            n=self._n + 1,
            prev=self._prev,
            kind="outcome",
            rule=rule[0],
            rule_version=rule[1],
            subject=subject,
            of=of,
            result=result,
            steering=turn.steering,
        )
        self._append(turn, record, {})

    def _append(self, turn: Turn, record: ControlRecord, blobs: Mapping[str, bytes]) -> None:
        try:
            statement, jws = sign_record(record, self._signer.kid, self._signer.sign)
        except (RecordRefused, SigningFailed) as error:
            raise StateError(
                f"record {record.n} cannot be signed: {error}", next_step="Run `verismo doctor`."
            ) from error
        row = DecisionRow(
            n=record.n,
            rule=record.row_rule,
            subject=_subject_text(record.subject),
            verdict=record.verdict or record.result,
            statement=statement,
            jws=jws,
            written_ms=record.iat,
        )
        # A crash before this: nothing was decided. After it: the next round acts on it.
        self._store.append(turn.token, row, blobs)
        self._n, self._prev = record.n, canonical.digest(statement)


def _subject_text(subject: Subject) -> str:
    return canonical.encode(subject).decode("utf-8")
