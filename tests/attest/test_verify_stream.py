"""Streams: nothing is released before it is signed, and the verdict does not depend on the network.

The ways of tampering are in the vectors (forge_streams.py, forge_heads.py); here is what only a
live stream shows.
"""

import itertools
import json

import pytest
from forge import (
    NONCE,
    TIME_MS,
    TOKEN,
    chain_of,
    events,
    head_block,
    stream,
    stream_recipe,
)
from forge_edges import vectors as forged_edges
from forge_heads import vectors as forged_heads
from forge_streams import vectors as forged_streams
from hypothesis import given, settings
from hypothesis import strategies as st

from verismo.attest import verify_stream
from verismo.attest.headers import HeadersRefused, ProofHeaders, read_proof_headers
from verismo.attest.keys import KeyRefused, read_jwks
from verismo.attest.stream import DONE_EVENT
from verismo.attest.verify import Expectation, SeenRequest, SeenResponse, Verifier

KEYS = read_jwks(json.dumps({"keys": [TOKEN.jwk]}).encode())
VERIFIER = Verifier(KEYS)
EXPECTED = Expectation(nonce=NONCE)
MADE = stream()
CUT_AND_FORGED = [
    v
    for v in (*forged_streams(), *forged_heads(), *forged_edges())
    if v.case.question is not None
    and v.case.jwks is None
    and not (v.name.startswith("stream-media-") and v.verdict == "INVALID")
]


def open_stream(case, expected=EXPECTED, **options):
    keys = read_jwks(json.dumps({"keys": case.keys}).encode())
    request = SeenRequest(case.method, case.path, case.query.encode(), case.question)
    response = SeenResponse(case.status, case["content-type"])
    proof = read_proof_headers(dict(case.headers))
    return Verifier(keys).stream(proof, request, response, expected, **options)


def failing(report):
    return [check.number for check in report.checks if check.outcome == "fail"]


def test_events_are_held_until_a_head_covers_them():
    verifier = open_stream(MADE.case())
    released = [verifier.feed(block) for block in MADE.blocks]
    sent = events(5)
    assert released == [[], [], [], sent[:2], [], [], sent[2:4], [], sent[4:], [DONE_EVENT]]
    report = verifier.finish()
    assert (report.verdict, report.events) == ("VERIFIED", 6)


def test_count_of_trusted_events_grows_with_the_heads():
    verifier = open_stream(MADE.case())
    counts = []
    for block in MADE.blocks:
        verifier.feed(block)
        counts.append(verifier.trusted_events)
    assert counts == [0, 0, 0, 2, 2, 2, 4, 4, 5, 6]


def test_early_release_hands_on_the_very_bytes():
    verifier = open_stream(MADE.case(), release_early=True)
    body = MADE.case().answer
    handed = [piece for octet in body for piece in verifier.feed(bytes([octet]))]
    assert b"".join(handed) == body
    assert verifier.finish().verdict == "VERIFIED"
    assert verifier.feed(b"") == []


def test_early_release_hands_on_the_bytes_of_an_invalid_stream_but_says_so():
    body = MADE.case().answer.replace(b"word 0", b"fake 0")
    verifier = open_stream(MADE.case(), release_early=True)
    assert verifier.feed(body) == [body]
    assert verifier.failed
    assert verifier.feed(b"more") == [b"more"]
    assert verifier.finish().verdict == "INVALID"


def test_nothing_is_released_after_a_contradiction():
    verifier = open_stream(MADE.case())
    released = verifier.feed(b"".join(MADE.blocks[:4]) + b"\n")
    assert released == events(2)
    assert verifier.failed
    assert verifier.feed(b"".join(MADE.blocks[4:])) == []
    report = verifier.finish()
    assert (report.verdict, report.events, failing(report)) == ("INVALID", 2, [11])


@pytest.mark.parametrize("early", [False, True])
def test_without_proof_headers_nothing_is_trusted(early):
    request, response = SeenRequest("POST", "/"), SeenResponse(200, "text/event-stream")
    verifier = VERIFIER.stream(None, request, response, EXPECTED, release_early=early)
    assert verifier.feed(b"data: x\n\n") == ([b"data: x\n\n"] if early else [])
    report = verifier.finish()
    assert (report.verdict, report.events, report.prov_id) == ("UNSIGNED", None, "")


def test_a_whole_answers_proof_on_a_stream_is_refused():
    case = MADE.case().put("attest-statement", ":e30=:").put("attest-signature", "a..b")
    verifier = open_stream(case)
    assert verifier.feed(case.answer) == []
    assert failing(verifier.finish()) == [1]


@pytest.mark.slow
@given(st.sampled_from(CUT_AND_FORGED), st.lists(st.floats(0, 1), max_size=12))
@settings(max_examples=80, deadline=None)
def test_verdict_and_release_do_not_depend_on_how_the_bytes_arrive(vector, cuts):
    body = vector.case.answer
    try:
        once, pieces = open_stream(vector.case), open_stream(vector.case)
    except (HeadersRefused, KeyRefused):
        return
    released = once.feed(body)
    places = [0, *sorted(int(cut * len(body)) for cut in cuts), len(body)]
    parts = [e for a, b in itertools.pairwise(places) for e in pieces.feed(body[a:b])]
    assert parts == released
    assert pieces.finish() == once.finish()


