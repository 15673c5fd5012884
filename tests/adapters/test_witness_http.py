"""The client of witnesses: every answer is one of three kinds, or none."""

import pytest
from tests.support.collector import Collector

from verismo.adapters.witness_http import (
    ANSWER_BYTES_MAX,
    REASON_CHARACTERS_MAX,
    HttpWitnesses,
)
from verismo.ports.witness import Cosigned, Declined, SizeConflict, WitnessUnavailable

SIZE = {"content-type": "text/x.tlog.size"}


@pytest.fixture
async def witness():
    made = Collector()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def client():
    made = HttpWitnesses(5.0)
    yield made
    await made.aclose()


def answering(witness, status, body=b"", headers=None):
    witness.judge = lambda _: (status, headers or {})
    witness.answer = body


async def test_the_submission_is_posted_as_it_is(witness, client):
    answering(witness, 200, "— line\n".encode())
    assert await client.add_checkpoint(witness.url + "/", b"old 0\n\nnote\n") == Cosigned(
        "— line\n"
    )
    (posted,) = witness.posts
    assert (posted.method, posted.target) == ("POST", "/collect/add-checkpoint")
    assert posted.lines == (b"old 0", b"", b"note")


@pytest.mark.parametrize("size", [0, 7, 10**18])
async def test_a_conflict_names_a_size(witness, client, size):
    answering(witness, 409, f"{size}\n".encode(), SIZE)
    assert await client.add_checkpoint(witness.url, b"") == SizeConflict(size)


@pytest.mark.parametrize("body", [b"", b"7", b"07\n", b"-1\n", b"7\n\n", b"seven\n", b"9" * 30])
async def test_a_conflict_without_a_readable_size_is_no_answer(witness, client, body):
    answering(witness, 409, body, SIZE)
    with pytest.raises(WitnessUnavailable, match="no size"):
        await client.add_checkpoint(witness.url, b"")


async def test_a_conflict_that_is_no_size_is_a_refusal(witness, client):
    answering(witness, 409, b"another history\n", {"content-type": "text/plain"})
    assert await client.add_checkpoint(witness.url, b"") == Declined(409, "another history")


@pytest.mark.parametrize("status", [400, 403, 404, 413, 422])
async def test_a_refusal_keeps_its_words_without_what_a_terminal_obeys(witness, client, status):
    answering(witness, status, b"no\x1b[31m " + b"x" * 1_000)
    declined = await client.add_checkpoint(witness.url, b"")
    assert declined.status == status
    assert declined.reason.startswith("no [31m x")
    assert len(declined.reason) == REASON_CHARACTERS_MAX


@pytest.mark.parametrize("status", [201, 301, 429, 500, 503])
async def test_what_may_pass_is_asked_again_later(witness, client, status):
    answering(witness, status, headers={"location": "/elsewhere"})
    with pytest.raises(WitnessUnavailable, match=str(status)):
        await client.add_checkpoint(witness.url, b"")
    assert len(witness.posts) == 1, "a redirect is not followed"


async def test_an_answer_without_end_is_cut(witness, client):
    answering(witness, 200, b"x" * (ANSWER_BYTES_MAX + 1))
    with pytest.raises(WitnessUnavailable, match="octets"):
        await client.add_checkpoint(witness.url, b"")


async def test_nobody_there_is_unavailable(witness, client):
    await witness.stop()
    with pytest.raises(WitnessUnavailable, match="not available"):
        await client.add_checkpoint(witness.url, b"")
