"""Checks 15 to 17: what proves that the ledger holds an answer, and that its key counted."""

import forge
import forge_ledger
import forge_rings
import msgspec
import pytest
from forge_ledger import ALICE, BOB, INDEX, ORIGIN, POLICY, SEEN_S, SIZE, VKEY, Log, NoteKey
from hypothesis import given, settings
from hypothesis import strategies as st

from verismo.attest.exchange import expectation, read_exchange, verify_exchange
from verismo.attest.headers import read_proof_headers
from verismo.attest.keyentry import KeyRingRefused
from verismo.attest.keyring import Remembered, write_keyring
from verismo.attest.keys import read_jwks
from verismo.attest.merkle import ProofRefused
from verismo.attest.note import parse_vkey
from verismo.attest.statement import read_statement
from verismo.attest.tlogproof import LedgerProof, read_proof
from verismo.attest.verify import Expectation, SeenRequest, SeenResponse, Verifier
from verismo.attest.verify_ledger import (
    LEDGER_CHECKS,
    LedgerTrust,
    refused_ring,
    ring_keys,
    signed_entry,
    trusted_ring,
    verify_ledger,
)
from verismo.attest.witnesspolicy import read_policy
from verismo.model.units import moment_utc

KEYS = Verifier(read_jwks(msgspec.json.encode({"keys": [forge.TOKEN.jwk]})))
WITNESSES = ((ALICE, SEEN_S), (BOB, SEEN_S + 1))
CASE = forge.whole()
LOG = Log(forge_ledger.entry(CASE), witnesses=WITNESSES)
PROOF = LOG.proof().encode()
RING = forge_rings.history((forge_rings.BEGUN_MS, [forge_rings.key_entry(forge.TOKEN, "token")]))
TRUST = LedgerTrust((parse_vkey(VKEY),), read_policy(POLICY.encode()), RING[-1].ring)


def exchange_of(case, **members):
    return read_exchange(msgspec.json.encode({**case.document(), **members}))


def report_of(case):
    exchange = exchange_of(case)
    return verify_exchange(KEYS, exchange, expectation(exchange))


REPORT = report_of(CASE)


def failing(report):
    return [check.number for check in report.checks if check.outcome == "fail"]


def outcomes(report):
    return [check.outcome for check in report.checks if check.number in LEDGER_CHECKS]


def details(report):
    return [check.detail for check in report.checks if check.number in LEDGER_CHECKS]


def test_all_three_pass_with_everything_known_and_say_what_they_saw():
    report = verify_ledger(REPORT, PROOF, TRUST)
    assert (report.verdict, outcomes(report)) == ("VERIFIED", ["pass"] * 3)
    assert details(report) == [
        f"entry {INDEX} of {SIZE} in {ORIGIN}",
        f"'alice', 'bob' cosigned the checkpoint; a quorum at {moment_utc((SEEN_S + 1) * 1_000)}",
        f"version 1: the key counts from {moment_utc(forge_rings.BEGUN_MS)}",
    ]
    assert [check.number for check in report.checks] == list(range(1, 18))


def test_without_anything_given_all_three_are_skipped_and_nothing_changes():
    report = verify_ledger(REPORT, None, LedgerTrust())
    assert report == REPORT
    assert (report.verdict, outcomes(report)) == ("VERIFIED", ["skip"] * 3)


def test_a_proof_that_came_along_proves_nothing_without_a_key_of_ones_own():
    report = verify_ledger(REPORT, PROOF, LedgerTrust())
    assert (report.verdict, outcomes(report)) == ("VERIFIED", ["skip"] * 3)
    assert "nobody named the key" in details(report)[0]


def test_an_exchange_may_carry_its_proof_but_not_its_trust():
    exchange = exchange_of(CASE, proof=PROOF.decode())
    expected = expectation(exchange)
    assert outcomes(verify_exchange(KEYS, exchange, expected)) == ["skip"] * 3
    assert outcomes(verify_exchange(KEYS, exchange, expected, TRUST)) == ["pass"] * 3
    assert "log_key" not in msgspec.json.encode(exchange).decode()


