"""What somebody on the way, or a false gateway, tries; each attack by its name, both clients.

Nothing of what an attack put in may reach the application, and the openai SDK must not ask again.
"""

import asyncio
from dataclasses import replace

import httpx2
import pytest
from asking import MODES, Seen, ask
from signing_gateway import SigningGateway, Token, event, jwks, serving

from verismo.attest.stream import DONE_EVENT
from verismo.client.errors import (
    AnswerInvalid,
    AnswerUnsigned,
    ForeignAddress,
    StreamCut,
)
from verismo.client.settings import FetchedKeys, OnVerdict
from verismo.client.transport import AsyncVerifyingTransport, VerifyingTransport

pytestmark = pytest.mark.parametrize("mode", MODES)
EVIL = event({"content": "EVIL"})


def refused(seen: Seen, server: SigningGateway, error: type[Exception], failed: list[int]) -> None:
    """The application got this error, at once, with its report, and nothing that was put in."""
    assert type(seen.error) is error
    assert seen.error.report is seen.reports[-1]
    assert seen.failed == failed
    assert "EVIL" not in seen.text
    assert len(server.asked) == 1


def test_body_altered(mode, server, trusted):
    server.alter = lambda asked, answer: replace(
        answer, pieces=[answer.pieces[0].replace(b"Hello", b"Howdy")]
    )
    refused(ask(mode, trusted()), server, AnswerInvalid, [11, 14])


def test_status_altered_to_hide_a_signed_refusal(mode, server, trusted):
    def hide(asked, answer):
        return replace(server.whole(asked, 403, server.completion()), status=200)

    server.alter = hide
    refused(ask(mode, trusted()), server, AnswerInvalid, [11])


def test_content_type_altered(mode, server, trusted):
    server.alter = lambda asked, answer: answer.with_header(b"content-type", b"text/html")
    refused(ask(mode, trusted()), server, AnswerInvalid, [11])


def test_statement_of_another_answer_spliced(mode, server, trusted):
    def splice(asked, answer):
        other = server.whole(asked, 200, b'{"other":"answer"}')
        return replace(answer, headers=other.headers)

    server.alter = splice
    refused(ask(mode, trusted()), server, AnswerInvalid, [11, 14])


def test_prov_id_of_another_answer(mode, server, trusted):
    def swap(asked, answer):
        other = dict(server.whole(asked, 200, b"{}").headers)
        return answer.with_header(b"attest-prov-id", other[b"attest-prov-id"])

    server.alter = swap
    refused(ask(mode, trusted()), server, AnswerInvalid, [6])


def test_nonce_replay(mode, server, trusted):
    kept = []

    def replay(asked, answer):
        kept.append(answer)
        return kept[0]

    server.alter = replay
    assert ask(mode, trusted()).verdicts == ["VERIFIED"]
    server.asked.clear()
    refused(ask(mode, trusted()), server, AnswerInvalid, [8])


def test_nonce_replay_of_a_stream(mode, server, trusted):
    kept = []

    def replay(asked, answer):
        kept.append(answer)
        return kept[0]

    server.alter = replay
    assert ask(mode, trusted(), stream=True).verdicts == ["VERIFIED"]
    server.asked.clear()
    seen = ask(mode, trusted(), stream=True)
    refused(seen, server, AnswerInvalid, [8])
    assert seen.text == ""


def test_answer_to_another_request(mode, server, trusted):
    server.alter = lambda asked, answer: server.whole(
        replace(asked, body=b'{"model":"m"}'), 200, server.completion()
    )
    refused(ask(mode, trusted()), server, AnswerInvalid, [10])


def test_another_issuer_with_a_known_key(mode, server, trusted):
    refused(ask(mode, trusted(issuer="https://other.example")), server, AnswerInvalid, [7])


def test_answer_for_another_tenant(mode, server, trusted):
    refused(ask(mode, trusted(audience="t-other")), server, AnswerInvalid, [7])


@pytest.mark.parametrize("stream", [False, True])
def test_signature_by_another_key(mode, stream, server, trusted):
    settings = trusted()
    server.token = Token(seed=2)
    seen = ask(mode, settings, stream=stream)
    refused(seen, server, AnswerInvalid, [3])
    assert seen.text == ""


@pytest.mark.parametrize("stream", [False, True])
def test_unsigned_200(mode, stream, server, trusted):
    server.alter = lambda asked, answer: answer.unsigned()
    seen = ask(mode, trusted(), stream=stream)
    refused(seen, server, AnswerUnsigned, [1])
    assert seen.text == ""


