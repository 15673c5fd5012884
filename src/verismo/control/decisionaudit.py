"""Recomputes recorded decisions and says which record is not what it says it is.

Every decision is computed anew from its recorded state before, observation and settings by the rule
and the version that its record names, and must come to the same bytes. Around that, the sequence:

1. numbers without a gap, each record sealed by a key of the role `plan` in force at its time;
2. each linked to the one before it, and listed as what it is;
3. each digest that it names is that of the bytes kept under it;
4. the state before is that of the newest earlier decision about the subject, or a start;
5. an outcome, and a decision by which a person overrode another, refer to an earlier record;
6. steering (`steeringaudit`): versions without a gap, each weight that of the newest decision.

What a broken or missing record would have said is not guessed: checks that hang on it are left out
until they can be made again, so that one alteration is named once and where it is.

A decision of another version of its rule is not judged: it needs that version (decisions 26). One
whose bytes were forgotten after `adapt.keep_days` keeps its place, its seal and its links.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from verismo.attest.controlrecord import (
    NO_RECORD,
    ControlRecord,
    RecordRefused,
    is_next,
    open_record,
    read_record,
)
from verismo.attest.keyentry import KeyEntry
from verismo.control.rules import AnyRule
from verismo.model import canonical
from verismo.model.decision import Action, encode_decision
from verismo.model.errors import StateError
from verismo.ports.decisions import DecisionArchive, DecisionRow

ROWS_AT_ONCE: Final = 500
KEEP_MS_MIN: Final = 86_400_000
"""`adapt.keep_days` is one day at least, so nothing younger is ever forgotten."""

NEXT_STEPS: Final[Mapping[str, str]] = {
    "missing": "Bring adapt.db back from a backup, or find the record's leaf in the ledger.",
    "row": "The table was edited by hand: compare it with a backup of adapt.db.",
    "seal": "Compare the record with its leaf in the ledger; ask who could write adapt.db.",
    "link": "A record was exchanged: compare both with a backup or with the ledger.",
    "bytes": "Bring the bytes back from a backup of adapt.db; their digest is signed.",
    "before": "Two processes decided at once, or state was put in by hand: look at the lease.",
    "of": "Look at the record before it: what it speaks of is not there.",
    "computed": "The rule was changed without a new version, or the recorder is at fault.",
    "steering": "Look at the outcomes around it; gateways may follow what nobody decided.",
}
"""What to do about a mismatch, by its kind."""


class Mismatch(msgspec.Struct, frozen=True):
    """One thing that is not as it should be.

    Args:
        n: number of the record; of the version where the kind is `steering`.
        kind: one of `NEXT_STEPS`.
        subject: canonical JSON of what it is about; empty if that is not known.
        detail: what differs.
    """

    n: int
    kind: str
    subject: str
    detail: str

    @property
    def next_step(self) -> str:
        """What to do about it."""
        return NEXT_STEPS[self.kind]


class AuditCounts(msgspec.Struct, frozen=True):
    """What was looked at.

    Args:
        records: of both kinds.
        decisions: those of them that are decisions.
        computed: decisions that were computed anew.
        forgotten: decisions whose bytes are no longer kept.
        needed: decisions that were not, by the version of the rule that is needed.
    """

    records: int = 0
    decisions: int = 0
    computed: int = 0
    forgotten: int = 0
    needed: Mapping[str, int] = MappingProxyType({})


class Kept(msgspec.Struct, frozen=True):
    """What of a recorded decision is read whatever its rule; the rest is compared as bytes."""

    action: Action
    state: msgspec.Raw


class Newest(msgspec.Struct, frozen=True):
    """The newest decision of a chain: those that hand a state on to each other.

    Args:
        n: its number.
        decision: digest of its bytes.
    """

    n: int
    decision: str


class AuditDesk(msgspec.Struct, frozen=True):
    """What an audit works with.

    Args:
        reader: of the records and the bytes.
        keys: of the newest version of the key ring that is believed.
        rules: by name.
        now_ms: Unix ms.
        keep_ms: how long bytes are kept at least.
        since: number of the first record to be judged; those before are only followed.
        in_ledger: number of the newest record that became a leaf of the ledger; 0 for none.
        is_lost: says of a number whether its record became a leaf and is kept nowhere any more.
    """

    reader: DecisionArchive
    keys: Sequence[KeyEntry]
    rules: Mapping[str, AnyRule]
    now_ms: int
    keep_ms: int = KEEP_MS_MIN
    since: int = 1
    in_ledger: int = 0
    is_lost: Callable[[int], bool] = lambda _: False


class DecisionAudit:
    """One pass over the records, from the first to the last.

    Args:
        desk: what it works with.
    """

    def __init__(self, desk: AuditDesk) -> None:
        self._desk = desk
        self._counts = AuditCounts()
        self._needed: dict[str, int] = {}
        self._previous: bytes | None = None
        self._last = 0
        self._hole = 0
        self._statements: set[bytes] = set()
        self._chains: dict[tuple[str, str], Newest] = {}
        self._decided: dict[str, set[bytes]] = {}

    @property
    def counts(self) -> AuditCounts:
        """What was looked at so far."""
        return msgspec.structs.replace(self._counts, needed=dict(self._needed))

    @property
    def hole(self) -> int:
        """Number of the newest record that is broken or missing; 0 for none."""
        return self._hole

    def walk(self) -> Iterator[tuple[ControlRecord | None, Sequence[Mismatch]]]:
        """Yield each record in order, None for one that cannot be believed, and what is wrong.

        Raises:
            StateError: the records cannot be read.
        """
        reader = self._desk.reader
        while rows := reader.rows(self._last, ROWS_AT_ONCE):
            for row in rows:
                yield self._see(row)
        yield None, list(self._end_faults())

    def _end_faults(self) -> Iterator[Mismatch]:
        """Say which records once stood behind the last one that is there."""
        reader = self._desk.reader
        named, in_ledger = reader.named_last(), self._desk.in_ledger
        if named > self._last:
            words = f"bytes are kept for record {named}, which is not there"
            yield Mismatch(self._last + 1, "missing", "", words)
        elif in_ledger > max(self._last, reader.last()):
            words = f"the ledger has a leaf of record {in_ledger}, which is not there"
            yield Mismatch(self._last + 1, "missing", "", words)
        elif self._desk.is_lost(self._last + 1):
            yield Mismatch(self._last + 1, "missing", "", _lost_words(self._last + 1))

    def kept(self, digest: str) -> Kept | None:
        """Return what a recorded decision says; None if its bytes are gone or altered."""
        data, fault = self._bytes(digest)
        if fault:
            return None
        try:
            return msgspec.json.decode(data, type=Kept)
        except msgspec.MsgspecError:
            return None

    def _see(self, row: DecisionRow) -> tuple[ControlRecord | None, Sequence[Mismatch]]:
        found = self._gap_faults(row)
        is_judged = row.n >= self._desk.since
        record, refusal = self._open(row, is_judged=is_judged)
        if record is None:
            found.append(Mismatch(row.n, *refusal))
            self._hole = row.n
        else:
            found += self._judge(row, record) if is_judged else []
            self._follow(record, row.statement)
        self._last, self._previous = row.n, row.statement
        self._count(record, is_judged=is_judged)
        return record, [one for one in found if one.n >= self._desk.since]

    def _gap_faults(self, row: DecisionRow) -> list[Mismatch]:
        """Say which numbers are missing; after a restore they go on from the time of it.

        So they do in a file that took the place of a lost one: what that one held, the ledger has.
        """
        first = self._last + 1
        if row.n == first:
            return []
        if is_next(self._last, row.n):
            if not self._desk.is_lost(first):
                return []
            words = _lost_words(first)
        else:
            numbers = str(first) if row.n == first + 1 else f"{first} to {row.n - 1}"
            words = f"there is no record {numbers}"
        self._hole = row.n - 1
        return [Mismatch(first, "missing", "", words)]

    def _open(
        self, row: DecisionRow, *, is_judged: bool
    ) -> tuple[ControlRecord | None, tuple[str, str, str]]:
        """Return a record that may be believed, or the kind, subject and words of what is wrong."""
        try:
            if is_judged:
                record = open_record(row.statement, row.jws, self._desk.keys)
            else:
                record = read_record(row.statement)
        except RecordRefused as error:
            return None, ("seal", row.subject, str(error))
        if record.n != row.n:
            return None, ("row", row.subject, f"it holds the record {record.n}")
        return record, ("", "", "")

    def _judge(self, row: DecisionRow, record: ControlRecord) -> list[Mismatch]:
        subject = canonical.encode(record.subject).decode("utf-8")
        found = [("row", one) for one in _row_faults(row, record, subject)]
        if self._hole != record.n - 1 and record.prev != _digest_of(self._previous):
            found.append(("link", "it is not linked to the record before it"))
        found += [("of", one) for one in self._reference_faults(record, subject)]
        if record.kind == "decision":
            found += self._decision_faults(record, subject)
        return [Mismatch(record.n, kind, subject, detail) for kind, detail in found]

    def _reference_faults(self, record: ControlRecord, subject: str) -> Iterator[str]:
        """Say what is wrong with the record that another one refers to."""
        if not record.of or self._hole:
            return
        of = bytes.fromhex(record.of)
        if record.kind == "outcome" and of not in self._statements:
            yield "what came of it is told of no earlier record"
        if record.kind == "decision" and of not in self._decided.get(subject, set()):
            yield "it overrides a decision that was never made about this subject"

    def _decision_faults(self, record: ControlRecord, subject: str) -> list[tuple[str, str]]:
        found = [("before", one) for one in self._chain_faults(record, subject)]
        is_old = self._desk.now_ms - record.iat > self._desk.keep_ms
        if is_old and not self._desk.reader.named(record.n):
            self._tally(forgotten=1)
            return found
        blobs: dict[str, bytes] = {}
        for name, digest in _named(record):
            data, fault = self._bytes(digest)
            blobs[name] = data
            if fault:
                found.append(("bytes", f"the {name}, {digest[:16]}..., {fault}"))
        if all(kind != "bytes" for kind, _ in found):
            found += [("computed", one) for one in self._computed_faults(record, blobs)]
        return found

    def _bytes(self, digest: str) -> tuple[bytes, str]:
        """Return what is kept under a digest, and what is wrong with it."""
        try:
            data = self._desk.reader.blob(digest)
        except StateError as error:
            return b"", f"cannot be read: {error.detail}"
        if data is None:
            return b"", "is not kept"
        return data, "" if canonical.digest(data) == digest else "was altered"

    def _chain_faults(self, record: ControlRecord, subject: str) -> Iterator[str]:
        newest = self._chains.get((self._family(record.rule), subject))
        if newest is None or newest.n < self._hole:
            return
        kept = self.kept(newest.decision)
        # Its bytes are altered: that is said of the record that names them.
        if kept is not None and canonical.digest(bytes(kept.state)) != record.before:
            yield f"its state before is not that of record {newest.n}, the newest about the subject"

    def _computed_faults(self, record: ControlRecord, blobs: Mapping[str, bytes]) -> Iterator[str]:
        rule = self._desk.rules.get(record.rule)
        if rule is None or rule.version != record.rule_version:
            needed = f"{record.rule} version {record.rule_version}"
            self._needed[needed] = self._needed.get(needed, 0) + 1
            return
        try:
            before = canonical.decode(blobs["state before"], rule.state)
            observation = canonical.decode(blobs["observation"], rule.observation)
            settings = canonical.decode(blobs["settings"], rule.settings)
            decision = rule.decide(before, observation, settings, record.iat)
            computed = encode_decision(decision)
        except (ValueError, ArithmeticError, LookupError) as error:
            # Of the right types, and still nothing that the rule could have been given.
            yield f"the rule cannot compute it: {error}"
            return
        self._tally(computed=1)
        if computed != blobs["decision"]:
            yield _difference(blobs["decision"], computed)
        elif (record.subject, record.verdict) != (decision.subject, decision.verdict):
            yield "the record names another subject or verdict than its decision"

    def _follow(self, record: ControlRecord, statement: bytes) -> None:
        """Remember what later records hang on."""
        self._statements.add(bytes.fromhex(canonical.digest(statement)))
        if record.kind != "decision":
            return
        subject = canonical.encode(record.subject).decode("utf-8")
        self._chains[self._family(record.rule), subject] = Newest(record.n, record.decision)
        self._decided.setdefault(subject, set()).add(bytes.fromhex(record.decision))

    def _family(self, rule: str) -> str:
        """Name the chain of a rule: rules with one type of state hand it on to each other."""
        known = self._desk.rules.get(rule)
        return rule if known is None else known.state.__name__

    def _count(self, record: ControlRecord | None, *, is_judged: bool) -> None:
        if is_judged:
            is_decision = record is not None and record.kind == "decision"
            self._tally(records=1, decisions=int(is_decision))

    def _tally(self, **more: int) -> None:
        counts = self._counts
        changed = {name: getattr(counts, name) + number for name, number in more.items()}
        self._counts = msgspec.structs.replace(counts, **changed)


def _named(record: ControlRecord) -> tuple[tuple[str, str], ...]:
    return (
        ("state before", record.before),
        ("observation", record.inputs),
        ("settings", record.settings),
        ("decision", record.decision),
    )


def _lost_words(n: int) -> str:
    return f"the ledger has a leaf of record {n}, which is not there"


def _digest_of(statement: bytes | None) -> str:
    return NO_RECORD if statement is None else canonical.digest(statement)


def _row_faults(row: DecisionRow, record: ControlRecord, subject: str) -> Iterator[str]:
    """Say where the columns of the table differ from the signed record."""
    if row.rule != record.row_rule:
        yield f"it is listed under {row.rule!r}, and is of {record.row_rule!r}"
    if row.subject != subject:
        yield f"it is listed under the subject {row.subject}"
    listed = record.verdict or record.result
    if row.verdict != listed:
        yield f"it is listed as {row.verdict!r}, and is {listed!r}"
    if row.written_ms != record.iat:
        yield f"it is listed at {row.written_ms} ms, and is of {record.iat} ms"


def _difference(recorded: bytes, computed: bytes) -> str:
    """Name the members of a decision that differ, the shortest first."""
    try:
        ours = msgspec.json.decode(recorded, type=dict[str, msgspec.Raw])
    except msgspec.MsgspecError:
        return "what is recorded is no decision"
    theirs = msgspec.json.decode(computed, type=dict[str, msgspec.Raw])
    names = [one for one in theirs if bytes(ours.get(one, b"")) != bytes(theirs[one])]
    first = min(names, key=lambda name: len(bytes(theirs[name])), default="")
    if not first:
        return "what is recorded has members that no decision has"
    was = bytes(ours.get(first, b"nothing"))[:80].decode("utf-8", "replace")
    now = bytes(theirs[first])[:80].decode("utf-8", "replace")
    return f"computed anew it differs in {', '.join(sorted(names))}: {first} {was}, computed {now}"