@pytest.mark.parametrize(
    "trust",
    [
        LedgerTrust(log_keys=TRUST.log_keys),
        LedgerTrust(policy=TRUST.policy),
        LedgerTrust(policy=read_policy(f"log {VKEY}\nquorum none\n".encode())),
    ],
)
def test_stripping_the_proof_is_refused_where_a_log_or_witnesses_are_trusted(trust):
    report = verify_ledger(REPORT, None, trust)
    assert (report.verdict, failing(report)) == ("INVALID", [15])


def test_a_ring_alone_demands_no_proof():
    assert outcomes(verify_ledger(REPORT, None, LedgerTrust(ring=TRUST.ring))) == [
        "skip",
        "skip",
        "pass",
    ]


def test_why_no_proof_could_be_made_is_said():
    report = verify_ledger(REPORT, ProofRefused("the log has no checkpoint"), TRUST)
    assert (report.verdict, failing(report)) == ("INVALID", [15])
    assert details(report)[0] == "the log has no checkpoint"


@pytest.mark.parametrize("number", [2, 4])
def test_nothing_is_asked_of_the_ledger_where_nothing_was_signed(number):
    case = forge.whole()
    if number == 2:
        case.set("attest-signature", "x")
    else:
        case.set("attest-statement", forge.item(b"{}"))
    report = verify_ledger(report_of(case), PROOF, TRUST)
    assert (report.verdict, failing(report)) == ("INVALID", [number])
    assert details(report) == ["not reached"] * 3


def test_an_unsigned_answer_stays_unsigned_whatever_its_proof():
    case = forge.whole()
    case.headers = [("content-type", "application/json")]
    report = verify_ledger(report_of(case), PROOF, TRUST)
    assert (report.verdict, failing(report)) == ("UNSIGNED", [1])


def test_a_wrong_body_stays_invalid_though_the_ledger_holds_its_statement():
    case = forge.whole()
    case.answer += b" "
    report = verify_ledger(report_of(case), PROOF, TRUST)
    assert (report.verdict, failing(report)) == ("INVALID", [11, 14])
    assert outcomes(report) == ["pass"] * 3


def test_the_entry_is_made_from_what_was_verified():
    assert signed_entry(REPORT) == LOG.entry
    made = forge.stream()
    assert signed_entry(report_of(made.case())) == forge_ledger.entry(made.case())
    assert signed_entry(report_of(made.case(made.blocks[:4]))) is None


def test_a_live_stream_is_proven_as_a_recorded_one():
    made = forge.stream()
    case = made.case()
    stream = KEYS.stream(*seen(case), Expectation())
    for block in made.blocks:
        stream.feed(block)
    proof = Log(forge_ledger.entry(case), witnesses=WITNESSES).proof().encode()
    report = verify_ledger(stream.finish(), proof, TRUST)
    assert (report.verdict, report.events, outcomes(report)) == ("VERIFIED", 6, ["pass"] * 3)
    refused = verify_ledger(stream.finish(), PROOF, TRUST)
    assert (refused.verdict, refused.events, failing(refused)) == ("INVALID", 0, [15])


def seen(case):
    headers = dict(case.headers)
    proof = read_proof_headers(headers)
    request = SeenRequest(case.method, case.path, case.query.encode(), case.question)
    return proof, request, SeenResponse(case.status, headers["content-type"])


def test_a_prefix_has_no_statement_that_a_log_could_hold():
    made = forge.stream()
    report = verify_ledger(report_of(made.case(made.blocks[:4])), PROOF, TRUST)
    assert (report.verdict, report.events) == ("VERIFIED_PREFIX", 2)
    assert outcomes(report) == ["skip", "skip", "pass"]


def test_a_stream_that_its_gateway_ended_early_is_in_the_ledger_too():
    case = forge.stream(fin=False).case()
    proof = Log(forge_ledger.entry(case), witnesses=WITNESSES).proof().encode()
    report = verify_ledger(report_of(case), proof, TRUST)
    assert (report.verdict, report.events, outcomes(report)) == ("VERIFIED_PREFIX", 5, ["pass"] * 3)


