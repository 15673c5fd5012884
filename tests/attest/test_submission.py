"""What a log sends to a witness: one spelling, and limits."""

import base64

import pytest
from tests.support.tilelog import TileLog
from tests.support.witness import submission

from verismo.attest.note import NoteRefused
from verismo.attest.submission import (
    PROOF_HASHES_MAX,
    SUBMISSION_BYTES_MAX,
    Submission,
    read_submission,
)

HASH = base64.b64encode(bytes(32))
NOTE = TileLog().checkpoint().encode()


def log_of(size):
    log = TileLog()
    log.grow(size)
    return log


@pytest.mark.parametrize("old_size", [0, 1, 3, 256, 257, 300])
def test_a_submission_is_read_as_it_was_written(old_size):
    sent = submission(log_of(300), old_size)
    assert read_submission(sent.encode()) == sent


def test_the_text_is_the_one_of_the_format():
    assert Submission(7, (bytes(32),), b"note").encode() == b"old 7\n" + HASH + b"\n\nnote"
    assert Submission(0, (), b"note").encode() == b"old 0\n\nnote"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "no empty line"),
        (b"old 1\n" + HASH + b"\n" + NOTE.partition(b"\n\n")[0], "no empty line"),
        (b"\n\n" + NOTE, "old size"),
        (b"old\n\n" + NOTE, "old size"),
        (b"Old 1\n\n" + NOTE, "old size"),
        (b"old 01\n\n" + NOTE, "decimal"),
        (b"old -1\n\n" + NOTE, "decimal"),
        (b"old 1 \n\n" + NOTE, "decimal"),
        (b"old  1\n\n" + NOTE, "decimal"),
        (b"old 9223372036854775808\n\n" + NOTE, "decimal"),
        (b"old \xd9\xa1\n\n" + NOTE, "ASCII"),
        (b"old 1\r\n\n" + NOTE, "decimal"),
        (b"old 1\n" + HASH[:-1] + b"\n\n" + NOTE, "base64"),
        (b"old 1\n" + HASH + b" \n\n" + NOTE, "base64"),
        (b"old 1\nAAAA\n\n" + NOTE, "32 octets"),
        (b"old 1\n" + (HASH + b"\n") * (PROOF_HASHES_MAX + 1) + b"\n" + NOTE, "63"),
        (b"old 1\n\n" + bytes(SUBMISSION_BYTES_MAX), "octets"),
    ],
)
def test_any_other_spelling_is_refused(body, reason):
    with pytest.raises(NoteRefused, match=reason):
        read_submission(body)


def test_the_longest_proof_is_read():
    body = b"old 1\n" + (HASH + b"\n") * PROOF_HASHES_MAX + b"\n" + NOTE
    assert len(read_submission(body).proof) == PROOF_HASHES_MAX
