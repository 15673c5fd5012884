"""A witness: what it cosigns, what it refuses, and with which words."""

import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx2
import msgspec
import pytest
from tests.support.tilelog import ORIGIN, NoteKey, TileLog, entry_of
from tests.support.witness import (
    NAME,
    NOW_S,
    Clock,
    forked,
    open_place,
    serving,
    submission,
    trusted,
)

from verismo.adapters.witness_key import WitnessKey
from verismo.adapters.witness_sqlite import SqliteWitness
from verismo.attest.checkpoint import Checkpoint
from verismo.attest.cosignature import verify_cosignature
from verismo.attest.note import Note, NoteSignature, read_signature_lines, verifier_key
from verismo.attest.submission import SUBMISSION_BYTES_MAX, Submission
from verismo.control.witness import LOGS_PER_KEY_MAX, Witness, covers
from verismo.model.errors import StateError
from verismo.ports.signer import SigningFailed
from verismo.ports.witness import TLOG_SIZE_MEDIA, TrustedLog
from verismo.wiring.witness import KEY_FILE, MEMORY_FILE

KEY = NoteKey(ORIGIN).key


@pytest.fixture
def log():
    made = TileLog()
    made.grow(5)
    return made


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def witness(tmp_path, log, clock):
    return open_place(tmp_path, [trusted(log)], clock)


def send(witness, log, old_size):
    return witness.add_checkpoint(submission(log, old_size).encode())


def cosigned_s(witness, log, reply):
    """Verify a witness's answer, and return the time in it."""
    assert reply.status == 200, reply
    (line,) = read_signature_lines(reply.body)
    return verify_cosignature(witness.key, log.checkpoint().text, line)


def conflict(reply):
    assert (reply.status, reply.media) == (409, TLOG_SIZE_MEDIA), reply
    return int(reply.body)


def test_a_checkpoint_that_follows_is_cosigned_with_the_witnesss_time(witness, log, clock):
    assert cosigned_s(witness, log, send(witness, log, 0)) == NOW_S
    log.grow(300)
    clock.now_s += 1
    assert cosigned_s(witness, log, send(witness, log, 5)) == NOW_S + 1


def test_the_same_checkpoint_is_cosigned_again_with_the_time_of_now(witness, log, clock):
    send(witness, log, 0)
    clock.now_s += 7
    assert cosigned_s(witness, log, send(witness, log, 5)) == NOW_S + 7


def test_an_empty_log_is_cosigned(tmp_path, clock):
    log = TileLog()
    witness = open_place(tmp_path, [trusted(log)], clock)
    assert cosigned_s(witness, log, send(witness, log, 0)) == NOW_S
    log.grow(3)
    assert cosigned_s(witness, log, send(witness, log, 0)) == NOW_S


def test_another_old_size_is_answered_with_the_one_that_was_cosigned(witness, log):
    assert conflict(send(witness, log, 3)) == 0
    send(witness, log, 0)
    log.grow(5)
    assert conflict(send(witness, log, 0)) == 5
    assert conflict(send(witness, log, 4)) == 5
    assert conflict(send(witness, log, 10)) == 5


def test_a_smaller_tree_is_never_cosigned(witness, log):
    smaller = submission(log, 0)
    log.grow(5)
    send(witness, log, 0)
    assert conflict(witness.add_checkpoint(smaller.encode())) == 10
    lying = msgspec.structs.replace(smaller, old_size=10)
    assert witness.add_checkpoint(lying.encode()).status == 400


def test_another_root_of_the_same_size_is_refused_and_kept_as_evidence(witness, log, tmp_path):
    send(witness, log, 0)
    other = forked([entry_of(90 + n) for n in range(5)], ORIGIN)
    reply = send(witness, other, 5)
    assert reply.status == 409
    assert reply.media != TLOG_SIZE_MEDIA, "a log would try again for ever"
    for one in (log, other):
        assert one.checkpoint().text.split("\n")[2] in reply.body
    store = SqliteWitness(tmp_path / MEMORY_FILE)
    (evidence,) = store.evidence()
    assert (evidence.origin, evidence.size, evidence.seen_s) == (ORIGIN, 5, NOW_S)
    assert evidence.known == log.checkpoint().encode()
    assert evidence.other == other.checkpoint().encode()
    assert cosigned_s(witness, log, send(witness, log, 5)) == NOW_S
    store.close()


def test_a_larger_tree_with_another_history_is_refused_with_both_roots(witness, log, caplog):
    send(witness, log, 0)
    other = forked([entry_of(90 + n) for n in range(9)], ORIGIN)
    reply = send(witness, other, 5)
    assert reply.status == 422
    for one in (log, other):
        root = one.checkpoint().text.split("\n")[2]
        assert root in reply.body
        assert root in caplog.records[-1].fields["roots"]
    assert conflict(send(witness, log, 0)) == 5