FIELDS = {
    "index": lambda proof: msgspec.structs.replace(proof, index=proof.index ^ 1),
    "hashes": lambda proof: msgspec.structs.replace(proof, hashes=proof.hashes[1:]),
    "hash": lambda proof: msgspec.structs.replace(proof, hashes=(bytes(32), *proof.hashes[1:])),
    "checkpoint": lambda proof: msgspec.structs.replace(
        proof, checkpoint=proof.checkpoint.replace(b"\n300\n", b"\n299\n")
    ),
    "origin": lambda proof: msgspec.structs.replace(
        proof, checkpoint=proof.checkpoint.replace(b"/2026\n", b"/2027\n", 1)
    ),
}


@pytest.mark.parametrize("field", FIELDS)
def test_a_proof_with_one_field_changed_is_refused(field):
    changed = FIELDS[field](read_proof(PROOF)).encode()
    assert changed != PROOF
    report = verify_ledger(REPORT, changed, TRUST)
    assert (report.verdict, failing(report)) == ("INVALID", [15])


def test_the_proof_of_another_answer_is_refused():
    other = Log(forge_ledger.entry(forge.whole(forge.Recipe(name="B"))), witnesses=WITNESSES)
    assert failing(verify_ledger(REPORT, other.proof().encode(), TRUST)) == [15]


def test_a_checkpoint_signed_by_another_key_is_refused():
    other = Log(LOG.entry, signer=NoteKey(ORIGIN, seed_name="other"), witnesses=WITNESSES)
    report = verify_ledger(REPORT, other.proof().encode(), TRUST)
    assert (failing(report), outcomes(report)[1]) == ([15], "skip")


def test_the_log_follows_from_the_statement_and_not_from_the_proof():
    other = Log(LOG.entry, origin="gateway.example/log/us/2026")
    trust = LedgerTrust((parse_vkey(other.key.key.vkey),))
    report = verify_ledger(REPORT, other.proof().encode(), trust)
    assert failing(report) == [15]
    assert repr(ORIGIN) in details(report)[0]


def test_names_that_came_along_cannot_break_the_report():
    """The policy's author chose the witness's name; the report shows it escaped."""
    policy = read_policy(f"witness \u202e {ALICE.key.vkey}\nquorum \u202e\n".encode())
    report = verify_ledger(REPORT, PROOF, LedgerTrust(TRUST.log_keys, policy))
    assert outcomes(report)[1] == "pass"
    assert "\\" in details(report)[1]


MUTATION = st.tuples(st.integers(0, len(PROOF) - 1), st.integers(1, 255))


@settings(max_examples=150, deadline=None)
@given(st.lists(MUTATION, min_size=1, max_size=3, unique_by=lambda one: one[0]))
def test_no_change_of_a_proof_passes(changes):
    mutated = bytearray(PROOF)
    for at, flip in changes:
        mutated[at] ^= flip
    report = verify_ledger(REPORT, bytes(mutated), TRUST)
    assert report.verdict == "INVALID"
    assert set(failing(report)) <= {15, 16}


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.integers(0, len(PROOF)))
def test_whatever_is_inserted_or_cut_never_raises(inserted, at):
    for data in (inserted, PROOF[:at], PROOF[:at] + inserted + PROOF[at:]):
        report = verify_ledger(REPORT, data, TRUST)
        assert (report.verdict == "VERIFIED") == (data == PROOF)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**53 - 1), st.text(max_size=20), st.text(max_size=20))
def test_whatever_a_statement_calls_its_log_never_raises(iat, issuer, region):
    """A gateway's own signature over odd names and times: there may be no such log."""
    payload = msgspec.json.encode(
        {**msgspec.json.decode(REPORT.payload), "iat": iat, "iss": issuer, "region": region},
        order="sorted",
    )
    stated = msgspec.structs.replace(
        read_statement(REPORT.payload), iat=iat, iss=issuer, region=region
    )
    odd = msgspec.structs.replace(REPORT, payload=payload, statement=stated)
    log = LedgerTrust(
        ring=msgspec.structs.replace(
            RING[-1].ring, keys=(*RING[-1].ring.keys, forge_rings.log_entry())
        )
    )
    for trust in (TRUST, log):
        assert verify_ledger(odd, PROOF, trust).verdict == "INVALID"


