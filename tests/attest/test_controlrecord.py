"""Records of the control plane: signed, linked, and refused where anything was changed."""

import msgspec
import pytest
from tests.support.keyring import START_MS
from tests.support.planring import PlanRing as Ring

from verismo.attest import jws
from verismo.attest.controlrecord import (
    NO_RECORD,
    NUMBERS_PER_S,
    STATEMENT_BYTES_MAX,
    STEERING,
    ControlRecord,
    RecordRefused,
    check_follows,
    is_next,
    open_record,
    read_record,
    sign_record,
)
from verismo.attest.planseal import seal
from verismo.model import canonical
from verismo.model.decision import Subject

NOW_MS = START_MS + 1_000
NAMES = ("before", "inputs", "settings", "decision")
DIGESTS = {name: digit * 64 for name, digit in zip(NAMES, "abcd", strict=True)}
SUBJECT = Subject(operation="chat", baseline="old", candidate="new")
DECISION = ControlRecord(
    1, "verismo", NOW_MS, 1, NO_RECORD, "decision", "canary", 1, SUBJECT, "HOLD", **DIGESTS
)
OUTCOME = ControlRecord(
    *(1, "verismo", NOW_MS, 2, "e" * 64, "outcome", STEERING, 1, Subject()),
    of="e" * 64,
    result="published",
    steering=1,
)


@pytest.fixture(scope="module")
def ring():
    return Ring()


def sign(ring, record, role="plan"):
    signer = ring.signer(role)
    return sign_record(record, signer.kid, signer.sign)


def changed(record, **fields):
    return msgspec.structs.replace(record, **fields)


@pytest.mark.parametrize("record", [DECISION, OUTCOME])
def test_what_was_signed_is_read_back(ring, record):
    assert open_record(*sign(ring, record), ring.keys) == record


def test_a_record_is_listed_under_its_rule_and_an_outcome_under_none():
    assert (DECISION.row_rule, OUTCOME.row_rule) == ("canary", "outcome")
    assert DECISION.named == tuple(DIGESTS.values())
    assert OUTCOME.named == ()


def test_each_byte_of_the_statement_is_under_the_signature(ring):
    statement, signature = sign(ring, DECISION)
    for at in range(len(statement)):
        forged = statement[:at] + bytes([statement[at] ^ 1]) + statement[at + 1 :]
        with pytest.raises(RecordRefused):
            open_record(forged, signature, ring.keys)


@pytest.mark.parametrize("role", ["token", "log", "evidence"])
def test_a_key_of_another_role_is_refused(ring, role):
    with pytest.raises(RecordRefused, match=f"role {role}, not plan"):
        open_record(*sign(ring, DECISION, role), ring.keys)


def test_a_signature_over_steering_is_not_passed_off_as_a_record(ring):
    signer, statement = ring.signer("plan"), canonical.encode(DECISION)
    signature = seal(statement, signer.kid, jws.TYPE_STEERING, signer.sign).encode()
    with pytest.raises(RecordRefused, match="not for attest-decision"):
        open_record(statement, signature, ring.keys)


def test_what_a_revoked_key_signed_needs_a_witness():
    ring = Ring()
    signed = sign(ring, DECISION)
    ring.rotation.revoke(ring.signer("plan").kid, NOW_MS + 9_000, "stolen", NOW_MS + 9_000)
    with pytest.raises(RecordRefused, match="no witness"):
        open_record(*signed, ring.keys)
    assert open_record(*signed, ring.keys, witnessed_ms=NOW_MS + 5_000) == DECISION


def test_a_format_that_is_not_known_is_refused_as_just_that():
    with pytest.raises(RecordRefused, match="format 2 is not known here"):
        read_record(canonical.encode({"v": 2, "surprise": 1}))


@pytest.mark.parametrize(
    "statement",
    [b"", b"{}", b"\xff", canonical.encode(DECISION) + b"\n", b"x" * (STATEMENT_BYTES_MAX + 1)],
)
def test_what_is_no_record_is_refused(statement):
    with pytest.raises(RecordRefused):
        read_record(statement)


@pytest.mark.parametrize(
    "record",
    [
        changed(DECISION, n=0),
        changed(DECISION, iat=-1),
        changed(DECISION, steering=-1),
        changed(DECISION, prev=""),
        changed(DECISION, prev="A" * 64),
        changed(DECISION, inputs="a" * 63),
        changed(DECISION, inputs=""),
        changed(DECISION, of="x"),
        changed(DECISION, rule=""),
        changed(DECISION, rule="outcome"),
        changed(DECISION, verdict=""),
        changed(DECISION, result="published"),
        changed(OUTCOME, result=""),
        changed(OUTCOME, of=""),
        changed(OUTCOME, verdict="HOLD"),
        changed(OUTCOME, decision="a" * 64),
    ],
)
def test_what_contradicts_itself_is_neither_signed_nor_read(ring, record):
    with pytest.raises(RecordRefused):
        sign(ring, record)
    with pytest.raises(RecordRefused):
        read_record(canonical.encode(record))


class TestOrder:
    first = canonical.encode(DECISION)

    def second(self, **fields):
        return changed(OUTCOME, prev=canonical.digest(self.first), **fields)

    def test_the_next_one_follows(self):
        check_follows(None, DECISION)
        check_follows(self.first, self.second())

    @pytest.mark.parametrize("n", [1, 3, NUMBERS_PER_S])
    def test_a_number_that_is_left_out_or_stands_twice_is_told(self, n):
        with pytest.raises(RecordRefused, match="does not follow"):
            check_follows(self.first, self.second(n=n))

    def test_a_record_that_was_exchanged_is_told_by_the_one_after_it(self):
        other = canonical.encode(changed(DECISION, verdict="PROMOTE"))
        with pytest.raises(RecordRefused, match="not linked"):
            check_follows(other, self.second())

    def test_the_first_one_follows_nothing(self):
        with pytest.raises(RecordRefused, match="does not follow"):
            check_follows(None, self.second())
        with pytest.raises(RecordRefused, match="not linked"):
            check_follows(None, changed(DECISION, prev="f" * 64))

    def test_a_record_of_another_issuer_is_told(self):
        with pytest.raises(RecordRefused, match="another issuer"):
            check_follows(self.first, self.second(iss="other"))

    def test_after_a_restore_numbers_go_on_from_its_time(self):
        restored = 1_790_000_000 * NUMBERS_PER_S + 1
        check_follows(self.first, self.second(n=restored))
        assert is_next(restored, restored + 1)
        assert is_next(restored + 5, 1_790_000_001 * NUMBERS_PER_S + 1)
        assert not is_next(restored + 5, restored)
        assert not is_next(restored, restored)
