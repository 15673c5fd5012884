"""The pure core of one request, and the small rules that no honest exchange reaches."""

import asyncio

import httpx2
import pytest
from asking import MODES, ask
from signing_gateway import Token, jwks

from verismo.attest.report import CHECK_NAMES, SeenRequest
from verismo.attest.stream import signed_comment
from verismo.client.conversation import run
from verismo.client.errors import AnswerInvalid, AnswerUnsigned, ClientError, VerificationFailed
from verismo.client.session import OPENING_BYTES_MAX, Session, opening_kid
from verismo.client.settings import Gateway, OnVerdict, fresh_nonce

HEAD = b'{"any":"bytes"}'


def test_an_opening_names_its_key_once_the_first_block_is_there():
    block = signed_comment(HEAD, Token().sign(HEAD, "attest-head+jws"))
    for length in range(len(block)):
        assert opening_kid(block[:length]) is None
    assert opening_kid(block) == Token().public.kid
    assert opening_kid(block + b"data: x\n\n") == Token().public.kid


@pytest.mark.parametrize(
    "opening",
    [
        b"data: x\n\n",
        b": keep-alive\n\n",
        b": attest one two three\n\n",
        b": attest eyJ9 not-a-jws\n\n",
        b"x" * (OPENING_BYTES_MAX + 1),
    ],
)
def test_an_opening_without_a_readable_head_names_no_key(opening):
    assert opening_kid(opening) == ""


def test_an_error_says_which_checks_failed(server, trusted):
    session = Session(trusted(), SeenRequest("POST", "/v1/x"), "n")
    assert session.arrive(200, [("content-type", "text/plain")]) == "settled"
    error = session.refusal()
    assert isinstance(error, AnswerUnsigned)
    assert str(error) == "UNSIGNED: check 1 (proof): no proof headers"
    assert [check.number for check in error.report.checks] == list(CHECK_NAMES)


def test_every_error_has_a_next_step_and_is_not_one_of_the_connection():
    for kind in (ClientError, *ClientError.__subclasses__(), *VerificationFailed.__subclasses__()):
        assert kind.next_step
        assert not issubclass(kind, httpx2.HTTPError)


def test_a_session_that_was_not_judged_has_no_verdict(trusted):
    session = Session(trusted(), SeenRequest("POST", "/v1/x"), "n")
    with pytest.raises(RuntimeError):
        session.refusal()
    with pytest.raises(RuntimeError):
        session.feed(b"data: x\n\n")
    assert session.kid == ""


def test_refusals_pass_unsigned_unless_told_otherwise(trusted):
    for status, unsigned_refusal, is_refused in (
        (399, "pass", True),
        (400, "pass", False),
        (503, "pass", False),
        (503, "refuse", True),
    ):
        settings = trusted(on_verdict=OnVerdict(unsigned_refusal=unsigned_refusal))
        session = Session(settings, SeenRequest("POST", "/v1/x"), "n")
        session.arrive(status, [])
        assert (session.refusal() is not None) is is_refused


def test_the_exchange_of_an_answer_without_proof_is_not_kept(trusted):
    session = Session(trusted(keeps_exchanges=True), SeenRequest("POST", "/v1/x"), "n")
    session.arrive(200, [])
    assert session.exchange(b"{}") is None


def test_a_nonce_is_32_bytes_of_base64url():
    nonces = {fresh_nonce() for _ in range(100)}
    assert len(nonces) == 100
    assert {len(nonce) for nonce in nonces} == {43}


def test_a_synchronous_wire_that_suspends_is_a_mistake_of_ours():
    async def suspends() -> None:
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="suspended"):
        run(suspends())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_an_answer_from_the_future_is_refused_unless_time_is_left_out(
    mode, stream, server, trusted
):
    seen = ask(mode, trusted(clock_ms=lambda: 1_000), stream=stream)
    assert isinstance(seen.error, AnswerInvalid)
    assert (seen.failed, seen.text) == ([9], "")
    lenient = ask(mode, trusted(clock_ms=lambda: 1_000, skew_ms_max=None), stream=stream)
    assert (lenient.error, lenient.verdicts) == (None, ["VERIFIED"])


@pytest.mark.parametrize("mode", MODES)
def test_a_stream_without_a_single_octet_is_refused(mode, server, trusted):
    server.alter = lambda asked, answer: type(answer)(200, answer.headers, [], is_chunked=True)
    assert isinstance(ask(mode, trusted(), stream=True).error, AnswerUnsigned)


def test_a_nonce_may_come_from_elsewhere(server, trusted):
    assert ask("sync", trusted(nonces=lambda: "abc")).verdicts == ["VERIFIED"]
    assert server.asked[0].nonce == "abc"


def test_malformed_proof_headers_are_invalid_not_unsigned():
    gateway = Gateway("https://gate.example", keys=jwks(Token()))
    session = Session(gateway, SeenRequest("POST", "/v1/x"), "n")
    session.arrive(200, [("attest-version", "1"), ("attest-prov-id", "x"), ("attest-salt", "y")])
    assert session.refusal().report.verdict == "INVALID"
