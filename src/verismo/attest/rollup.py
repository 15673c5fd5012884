"""The daily rollup: one signed statement of what one day added to one log.

An in-toto Statement v1 in a DSSE envelope. Its subjects are the digests of the day's archived
files; its predicate says which leaves the day holds and how they were decided, proves that the log
only grew since the day before, and carries what the archive answered about the day before.

A day is a range of leaves, not of times: it runs from the leaf after the previous rollup's last to
the size of the day's checkpoint, so that days tile the log without gap or overlap.

Source: in-toto attestation framework, spec/v1 (Statement, ResourceDescriptor).
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from verismo.attest import dsse
from verismo.attest.keys import PublicKey
from verismo.attest.merkle import CONSISTENCY_HASHES_MAX, ProofRefused, verify_consistency
from verismo.model import canonical
from verismo.model.retention import UploadProof

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE: Literal["https://in-toto.io/Statement/v1"] = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Literal["urn:verismo:ledger-rollup:v1"] = "urn:verismo:ledger-rollup:v1"
HASH_HEX_CHARS = 64
LOST_LEAF = "lost"
"""Counts, among the types of leaves, those whose record a restore has lost, whatever their type."""


class RollupRefused(ValueError):
    """The document is not a valid rollup, or does not follow the one before, and why."""


class Digest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A digest set with its one member."""

    sha256: str


class Subject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of the day: its name within the day's folder, and its digest."""

    name: str
    digest: Digest


