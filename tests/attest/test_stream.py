"""The chain over events and the splitter that cuts them, however the network cuts them."""

import hashlib
import itertools

import pytest
from forge import Recipe, text_bytes
from hypothesis import given
from hypothesis import strategies as st

from verismo.attest.stream import (
    DONE_EVENT,
    EVENT_BYTES_MAX,
    BlockSplitter,
    Chain,
    StreamRefused,
    is_comment_only,
    is_cut_comment,
    is_stream_media,
    parse_signed_comment,
    signed_comment,
)
from verismo.model.ids import prov_id_bytes

SALT = text_bytes("salt")
PROV_ID = Recipe().prov_id
COMMIT = text_bytes("commit").hex()
lines = st.binary(min_size=1, max_size=12).filter(lambda b: b"\n" not in b and b"\r" not in b)
blocks = st.lists(lines, min_size=1, max_size=3).map(lambda ls: b"\n".join(ls) + b"\n\n")


def chain():
    return Chain(SALT, PROV_ID, COMMIT)


def cut(data, draw_positions):
    positions = [0, *sorted(draw_positions), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(positions)]


@pytest.mark.slow
@given(st.lists(blocks, max_size=5), st.data())
def test_blocks_do_not_depend_on_how_they_arrive(sent, data):
    body = b"".join(sent)
    positions = data.draw(st.lists(st.integers(0, len(body)), max_size=6))
    splitter = BlockSplitter()
    received = [block for piece in cut(body, positions) for block in splitter.feed(piece)]
    assert received == sent
    assert splitter.pending == b""


@given(
    st.lists(st.sampled_from([b"a", b"\n", b"\r", b"data: x\n\n", b":"]), max_size=12), st.data()
)
def test_what_is_accepted_before_a_refusal_does_not_depend_on_it_either(pieces, data):
    body = b"".join(pieces)
    positions = data.draw(st.lists(st.integers(0, len(body)), max_size=6))
    assert accepted(cut(body, positions)) == accepted([body])


def accepted(parts):
    """Return the blocks that come out, and whether the splitter refused in the end."""
    splitter, found = BlockSplitter(), []
    for part in parts:
        try:
            for block in splitter.blocks(part):
                found.append(block)  # noqa: PERF402 - what came before a refusal counts
        except StreamRefused:
            return found, True
    return found, False


@given(st.lists(blocks, max_size=4))
def test_chain_is_the_documented_hash(sent):
    running = hashlib.sha256(
        b"attest/v1/sse\0" + SALT + prov_id_bytes(PROV_ID) + bytes.fromhex(COMMIT)
    ).digest()
    made = chain()
    assert made.head == running
    for event in sent:
        assert (
            made.peek(event)
            == hashlib.sha256(b"\x01" + made.head + hashlib.sha256(event).digest()).digest()
        )
        running = hashlib.sha256(b"\x01" + running + hashlib.sha256(event).digest()).digest()
        made.add(event)
    assert (made.head, made.events) == (running, len(sent))
    assert made.octets == sum(map(len, sent))


@pytest.mark.parametrize(
    "change",
    [{"salt": text_bytes("other")}, {"prov_id": Recipe(name="B").prov_id}, {"commit": "00" * 32}],
)
def test_chains_of_two_answers_never_begin_alike(change):
    other = Chain(
        change.get("salt", SALT), change.get("prov_id", PROV_ID), change.get("commit", COMMIT)
    )
    assert other.head != chain().head


@pytest.mark.parametrize("salt", [b"", bytes(31), bytes(33)])
def test_salt_of_another_length_is_refused(salt):
    with pytest.raises(ValueError, match="exactly 32"):
        Chain(salt, PROV_ID, COMMIT)


@pytest.mark.parametrize("body", [b"\n", b"\n\n", b"data: x\n\n\n", b"data: x\n\n\ndata: y\n\n"])
def test_extra_blank_line_is_refused(body):
    with pytest.raises(StreamRefused, match="empty block"):
        BlockSplitter().feed(body)
    assert accepted([bytes([octet]) for octet in body])[1]


@pytest.mark.parametrize("body", [b"data: x\r\n\r\n", b"data: x\r\r", b"\r", b"data: x\n\r\n"])
def test_carriage_return_is_refused(body):
    with pytest.raises(StreamRefused, match="carriage return"):
        BlockSplitter().feed(body)


def test_endless_event_is_refused_without_its_end():
    piece = b"x" * 65_536
    most = EVENT_BYTES_MAX // len(piece)
    assert accepted([piece] * most) == ([], False)
    assert accepted([piece] * (most + 1)) == ([], True)


def test_event_of_the_largest_size_is_taken():
    block = b"x" * (EVENT_BYTES_MAX - 2) + b"\n\n"
    assert BlockSplitter().feed(block) == [block]
    with pytest.raises(StreamRefused, match="longer than"):
        BlockSplitter().feed(b"x" + block)


@given(st.binary(max_size=60), st.text("ABCabc019-_.", max_size=20))
def test_signed_comment_is_read_and_is_a_comment_to_sse_clients(payload, jws):
    block = signed_comment(payload, jws)
    assert is_comment_only(block)
    comment = parse_signed_comment(block)
    assert (comment.payload, comment.jws) == (payload, jws)


@pytest.mark.parametrize(
    "block", [b": keep-alive\n\n", b":\n\n", b": attested\n\n", b":attest x y\n\n"]
)
def test_other_comments_are_none_of_ours(block):
    assert is_comment_only(block)
    assert parse_signed_comment(block) is None


@pytest.mark.parametrize("block", [b"data: x\n\n", b": a\ndata: x\n\n", b" : a\n\n", DONE_EVENT])
def test_what_carries_data_is_an_event(block):
    assert not is_comment_only(block)


@given(lines.filter(lambda line: line.count(b" ") != 1))
def test_malformed_signed_comment_is_refused(line):
    with pytest.raises(StreamRefused):
        parse_signed_comment(b": attest " + line + b"\n\n")


@pytest.mark.parametrize(
    "media",
    ["text/event-stream", "TEXT/event-stream", "text/event-stream\t;a=b", " text/event-stream"],
)
def test_type_of_a_stream_is_known_in_every_spelling(media):
    assert is_stream_media(media)


@pytest.mark.parametrize(
    "media",
    ["", "text/event-streams", "text/plain;text/event-stream", "text/event-stream; a, text/html"],
)
def test_other_types_and_two_types_are_not_a_streams(media):
    assert not is_stream_media(media)


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        (b"", True),
        (b":", True),
        (b": a\n:", True),
        (b": a\n", True),
        (b"d", False),
        (b": a\nd", False),
        (b"data: :\n", False),
    ],
)
def test_cut_comment_has_no_line_without_a_colon(rest, expected):
    assert is_cut_comment(rest) is expected
    assert is_comment_only(rest.removesuffix(b"\n") + b"\n\n") is (expected and rest != b"")


@pytest.mark.parametrize("line", [b"x", b":x", b": attest a b"])
def test_attest_comment_of_two_lines_is_refused(line):
    with pytest.raises(StreamRefused, match="one line"):
        parse_signed_comment(b": attest a b\n" + line + b"\n\n")


@given(st.lists(st.lists(blocks, max_size=4), max_size=4))
def test_events_appended_together_make_the_chain_of_each_alone(groups):
    together, alone = chain(), chain()
    for group in groups:
        together.extend(group)
        for event in group:
            alone.add(event)
    assert (together.head, together.events, together.octets) == (
        alone.head,
        alone.events,
        alone.octets,
    )