def test_a_wrong_proof_is_refused(witness, log):
    send(witness, log, 0)
    log.grow(4)
    right = submission(log, 5)
    for proof in ((), right.proof[1:], (*right.proof, bytes(32)), right.proof[::-1]):
        wrong = msgspec.structs.replace(right, proof=proof)
        assert witness.add_checkpoint(wrong.encode()).status == 422
    assert witness.add_checkpoint(right.encode()).status == 200


def test_a_proof_where_none_is_needed_is_refused(witness, log):
    note = log.checkpoint().encode()
    assert witness.add_checkpoint(Submission(0, (bytes(32),), note).encode()).status == 422
    send(witness, log, 0)
    assert witness.add_checkpoint(Submission(5, (bytes(32),), note).encode()).status == 422


def test_a_log_that_is_not_trusted_is_unknown(witness):
    stranger = TileLog("elsewhere.example/log/eu/2026")
    stranger.grow(1)
    assert send(witness, stranger, 0).status == 404


def test_a_known_origin_signed_by_another_key_is_forbidden(witness, log):
    text = log.checkpoint().text
    stranger = NoteKey("stranger.example/log").signature(text)
    forged = msgspec.structs.replace(stranger, name=KEY.name, key_hash=KEY.key_hash)
    for one in (stranger, forged):
        note = Note(text, (one,)).encode()
        assert witness.add_checkpoint(Submission(0, (), note).encode()).status == 403
    renamed = Checkpoint("elsewhere.example/log/eu/2026", 5, log.range.root()).text()
    note = Note(renamed, (log.log.signature(renamed),)).encode()
    assert witness.add_checkpoint(Submission(0, (), note).encode()).status == 404


def test_signatures_of_unknown_keys_beside_the_logs_are_ignored(witness, log):
    note = log.checkpoint()
    note = note.adding([NoteKey("stranger.example").signature(note.text)])
    assert witness.add_checkpoint(Submission(0, (), note.encode()).encode()).status == 200


@pytest.mark.parametrize("body", [b"", b"old 0\n\n", b"old 0\n\nnot a note", b"old 0\n\na\n\n"])
def test_a_malformed_body_is_a_bad_request(witness, body):
    assert witness.add_checkpoint(body).status == 400


def test_a_clock_that_went_back_cosigns_nothing_until_it_has_caught_up(witness, log, clock):
    send(witness, log, 0)
    log.grow(1)
    clock.now_s -= 1
    assert send(witness, log, 5).status == 503
    clock.now_s += 1
    assert cosigned_s(witness, log, send(witness, log, 5)) == NOW_S


def test_one_key_for_every_log_stands_for_regions_and_years_only():
    every = TrustedLog("gateway.example/log/", bytes(32), every_log=True)
    assert covers(every, "gateway.example/log/eu/2026")
    assert covers(every, "gateway.example/log/us-east-1/2031")
    for origin in (
        "gateway.example/log/",
        "gateway.example/log/eu",
        "gateway.example/log/eu/",
        "gateway.example/log/eu/26",
        "gateway.example/log/eu/2026/x",
        "gateway.example/log/../2026",
        "gateway.example/log/eu/+2026",
        "gateway.example/logs/eu/2026",
        "other.gateway.example/log/eu/2026",
        "eu/2026",
    ):
        assert not covers(every, origin), origin
    assert not covers(TrustedLog(ORIGIN, bytes(32)), "gateway.example/log/eu/2027")


def renamed(log, origin):
    """Return a checkpoint of the same key for another log."""
    text = Checkpoint(origin, log.size, log.range.root()).text()
    key = verifier_key(origin, log.log.key.raw)
    signature = NoteSignature(origin, key.key_hash, log.log.sign(text.encode()))
    return Submission(0, (), Note(text, (signature,)).encode()).encode()


def test_logs_of_one_key_are_told_apart(tmp_path, log, clock):
    every = TrustedLog("gateway.example/log/", log.log.key.raw, every_log=True)
    witness = open_place(tmp_path, [every], clock)
    assert send(witness, log, 0).status == 200
    assert witness.add_checkpoint(renamed(log, "gateway.example/log/eu/2027")).status == 200
    assert conflict(send(witness, log, 3)) == 5
    # The key's signature under the name of one log says nothing about another one.
    text = Checkpoint("gateway.example/log/eu/2028", 5, log.range.root()).text()
    misnamed = Note(text, (log.log.signature(text),)).encode()
    assert witness.add_checkpoint(Submission(0, (), misnamed).encode()).status == 403


def test_a_key_for_every_log_cannot_make_logs_without_end(tmp_path, log, clock, monkeypatch):
    monkeypatch.setattr("verismo.control.witness.LOGS_PER_KEY_MAX", 1)
    assert LOGS_PER_KEY_MAX > 1
    every = TrustedLog("gateway.example/log/", log.log.key.raw, every_log=True)
    witness = open_place(tmp_path, [every], clock)
    assert send(witness, log, 0).status == 200
    assert witness.add_checkpoint(renamed(log, "gateway.example/log/eu/2027")).status == 404
    log.grow(1)
    assert send(witness, log, 5).status == 200