@pytest.mark.parametrize("name", [b"attest-salt", b"attest-prov-id", b"attest-signature"])
def test_one_proof_header_stripped(mode, name, server, trusted):
    server.alter = lambda asked, answer: answer.without(name)
    refused(ask(mode, trusted()), server, AnswerInvalid, [1])


def test_proof_header_twice(mode, server, trusted):
    def double(asked, answer):
        other = server.whole(asked, 200, b"{}")
        return replace(answer, headers=[*answer.headers, *other.headers[:1]])

    server.alter = double
    refused(ask(mode, trusted()), server, AnswerInvalid, [1])


def test_stream_truncated_after_a_head(mode, server, trusted):
    server.alter = lambda asked, answer: replace(answer, pieces=answer.pieces[:7])
    seen = ask(mode, trusted(), stream=True)
    refused(seen, server, StreamCut, [12])
    assert (seen.text, seen.reports[0].events) == ("w0 w1 w2 w3 ", 4)


def test_stream_truncated_with_a_forged_done(mode, server, trusted):
    server.alter = lambda asked, answer: replace(answer, pieces=[*answer.pieces[:7], DONE_EVENT])
    seen = ask(mode, trusted(), stream=True)
    refused(seen, server, AnswerInvalid, [12])
    assert seen.text == "w0 w1 w2 w3 "


def test_stream_truncated_before_its_first_head(mode, server, trusted):
    server.alter = lambda asked, answer: replace(answer, pieces=[EVIL])
    seen = ask(mode, trusted(), stream=True)
    refused(seen, server, AnswerUnsigned, [1])


def test_events_reordered(mode, server, trusted):
    def swap(asked, answer):
        pieces = list(answer.pieces)
        pieces[4], pieces[5] = pieces[5], pieces[4]
        return replace(answer, pieces=pieces)

    server.alter = swap
    seen = ask(mode, trusted(), stream=True)
    refused(seen, server, AnswerInvalid, [11])
    assert (seen.text, seen.reports[0].events) == ("w0 w1 ", 2)


@pytest.mark.parametrize("place", [1, 4, 5, 7])
def test_event_inserted(mode, place, server, trusted):
    def insert(asked, answer):
        return replace(answer, pieces=[*answer.pieces[:place], EVIL, *answer.pieces[place:]])

    server.alter = insert
    seen = ask(mode, trusted(), stream=True)
    refused(seen, server, AnswerInvalid, [11])
    proven = {1: 0, 4: 2, 5: 2, 7: 4}[place]
    assert seen.text == "".join(f"w{number} " for number in range(proven))


def test_event_inserted_after_the_final_statement(mode, server, trusted):
    server.alter = lambda asked, answer: replace(
        answer, pieces=[*answer.pieces[:-1], EVIL, answer.pieces[-1]]
    )
    seen = ask(mode, trusted(), stream=True)
    refused(seen, server, AnswerInvalid, [11])


@pytest.mark.parametrize("change", ["dropped", "altered"])
def test_event_under_a_head_tampered_with(mode, change, server, trusted):
    def tamper(asked, answer):
        pieces = list(answer.pieces)
        pieces[5:6] = [] if change == "dropped" else [pieces[5].replace(b"w3", b"EVIL")]
        return replace(answer, pieces=pieces)

    server.alter = tamper
    seen = ask(mode, trusted(), stream=True)
    refused(seen, server, AnswerInvalid, [11])
    assert seen.text == "w0 w1 "


def test_released_early_a_bad_event_is_still_refused_before_it_is_handed_on(mode, server, trusted):
    server.alter = lambda asked, answer: replace(
        answer, pieces=[*answer.pieces[:-1], EVIL, answer.pieces[-1]]
    )
    seen = ask(mode, trusted(release="early"), stream=True)
    refused(seen, server, AnswerInvalid, [11])
    assert seen.text == "w0 w1 w2 w3 w4 w5 "


def test_status_of_a_stream_altered(mode, server, trusted):
    server.alter = lambda asked, answer: replace(answer, status=500)
    refused(ask(mode, trusted(), stream=True), server, AnswerInvalid, [11])


def test_stream_passed_off_as_a_whole_answer(mode, server, trusted):
    server.alter = lambda asked, answer: answer.with_header(b"content-type", b"application/json")
    refused(ask(mode, trusted(), stream=True), server, AnswerInvalid, [1])


