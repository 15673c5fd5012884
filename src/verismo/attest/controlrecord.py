"""A record of the control plane: that a controller decided, or what came of it, signed and linked.

A record names everything by its digest; the bytes are kept beside it and never signed themselves.
Each names the one before, so that none can be left out, and becomes a leaf of the ledger. Whoever
has the records and the bytes computes every decision anew (`verismo audit`).

Source: ADR-031; docs/adapt-loop.md.
"""

from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec

from verismo.attest import jws
from verismo.attest.keyentry import KeyEntry
from verismo.attest.planseal import SealRefused, check_seal, check_time, seal
from verismo.model import canonical
from verismo.model.decision import Subject
from verismo.model.units import Milliseconds

VERSION: Final = 1
NO_RECORD: Final = "0" * 64
"""`prev` of the first record: there is none before it."""
STATEMENT_BYTES_MAX: Final = 16_384
"""Names and digests; a record has about 1 KB."""
OUTCOME: Final = "outcome"
"""Stands in the place of the rule where rows are listed, so that outcomes hide no decision."""
STEERING: Final = "steering"
"""The rule of an outcome that speaks of the steering, and so of every decision before it."""

NUMBERS_PER_S: Final = 1_000_000
"""After a restore numbers go on from its time, in whole seconds since 1970, times this: further
than those can have come that were given out after the backup."""

Kind = Literal["decision", "outcome"]


class RecordRefused(ValueError):
    """The record must not be believed, and why."""


class ControlRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is signed. Digests are hex SHA-256, empty where there is nothing to name.

    Args:
        v: format version.
        iss: the gateway's issuer.
        iat: when it was recorded, Unix ms.
        n: counted from 1 without a gap; after a restore from a multiple of `NUMBERS_PER_S` and 1.
        prev: of the statement of the record before; 64 zeros in the first.
        kind: a decision, or what came of one.
        rule: which rule decided; `steering` for what came of all decisions before.
        rule_version: of the rule; only that version computes the decision again.
        subject: about what; empty where it is about the steering.
        verdict: of the decision; empty in an outcome.
        before: of the state that the rule was given.
        inputs: of the observation.
        settings: of the settings.
        decision: of the decision.
        of: in a decision, of the decision that a person overrode by it; in an outcome, of the
            statement of the last record that it speaks of.
        result: what came of it; empty in a decision.
        steering: version of the steering in force, 0 for none: in a decision when it was made, in
            an outcome afterwards.
    """

    v: int
    iss: str
    iat: Milliseconds
    n: int
    prev: str
    kind: Kind
    rule: str
    rule_version: int
    subject: Subject
    verdict: str = ""
    before: str = ""
    inputs: str = ""
    settings: str = ""
    decision: str = ""
    of: str = ""
    result: str = ""
    steering: int = 0

    @property
    def row_rule(self) -> str:
        """The rule under which its row is listed."""
        return OUTCOME if self.kind == "outcome" else self.rule

    @property
    def named(self) -> tuple[str, ...]:
        """The digests of the bytes that are kept with it."""
        return tuple(one for one in (self.before, self.inputs, self.settings, self.decision) if one)


class _Versioned(msgspec.Struct, frozen=True):
    v: int


def sign_record(
    record: ControlRecord, kid: str, sign: Callable[[bytes], bytes]
) -> tuple[bytes, bytes]:
    """Return the statement and its detached JWS, both as they are stored.

    Args:
        record: the next one.
        kid: thumbprint of a key of the role `plan` that is in force at its `iat`.
        sign: Ed25519 over a message, 64 bytes.

    Raises:
        RecordRefused: it contradicts itself; a mistake of the controller's.
    """
    statement = canonical.encode(record)
    read_record(statement)
    return statement, seal(statement, kid, jws.TYPE_DECISION, sign).encode("ascii")


def read_record(statement: bytes) -> ControlRecord:
    """Parse a record strictly, whoever signed it.

    Raises:
        RecordRefused: too long, not canonical, of another format, or contradicting itself.
    """
    if len(statement) > STATEMENT_BYTES_MAX:
        raise RecordRefused(f"the record is longer than {STATEMENT_BYTES_MAX} bytes")
    try:
        found = msgspec.json.decode(statement, type=_Versioned).v
        if found != VERSION:
            raise RecordRefused(f"record format {found} is not known here; update the verifier")
        record = canonical.decode(statement, ControlRecord)
    except (canonical.NotCanonical, msgspec.MsgspecError, UnicodeError) as error:
        raise RecordRefused(f"not a record of a decision: {error}") from error
    _check(record)
    return record


def open_record(
    statement: bytes,
    signature: bytes,
    keys: Sequence[KeyEntry],
    witnessed_ms: int | None = None,
) -> ControlRecord:
    """Verify a record and return what it says.

    Args:
        statement: as stored.
        signature: the detached JWS, ASCII.
        keys: of the newest version of the key ring that is believed.
        witnessed_ms: when a witness saw it in the ledger, None for never.

    Raises:
        RecordRefused: a bad signature, a key of another role or not in force at its `iat`, or as
            `read_record` says.
    """
    try:
        entry = check_seal(statement, signature.decode("ascii"), jws.TYPE_DECISION, keys)
        record = read_record(statement)
        check_time(entry, record.iat, witnessed_ms)
    except (SealRefused, UnicodeError) as error:
        raise RecordRefused(f"the record cannot be believed: {error}") from error
    return record


def check_follows(previous: bytes | None, record: ControlRecord) -> None:
    """Check that a record is the next one.

    Args:
        previous: the statement of the record before, None for the first.
        record: as read.

    Raises:
        RecordRefused: one is missing, stands twice or was exchanged.
    """
    before = None if previous is None else read_record(previous)
    if not is_next(0 if before is None else before.n, record.n):
        raise RecordRefused(f"record {record.n} does not follow the one before it")
    if record.prev != (NO_RECORD if previous is None else canonical.digest(previous)):
        raise RecordRefused(f"record {record.n} is not linked to the one before it")
    if before is not None and record.iss != before.iss:
        raise RecordRefused(f"record {record.n} is of another issuer than the one before it")


def is_next(before: int, n: int) -> bool:
    """Say whether a number follows another; versions of the steering are counted alike.

    Args:
        before: the number before, 0 for none.
        n: the number after it.
    """
    return n == before + 1 or (n > before and n % NUMBERS_PER_S == 1)


def _check(record: ControlRecord) -> None:
    if record.n < 1 or record.iat < 0 or record.steering < 0:
        raise RecordRefused("its number, time or steering is negative")
    digests = (record.prev, *record.named, record.of or NO_RECORD)
    if not all(canonical.is_digest(one) for one in digests):
        raise RecordRefused("a digest that is none")
    if not record.rule or record.rule == OUTCOME:
        raise RecordRefused("it names no rule")
    if record.kind == "decision":
        if len(record.named) != 4 or not record.verdict or record.result:
            raise RecordRefused("a decision that does not name what it was made from")
    elif record.named or record.verdict or not record.result or not record.of:
        raise RecordRefused("an outcome that does not say of what, or says more")