def test_of_two_requests_at_once_only_one_wins(tmp_path, log, clock):
    """The race that tlog-witness names: a slower smaller request must not roll the head back."""
    smaller = submission(log, 0)
    log.grow(4)
    larger = submission(log, 0)
    both_have_read = threading.Barrier(2, timeout=10)

    class Racing(SqliteWitness):
        """Both requests have read the head before either moves it."""

        def advance(self, known, head):
            both_have_read.wait()
            return super().advance(known, head)

    open_place(tmp_path, [trusted(log)], clock)
    witnesses = [
        Witness(Racing(tmp_path / MEMORY_FILE), WitnessKey(tmp_path / KEY_FILE), NAME, clock)
        for _ in range(2)
    ]
    with ThreadPoolExecutor(2) as threads:
        replies = list(
            threads.map(
                lambda pair: pair[0].add_checkpoint(pair[1].encode()),
                zip(witnesses, (smaller, larger), strict=True),
            )
        )
    assert sorted(one.status for one in replies) == [200, 409]
    (winner,) = [size for one, size in zip(replies, (5, 9), strict=True) if one.status == 200]
    (loser,) = [one for one in replies if one.status == 409]
    assert conflict(loser) == winner
    assert SqliteWitness(tmp_path / MEMORY_FILE).head(ORIGIN).size == winner


def test_a_signature_that_fails_after_storing_is_made_up_for_by_asking_again(
    tmp_path, log, clock, witness
):
    class Failing(WitnessKey):
        def sign(self, message):
            raise SigningFailed("no")

    store = SqliteWitness(tmp_path / MEMORY_FILE)
    failing = Witness(store, Failing(tmp_path / KEY_FILE), NAME, clock)
    with pytest.raises(StateError):
        send(failing, log, 0)
    assert conflict(send(witness, log, 0)) == 5
    assert cosigned_s(witness, log, send(witness, log, 5)) == NOW_S


async def test_over_http_it_answers_as_the_format_says(witness, log):
    async with serving(witness) as url, httpx2.AsyncClient(trust_env=False) as client:
        shown = await client.get(f"{url}/")
        assert shown.text == f"{witness.key.vkey}\n"
        refused = await client.post(f"{url}/add-checkpoint", content=submission(log, 3).encode())
        assert (refused.status_code, refused.text) == (409, "0\n")
        assert refused.headers["content-type"] == TLOG_SIZE_MEDIA
        taken = await client.post(f"{url}/add-checkpoint", content=submission(log, 0).encode())
        assert taken.status_code == 200
        (line,) = read_signature_lines(taken.text)
        assert verify_cosignature(witness.key, log.checkpoint().text, line) == NOW_S
        large = await client.post(f"{url}/add-checkpoint", content=bytes(SUBMISSION_BYTES_MAX + 1))
        assert large.status_code == 413
        assert (await client.get(f"{url}/add-checkpoint")).status_code == 405
        assert (await client.post(f"{url}/elsewhere")).status_code == 404


async def test_a_memory_that_fails_is_a_503_and_no_signature(witness, log, tmp_path):
    witness._store.close()
    async with serving(witness) as url, httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.post(f"{url}/add-checkpoint", content=submission(log, 0).encode())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "db" not in answer.text


@pytest.mark.slow
@pytest.mark.parametrize(("when", "size"), [("before", 0), ("after", 5)])
def test_killed_around_its_write_it_goes_on_from_what_is_stored(tmp_path, log, clock, when, size):
    folder, body = tmp_path / "w", tmp_path / "body"
    open_place(folder, [trusted(log)], clock)
    body.write_bytes(submission(log, 0).encode())
    child = [sys.executable, "-m", "tests.control.witness_child", str(folder), str(body), when]
    assert subprocess.run(child, check=False, timeout=60).returncode == -signal.SIGKILL
    witness = open_place(folder, [], clock)
    assert conflict(send(witness, log, 1)) == size
    # Nobody got a signature; whatever was stored, the log gets one by asking again.
    assert cosigned_s(witness, log, send(witness, log, size)) == NOW_S


@pytest.mark.parametrize(("is_stored", "size"), [(False, 0), (True, 5)])
def test_a_write_that_fails_signs_nothing(tmp_path, log, clock, is_stored, size):
    """Fault pair: failed and not stored, failed but stored."""

    class Failing(SqliteWitness):
        def advance(self, known, head):
            if is_stored:
                super().advance(known, head)
            raise StateError("injected")

    witness = open_place(tmp_path, [trusted(log)], clock)
    failing = Witness(Failing(tmp_path / MEMORY_FILE), WitnessKey(tmp_path / KEY_FILE), NAME, clock)
    with pytest.raises(StateError, match="injected"):
        send(failing, log, 0)
    assert conflict(send(witness, log, 1)) == size
    assert cosigned_s(witness, log, send(witness, log, size)) == NOW_S