class Previous(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rollup before: its day, size and root, and the SHA-256 of its envelope."""

    day: str
    size: int
    root: str
    rollup: str


class KeyRingState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which version of the key ring was in force, and its digest."""

    version: int
    sha256: str


class SiemCounters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the export to one SIEM sink had reached when the rollup was made.

    Args:
        sink: its name.
        exported: events of this log that the sink has acknowledged.
        dead: events that were put aside as undeliverable, of every log.
        next_index: the leaf of this log that is exported next.
    """

    sink: str
    exported: int
    dead: int
    next_index: int


class Witnessed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A published checkpoint of a larger tree, whose cosignatures cover the day as well.

    Args:
        size: of that tree.
        root: hex.
        consistency: proof that it extends the day's tree.
    """

    size: int
    root: str
    consistency: tuple[str, ...]


class Predicate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the day added.

    Args:
        v: version of this predicate, 1.
        origin: the log's.
        day: the UTC day, `YYYY-MM-DD`.
        first: index of the day's first leaf.
        last: index of its last leaf; `first - 1` for a day without leaves.
        size: of the tree at the day's end, `last + 1`.
        root: hex, of the tree at the day's end.
        leaves: how many leaves of each type, by name; those whose record is lost are `lost`.
        answers: how many answers for each policy decision and status class, such as `allow 2xx`.
        consistency: proof that the tree of this day extends that of the day before (RFC 6962,
            2.1.2); empty for the first rollup.
        erased: leaves whose tenant was erased before, so that their statements are not archived.
        uploads: what the archive answered about the objects of earlier rollups, once each.
        keyring: the key ring in force.
        previous: the rollup before this one; left out for a log's first.
        siem: for each sink; left out where nothing is exported.
        witnessed: what `checkpoint.witnessed` is to the day's tree, if there is such a file.
    """

    v: Literal[1]
    origin: str
    day: str
    first: int
    last: int
    size: int
    root: str
    leaves: dict[str, int]
    answers: dict[str, int]
    consistency: tuple[str, ...]
    uploads: tuple[UploadProof, ...]
    erased: int = 0
    keyring: KeyRingState | UnsetType = UNSET
    previous: Previous | UnsetType = UNSET
    siem: tuple[SiemCounters, ...] | UnsetType = UNSET
    witnessed: Witnessed | UnsetType = UNSET


class RollupStatement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The in-toto statement that is signed."""

    subject: tuple[Subject, ...]
    predicate: Predicate
    type: Literal["https://in-toto.io/Statement/v1"] = msgspec.field(
        name="_type", default=STATEMENT_TYPE
    )
    predicate_type: Literal["urn:verismo:ledger-rollup:v1"] = PREDICATE_TYPE


class Tally:
    """Counts the day's leaves as they go by."""

    def __init__(self) -> None:
        self.leaves: dict[str, int] = {}
        self.answers: dict[str, int] = {}

    def count(self, leaf_type: str) -> None:
        """Count a leaf that is no answer, or whose record is lost."""
        self.leaves[leaf_type] = self.leaves.get(leaf_type, 0) + 1

    def count_answer(self, decision: str, status: int) -> None:
        """Count an answer by its policy decision and its HTTP status."""
        self.count("answer")
        name = f"{decision} {status // 100}xx"
        self.answers[name] = self.answers.get(name, 0) + 1


def subjects(digests: Mapping[str, str]) -> tuple[Subject, ...]:
    """Return the subjects for files by name, sorted by name.

    Args:
        digests: hex SHA-256 by name within the day's folder.
    """
    return tuple(Subject(name, Digest(digests[name])) for name in sorted(digests))


def sign_rollup(statement: RollupStatement, kid: str, sign: Callable[[bytes], bytes]) -> bytes:
    """Return the rollup's envelope: the same statement and key give the same bytes.

    Raises:
        RollupRefused: the statement contradicts itself; a mistake of ours.
    """
    check_rollup(statement)
    return dsse.seal(PAYLOAD_TYPE, canonical.encode(statement), kid, sign)


def read_rollup(document: bytes) -> RollupStatement:
    """Return the statement of an envelope without verifying who signed it.

    Raises:
        RollupRefused: not a rollup, or one that contradicts itself.
    """
    try:
        envelope, payload = dsse.read_envelope(document)
    except dsse.EnvelopeRefused as error:
        raise RollupRefused(str(error)) from error
    if envelope.payload_type != PAYLOAD_TYPE:
        raise RollupRefused(f"the envelope holds {envelope.payload_type[:128]!r}")
    return _statement(payload)


def open_rollup(document: bytes, keys: Mapping[str, PublicKey]) -> RollupStatement:
    """Verify a rollup's signature and return its statement.

    Args:
        document: the envelope.
        keys: trusted keys by kid; only those of the role `rollup` count.

    Raises:
        RollupRefused: no trusted key signed it, or it contradicts itself.
    """
    try:
        opened = dsse.open_envelope(document, PAYLOAD_TYPE, keys, "rollup")
    except dsse.EnvelopeRefused as error:
        raise RollupRefused(str(error)) from error
    return _statement(opened.payload)


def check_rollup(statement: RollupStatement) -> None:
    """Check that a rollup agrees with itself.

    Raises:
        RollupRefused: names what contradicts what.
    """
    told = statement.predicate
    _check_day(told.day)
    if not 0 <= told.first <= told.last + 1 == told.size:
        raise RollupRefused("first, last and size are no range of leaves")
    if sum(told.leaves.values()) != told.size - told.first:
        raise RollupRefused("the counts by type are not the number of leaves")
    if sum(told.answers.values()) != told.leaves.get("answer", 0):
        raise RollupRefused("the counts by decision are not the number of answers")
    _hash(told.root)
    if len({subject.name for subject in statement.subject}) != len(statement.subject):
        raise RollupRefused("two subjects have one name")
    _check_growth(told)
    if told.witnessed is not UNSET:
        _check_witnessed(told, told.witnessed)


def check_succession(earlier: bytes, later: RollupStatement) -> None:
    """Check that a rollup follows the one before it without gap or overlap.

    Args:
        earlier: the envelope of the day before.
        later: the checked statement of the day after.

    Raises:
        RollupRefused: it names another rollup, another tree, or leaves leaves out.
    """
    before, told = read_rollup(earlier).predicate, later.predicate
    if told.previous is UNSET or told.previous.rollup != canonical.digest(earlier):
        raise RollupRefused(f"the rollup of {told.day} does not name the one of {before.day}")
    named = told.previous
    if (named.size, named.root, named.day) != (before.size, before.root, before.day):
        raise RollupRefused(f"the rollup of {told.day} tells the one of {before.day} otherwise")
    if told.origin != before.origin or told.day <= before.day:
        raise RollupRefused(f"the rollup of {told.day} is not a later day of the same log")


def check_chain(envelopes: Iterable[bytes], keys: Mapping[str, PublicKey]) -> None:
    """Check a log's rollups from its first: signatures, and each following the one before.

    Raises:
        RollupRefused: names the first that does not.
    """
    earlier: bytes | None = None
    for document in envelopes:
        statement = open_rollup(document, keys)
        if earlier is not None:
            check_succession(earlier, statement)
        elif statement.predicate.previous is not UNSET:
            raise RollupRefused(f"the rollups before {statement.predicate.day} are missing")
        earlier = document


def _statement(payload: bytes) -> RollupStatement:
    try:
        statement = canonical.decode(payload, RollupStatement)
    except canonical.NotCanonical as error:
        raise RollupRefused(f"not a rollup: {error}") from error
    check_rollup(statement)
    return statement


def _check_growth(told: Predicate) -> None:
    """Check where the day begins, and the proof that the tree only grew."""
    if told.previous is UNSET:
        if told.first or told.consistency or told.uploads:
            raise RollupRefused("a log's first rollup begins at leaf 0 and follows nothing")
        return
    if told.previous.size != told.first:
        raise RollupRefused("the day does not begin where the previous one ended")
    _check_extends(
        (told.previous.size, told.previous.root), (told.size, told.root), told.consistency, told.day
    )


def _check_witnessed(told: Predicate, larger: Witnessed) -> None:
    if larger.size < told.size:
        raise RollupRefused("the witnessed tree is smaller than the day's")
    _check_extends(
        (told.size, told.root), (larger.size, larger.root), larger.consistency, "its witnesses"
    )


def _check_extends(
    earlier: tuple[int, str], later: tuple[int, str], proof: tuple[str, ...], whose: str
) -> None:
    """Verify that one tree, size and root, extends another."""
    if len(proof) > CONSISTENCY_HASHES_MAX:
        raise RollupRefused("a consistency proof of more hashes than any log needs")
    hashes = tuple(_hash(text) for text in proof)
    try:
        verify_consistency(earlier[0], later[0], hashes, _hash(earlier[1]), _hash(later[1]))
    except ProofRefused as error:
        raise RollupRefused(f"the tree of {whose} does not extend the earlier one") from error


def _check_day(text: str) -> None:
    try:
        is_spelled = date.fromisoformat(text).isoformat() == text
    except ValueError as error:
        raise RollupRefused(f"{text[:32]!r} is no day") from error
    if not is_spelled:
        raise RollupRefused(f"{text[:32]!r} is not spelled YYYY-MM-DD")


def _hash(text: str) -> bytes:
    if len(text) != HASH_HEX_CHARS or text != text.lower():
        raise RollupRefused("a hash is 64 lower-case hex digits")
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise RollupRefused("a hash is 64 lower-case hex digits") from error
