"""Verifying whole answers: what each check says, and in which order they end a verification."""

import json
import time

import pytest
from forge import (
    AUDIENCE,
    ISSUER,
    NONCE,
    OTHER,
    QUESTION,
    TIME_MS,
    TOKEN,
    Key,
    Recipe,
    head_token,
    signed_bytes,
    stream,
    token,
    whole,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from verismo.attest.headers import HeadersRefused, ProofHeaders, read_proof_headers
from verismo.attest.keys import KeyRefused, PublicKey, import_key, read_jwks
from verismo.attest.stream import is_comment_only
from verismo.attest.verify import (
    CHECK_NAMES,
    Expectation,
    SeenRequest,
    SeenResponse,
    Verifier,
    refused_headers,
    refused_keys,
    verify_answer,
)
from verismo.model import base64url


def public(*keys: Key) -> dict[str, PublicKey]:
    return read_jwks(json.dumps({"keys": [key.jwk for key in keys]}).encode())


KEYS = public(TOKEN)


def seen(case):
    request = SeenRequest(case.method, case.path, case.query.encode(), case.question)
    digest = dict(case.headers).get("content-digest")
    response = SeenResponse(case.status, case["content-type"], case.answer, digest)
    return read_proof_headers(dict(case.headers)), request, response


def outcomes(report):
    return {check.number: check.outcome for check in report.checks}


def failing(report):
    return [check.number for check in report.checks if check.outcome == "fail"]


def detail(report, number):
    return report.checks[number - 1].detail


FULL = Expectation(
    issuer=ISSUER, audience=AUDIENCE, nonce=NONCE, now_ms=TIME_MS + 10, age_ms_max=1_000
)


def test_every_check_passes_on_a_whole_answer_with_everything_known():
    case = whole()
    report = verify_answer(seen(case)[0], KEYS, *seen(case)[1:], FULL, case.graph.encode())
    assert report.verdict == "VERIFIED"
    made, left = list(outcomes(report).values())[:14], list(outcomes(report).values())[14:]
    assert (set(made), set(left)) == ({"pass"}, {"skip"})
    assert report.statement.prov_id == report.prov_id == Recipe().prov_id
    assert report.events is None


def test_checks_have_their_numbers_and_names_in_order():
    report = verify_answer(None, KEYS, None, None, Expectation())
    assert [(check.number, check.name) for check in report.checks] == list(CHECK_NAMES.items())
    assert list(CHECK_NAMES) == list(range(1, 18))


def test_no_proof_is_unsigned():
    report = verify_answer(None, KEYS, None, None, FULL)
    assert (report.verdict, failing(report), report.statement) == ("UNSIGNED", [1], None)


def test_signature_alone_can_be_checked_without_salt_and_header():
    proof = ProofHeaders("", b"", signed_bytes(), token(signed_bytes()))
    report = verify_answer(proof, KEYS, None, None, Expectation())
    assert report.verdict == "VERIFIED"
    skipped = [n for n, outcome in outcomes(report).items() if outcome == "skip"]
    assert skipped == [6, 7, 8, 9, 10, 11, 13, 14, 15, 16, 17]
    assert "no request" in detail(report, 10)
    assert "no response" in detail(report, 11)


@pytest.mark.parametrize("salt", [b"", bytes(31), bytes(33)])
def test_bodies_are_never_checked_with_a_salt_of_another_length(salt):
    proof, request, response = seen(whole())
    proof = ProofHeaders(proof.prov_id, salt, proof.statement, proof.jws)
    for pair in ((request, response), (request, None), (None, response)):
        assert failing(verify_answer(proof, KEYS, *pair, FULL)) == [1]


def test_empty_key_set_is_a_refusal():
    proof, request, response = seen(whole())
    report = verify_answer(proof, {}, request, response, FULL)
    assert (report.verdict, failing(report)) == ("INVALID", [3])
    assert "empty" in detail(report, 3)


def test_key_set_entry_under_another_name_is_refused():
    proof, request, response = seen(whole())
    renamed = {TOKEN.kid: public(OTHER)[OTHER.kid]}
    assert failing(verify_answer(proof, renamed, request, response, FULL)) == [3]


def test_nothing_is_read_from_bytes_whose_signature_is_wrong():
    """A statement that would be refused by check 5 is refused by check 4 first."""
    proof = ProofHeaders("", b"", b'{"v":1,"v":1}', token(b"something else"))
    report = verify_answer(proof, KEYS, None, None, FULL)
    assert failing(report) == [4]
    assert report.statement is None
    assert set(outcomes(report).values()) == {"pass", "fail", "skip"}
    assert detail(report, 5) == "not reached"


def test_all_later_checks_are_made_even_if_one_fails():
    proof, _, response = seen(whole())
    wrong = Expectation(issuer="x", audience="y", nonce="z", now_ms=0)
    report = verify_answer(
        proof, KEYS, SeenRequest("GET", "/"), SeenResponse(500, "", b"", "sha-256=:AA:"), wrong, b""
    )
    assert failing(report) == [7, 8, 9, 10, 11, 13, 14]
    assert response.status == 200


def test_a_stream_with_its_statement_taken_out_is_checked_by_its_chain():
    made = stream()
    comments = [block for block in made.blocks if is_comment_only(block)]
    from_comment = comments[-1].split(b" ")
    case = made.case()
    proof = read_proof_headers(dict(case.headers))
    payload = read_payload(from_comment[2])
    proof = ProofHeaders(proof.prov_id, proof.salt, payload, from_comment[3][:-2].decode())
    request = SeenRequest(case.method, case.path, b"", QUESTION)

    def verdict(body):
        response = SeenResponse(200, "text/event-stream", body)
        return verify_answer(proof, KEYS, request, response, FULL)

    assert (verdict(case.answer).verdict, verdict(case.answer).events) == ("VERIFIED", 6)
    for body in (
        b"",
        case.answer[:-1],
        case.answer + b"data: x\n\n",
        case.answer.replace(b"word 1", b"word 7"),
        case.answer.replace(b"\n", b"\r\n"),
    ):
        assert failing(verdict(body)) == [11]


def read_payload(text):
    return base64url.decode(text.decode())


def test_statement_about_a_stream_that_ended_early_is_a_prefix():
    made = stream(fin=False)
    words = made.blocks[-1].split(b" ")
    proof = ProofHeaders("", b"", read_payload(words[2]), words[3][:-2].decode())
    report = verify_answer(proof, KEYS, None, None, Expectation())
    assert (report.verdict, report.events, failing(report)) == ("VERIFIED_PREFIX", 5, [12])


def test_head_presented_as_statement_is_refused():
    proof = ProofHeaders("", b"", signed_bytes(), head_token(signed_bytes()))
    assert failing(verify_answer(proof, KEYS, None, None, Expectation())) == [2]


@pytest.mark.parametrize(("numbers", "role"), [([3], "log"), ([3], "plan"), ([3], "witness")])
def test_token_of_a_key_with_another_role_is_refused(numbers, role):
    key = Key(f"{role} key", role=role)
    proof = ProofHeaders("", b"", signed_bytes(), token(signed_bytes(), key))
    assert failing(verify_answer(proof, public(TOKEN, key), None, None, Expectation())) == numbers


@pytest.mark.parametrize(
    ("now_ms", "verdict"),
    [
        (TIME_MS - 60_000, "VERIFIED"),
        (TIME_MS - 60_001, "INVALID"),
        (TIME_MS + 61_000, "VERIFIED"),
        (TIME_MS + 61_001, "INVALID"),
    ],
)
def test_time_limits_are_exact(now_ms, verdict):
    proof, request, response = seen(whole())
    expected = Expectation(now_ms=now_ms, age_ms_max=1_000)
    assert verify_answer(proof, KEYS, request, response, expected).verdict == verdict


def test_without_an_age_limit_old_answers_stay_valid():
    proof, request, response = seen(whole())
    expected = Expectation(now_ms=TIME_MS + 10**12)
    assert verify_answer(proof, KEYS, request, response, expected).verdict == "VERIFIED"


def test_refused_headers_and_keys_become_reports():
    assert failing(refused_headers(HeadersRefused("x"))) == [1]
    assert failing(refused_keys(KeyRefused("x"))) == [3]


@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=40))
@settings(max_examples=60, deadline=None)
def test_only_the_very_octets_verify(question, answer, other):
    case = whole(Recipe(question=question, answer=answer)).drop("content-digest")
    proof, request, response = seen(case)
    verifier = Verifier(KEYS)
    assert verifier.answer(proof, request, response, FULL).verdict == "VERIFIED"
    if other != answer:
        changed = SeenResponse(200, response.media, other)
        assert failing(verifier.answer(proof, request, changed, FULL)) == [11]
    if other != question:
        asked = SeenRequest("POST", request.path, b"", other)
        assert failing(verifier.answer(proof, asked, response, FULL)) == [10]


@pytest.mark.slow
def test_verifies_thousands_of_answers_a_second():
    """The bar of 5,000/s is the bench's; here only that keys are not loaded each time."""
    proof, request, response = seen(whole(Recipe(answer=b"x" * 600)).drop("content-digest"))
    verifier = Verifier(KEYS)
    begun = time.process_time()
    for _ in range(1_000):
        assert verifier.answer(proof, request, response, FULL).verdict == "VERIFIED"
    assert time.process_time() - begun < 1.0


def test_keys_are_imported_before_they_are_used():
    with pytest.raises(KeyRefused):
        import_key(bytes(32), "token")