def revoked(at_ms, witnesses):
    ring = forge_rings.revoked(at_ms)[-1].ring
    proof = Log(LOG.entry, witnesses=witnesses).proof().encode()
    return verify_ledger(REPORT, proof, msgspec.structs.replace(TRUST, ring=ring))


@pytest.mark.parametrize(
    ("revoked_ms", "outcome"),
    [
        ((SEEN_S + 1) * 1_000, "fail"),
        ((SEEN_S + 1) * 1_000 + 999, "fail"),
        ((SEEN_S + 2) * 1_000, "pass"),
        ((SEEN_S + 9_999) * 1_000, "pass"),
    ],
)
def test_a_revoked_key_counts_only_if_a_quorum_was_there_before(revoked_ms, outcome):
    report = revoked(revoked_ms, WITNESSES)
    assert outcomes(report) == ["pass", "pass", outcome]
    assert (report.verdict == "VERIFIED") == (outcome == "pass")


def test_a_time_that_a_thief_states_does_not_help_a_revoked_key():
    later = forge_rings.DAY_MS + forge.TIME_MS
    assert failing(revoked(later, ())) == [16, 17]
    assert failing(revoked(later, WITNESSES[:1])) == [16, 17]
    late = ((ALICE, SEEN_S), (BOB, later // 1_000))
    assert failing(revoked(later, late)) == [17]


def test_a_policy_without_a_quorum_vouches_for_no_revoked_key():
    policy = read_policy(POLICY.replace("quorum both", "quorum none").encode())
    ring = forge_rings.revoked(forge.TIME_MS + forge_rings.DAY_MS)[-1].ring
    report = verify_ledger(REPORT, PROOF, LedgerTrust(TRUST.log_keys, policy, ring))
    assert outcomes(report) == ["pass", "skip", "fail"]


@pytest.mark.parametrize(
    ("revoked_s", "policy", "expected"),
    [
        (SEEN_S + 1, TRUST.policy, [15]),
        (SEEN_S + 2, TRUST.policy, []),
        (SEEN_S + 9_999, None, [15]),
        (0, None, []),
    ],
)
def test_a_log_key_that_was_named_and_is_revoked_counts_only_if_a_quorum_was_there_before(
    revoked_s, policy, expected
):
    stolen = msgspec.structs.replace(
        forge_rings.log_entry(),
        revoked_ms=revoked_s * 1_000,
        reason="copied" if revoked_s else "",
    )
    ring = msgspec.structs.replace(RING[-1].ring, keys=(*RING[-1].ring.keys, stolen))
    report = verify_ledger(REPORT, PROOF, LedgerTrust(TRUST.log_keys, policy, ring))
    assert failing(report) == expected
    assert (report.verdict == "VERIFIED") == (not expected)


def test_a_ring_is_a_key_set_of_all_times():
    ring = forge_rings.revoked(forge.TIME_MS)[-1].ring
    keys = ring_keys(ring)
    assert list(keys) == [forge.TOKEN.kid]
    exchange = exchange_of(CASE)
    assert verify_exchange(Verifier(keys), exchange, Expectation()).verdict == "VERIFIED"


def test_rollback_and_fork_of_a_ring_are_refused():
    grown = forge_rings.history(
        (forge_rings.BEGUN_MS, [forge_rings.key_entry(forge.TOKEN, "token")]),
        (forge.TIME_MS, [forge_rings.key_entry(forge.TOKEN, "token")]),
    )
    newest, seen_ring = trusted_ring(write_keyring(grown), None)
    assert (newest, seen_ring.version) == (grown[-1], 2)
    assert trusted_ring(write_keyring(grown), seen_ring)[1] == seen_ring
    with pytest.raises(KeyRingRefused, match=r"^rollback: ") as caught:
        trusted_ring(write_keyring(grown[:1]), seen_ring)
    report = refused_ring(caught.value)
    assert (report.verdict, failing(report), details(report)[2]) == (
        "INVALID",
        [17],
        "rollback: version 1 is offered, but 2 was seen",
    )
    with pytest.raises(KeyRingRefused, match=r"^fork: "):
        trusted_ring(write_keyring(grown), Remembered(1, "0" * 64))


def test_a_proof_is_made_of_what_it_says():
    assert read_proof(PROOF) == LedgerProof(b"", INDEX, LOG.path, LOG.note().encode())