@given(
    st.lists(
        st.binary(max_size=20).filter(lambda b: b"\n" not in b and b"\r" not in b), max_size=9
    ),
    st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_any_events_verify_as_sent_and_as_nothing_else(texts, every):
    sent = [b"data: " + text + b"\n\n" for text in texts if text != b"[DONE]"]
    made = stream(sent=sent, every=every)
    verifier = open_stream(made.case())
    assert verifier.feed(made.case().answer) == [*sent, DONE_EVENT]
    assert verifier.finish(made.graph.encode()).verdict == "VERIFIED"


@given(st.integers(0, len(MADE.blocks)), st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_any_cut_is_a_prefix_and_never_an_error(count, octets):
    body = b"".join(MADE.blocks[:count])
    body = body[: max(0, len(body) - octets)]
    verifier = open_stream(MADE.case())
    released = verifier.feed(body)
    report = verifier.finish()
    assert report.verdict in ("VERIFIED", "VERIFIED_PREFIX", "UNSIGNED")
    assert (report.verdict == "VERIFIED") == (body == MADE.case().answer)
    assert released == [*events(5), DONE_EVENT][: report.events or 0]


@given(st.permutations(range(len(MADE.blocks))))
@settings(max_examples=60, deadline=None)
def test_no_other_order_verifies(order):
    blocks = [MADE.blocks[n] for n in order]
    verifier = open_stream(MADE.case())
    released = verifier.feed(b"".join(blocks))
    whole_order = [b for b in blocks if not b.startswith(b":")] == [*events(5), DONE_EVENT]
    if verifier.finish().verdict == "VERIFIED":
        assert whole_order
    assert released == [*events(5), DONE_EVENT][: len(released)]


def test_a_long_stream_is_judged_by_the_present_at_each_head():
    """A stream may last longer than clocks may differ."""
    recipe = stream_recipe(change=lambda s: s.update(iat=TIME_MS + 300_000))
    made = stream(recipe)
    expected = Expectation(now_ms=TIME_MS, age_ms_max=1_000)
    verifier = open_stream(made.case(), expected)
    verifier.feed(b"".join(made.blocks[:8]))
    verifier.feed(b"".join(made.blocks[8:]), now_ms=TIME_MS + 300_000)
    assert verifier.finish().verdict == "VERIFIED"
    stale = open_stream(made.case(), expected)
    stale.feed(made.case().answer)
    assert failing(stale.finish()) == [9]


def test_a_live_stream_of_old_heads_releases_nothing():
    verifier = open_stream(MADE.case(), Expectation(age_ms_max=1_000))
    assert verifier.feed(MADE.case().answer, now_ms=TIME_MS + 61_001) == []
    assert failing(verifier.finish()) == [9]


@pytest.mark.parametrize("salt", [b"", bytes(31), bytes(33)])
def test_a_stream_with_a_salt_of_another_length_is_refused(salt):
    """Header parsing refuses it too; here a caller built the proof by hand."""
    case = MADE.case()
    request, response = SeenRequest("POST", case.path), SeenResponse(200, "text/event-stream")
    for proof in (
        ProofHeaders(MADE.recipe.prov_id, salt, b"", ""),
        ProofHeaders("not-a-uuid", MADE.recipe.salt, b"", ""),
    ):
        verifier = VERIFIER.stream(proof, request, response, EXPECTED)
        assert verifier.feed(case.answer) == []
        assert failing(verifier.finish()) == [1]


def test_a_wrong_graph_makes_a_verified_stream_invalid():
    verifier = open_stream(MADE.case())
    verifier.feed(MADE.case().answer)
    report = verifier.finish(b"{}")
    assert (report.verdict, failing(report)) == ("INVALID", [13])


def test_endless_unsigned_events_are_refused(monkeypatch):
    monkeypatch.setattr(verify_stream, "HELD_BYTES_MAX", 1_000)
    recipe = stream_recipe()
    verifier = open_stream(MADE.case())
    verifier.feed(head_block(recipe, chain_of(recipe)))
    for event in events(20):
        verifier.feed(event)
    assert verifier.failed
    assert "no signed head" in verifier.finish().checks[10].detail


def test_events_before_the_first_head_are_not_lost():
    verifier = open_stream(MADE.case())
    blocks = [b for b in MADE.blocks if not b.startswith(b":")]
    assert verifier.feed(b"".join(blocks[:5])) == []
    assert verifier.feed(MADE.blocks[8]) == events(5)
    assert verifier.feed(DONE_EVENT) == [DONE_EVENT]
    assert verifier.finish().verdict == "VERIFIED"


@pytest.mark.parametrize("media", ["", "text/plain", "text/event-stream; a, text/html"])
def test_what_does_not_call_itself_a_stream_is_refused_before_its_first_event(media):
    case = MADE.case()
    request = SeenRequest(case.method, case.path, case.query.encode(), case.question)
    proof = read_proof_headers(dict(case.headers))
    verifier = VERIFIER.stream(proof, request, SeenResponse(200, media), EXPECTED)
    assert verifier.feed(case.answer) == []
    report = verifier.finish()
    assert (report.verdict, report.events, failing(report)) == ("INVALID", 0, [1])