def test_answer_without_end(mode, server, trusted):
    server.alter = lambda asked, answer: replace(answer, pieces=[b" " * 4096] * 64)
    for invalid in ("refuse", "pass"):
        server.asked.clear()
        settings = trusted(body_bytes_max=65_536, on_verdict=OnVerdict(invalid=invalid))
        refused(ask(mode, settings), server, AnswerInvalid, [11])


def test_redirect_to_another_host(mode, server, trusted):
    with serving(SigningGateway(token=Token(seed=2))) as evil:
        location = evil.url.encode() + b"/v1/chat/completions"
        server.alter = lambda asked, answer: replace(
            answer.unsigned().with_header(b"location", location), status=307
        )
        refused(ask(mode, trusted()), server, AnswerUnsigned, [1])
        server.asked.clear()
        server.alter = lambda asked, answer: server.whole(asked, 307, b"").with_header(
            b"location", location
        )
        refused(ask(mode, trusted()), server, AnswerInvalid, [11])
        assert evil.asked == []


def test_redirect_to_another_host_while_unsigned_answers_pass(mode, server, trusted):
    with serving(SigningGateway()) as evil:
        location = evil.url.encode() + b"/v1/chat/completions"
        server.alter = lambda asked, answer: replace(
            answer.unsigned().with_header(b"location", location), status=307
        )
        seen = ask(mode, trusted(on_verdict=OnVerdict(unsigned="pass")))
        assert type(seen.error) is ForeignAddress
        assert evil.asked == []


def test_jwks_swapped_does_not_reach_pinned_keys(mode, server, trusted):
    settings = trusted()
    server.token = Token(seed=2)
    server.published = jwks(server.token)
    refused(ask(mode, settings), server, AnswerInvalid, [3])
    assert server.jwks_reads == 0


def test_jwks_swapped_midway_does_not_change_the_keys_of_an_open_stream(mode, server, trusted):
    evil = Token(seed=2)

    def swap(asked, answer):
        server.published = jwks(server.token, evil)
        honest, server.token = server.token, evil
        other = server.stream(asked, [EVIL])
        server.token = honest
        return replace(answer, pieces=[*answer.pieces[:4], *other.pieces[1:]])

    server.alter = swap
    seen = ask(mode, trusted(keys=FetchedKeys()), stream=True)
    refused(seen, server, AnswerInvalid, [3])
    assert seen.text == "w0 w1 "
    assert server.jwks_reads == 1


def test_random_key_ids_do_not_make_the_client_hammer_the_gateway(mode, server, trusted):
    served = iter([Token(seed) for seed in range(2, 7)])

    def unknown(asked, answer):
        server.token = next(served)
        return server.whole(asked, 200, server.completion())

    server.alter = unknown
    settings, url = trusted(keys=FetchedKeys()), server.url + "/v1/chat/completions"

    async def call_async() -> None:
        async with httpx2.AsyncClient(transport=AsyncVerifyingTransport(settings)) as http:
            for _ in range(5):
                with pytest.raises(AnswerInvalid):
                    await http.post(url, json={})

    if mode == "async":
        asyncio.run(call_async())
    else:
        with httpx2.Client(transport=VerifyingTransport(settings)) as http:
            for _ in range(5):
                with pytest.raises(AnswerInvalid):
                    http.post(url, json={})
    assert len(server.asked) == 5
    assert server.jwks_reads == 2  # the first fetch, and one for all the unknown keys


def test_the_sdk_would_have_asked_again_had_it_been_a_connection_error(mode, server, trusted):
    assert not issubclass(AnswerInvalid, httpx2.HTTPError)
    server.alter = lambda asked, answer: replace(answer, pieces=[b"{}"])
    seen = ask(mode, trusted(), max_retries=5)
    refused(seen, server, AnswerInvalid, [11, 14])


def test_observing_lets_everything_through_and_reports_it(mode, server, trusted):
    observing = OnVerdict("pass", "pass", "pass", "pass", "pass")
    server.alter = lambda asked, answer: replace(
        answer, pieces=[*answer.pieces[:4], EVIL, *answer.pieces[4:]]
    )
    seen = ask(mode, trusted(on_verdict=observing), stream=True)
    assert (seen.error, seen.verdicts) == (None, ["INVALID"])
    assert seen.text == "w0 w1 EVILw2 w3 w4 w5 "
    server.alter = lambda asked, answer: answer.unsigned()
    for stream, text in ((False, "Hello world."), (True, "w0 w1 w2 w3 w4 w5 ")):
        seen = ask(mode, trusted(on_verdict=observing), stream=stream)
        assert (seen.error, seen.text, seen.verdicts) == (None, text, ["UNSIGNED"])
