"""Server-sent events: any cut of the bytes gives the same events, and no comment gets through."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.gateway.dialects.sse import EVENT_BYTES_MAX, SseSplitter, event_data, is_done
from verismo.model.errors import UpstreamBroken

LINES = st.sampled_from(
    [
        b"data: 1",
        b"data:2",
        b"data",
        b"data: [DONE]",
        b": attest x y",
        b":",
        b"event: e",
        b"id: 7",
        b"retry: 1",
        b"",
        b"\xef\xbb\xbf",
        b"\xff\x00",
        b"junk",
    ]
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
STREAMS = st.lists(st.tuples(LINES, ENDS), max_size=24).map(
    lambda lines: b"".join(line + end for line, end in lines)
)


def events_of(*chunks: bytes) -> list[bytes]:
    splitter = SseSplitter()
    return [event for chunk in chunks for event in splitter.feed(chunk)]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def events_by_the_standard(data: bytes) -> list[bytes]:
    """The standard's line rules, spelled out slowly: the oracle."""
    text = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    events: list[bytes] = []
    lines: list[bytes] = []
    for line in text.split(b"\n")[:-1]:
        if line:
            lines.append(line)
            continue
        kept = [each for each in lines if not each.startswith(b":")]
        if any(each.startswith(b"data:") for each in kept):
            events.append(b"\n".join(kept) + b"\n\n")
        lines = []
    return events


@given(STREAMS, st.lists(st.integers(0, 400), max_size=12))
def test_any_cut_gives_the_events_of_the_standard(data: bytes, places: list[int]):
    assert events_of(*cut(data, places)) == events_by_the_standard(data)


@given(STREAMS)
def test_single_bytes_give_the_same_events(data: bytes):
    assert events_of(*(data[i : i + 1] for i in range(len(data)))) == events_of(data)


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_any_bytes_give_proper_events(chunks: list[bytes]):
    for event in events_of(*chunks):
        assert event.endswith(b"\n\n")
        assert b"\r" not in event
        assert b"\n\n" not in event[:-2]
        assert not any(line.startswith(b":") for line in event.split(b"\n"))
        assert any(line.startswith(b"data:") for line in event.split(b"\n"))


def test_line_feed_events_keep_their_exact_bytes():
    event = b'event: x\nid: 1\ndata:  {"a": "\xc3\xa9"} \ndata:\n\n'
    assert events_of(b"data: 0\n\n", event) == [b"data: 0\n\n", event]


def test_carriage_returns_become_line_feeds_even_when_cut_in_two():
    assert events_of(b"data: 1\r", b"\n\r", b"", b"\ndata: 2\r\r") == [
        b"data: 1\n\n",
        b"data: 2\n\n",
    ]


def test_an_upstream_proof_comment_is_dropped():
    forged = b": attest eyJ2IjoxfQ h..s\n\n"
    inside = b"data: 1\n: attest eyJ2IjoxfQ h..s\n\n"
    assert events_of(b"data: 0\n\n", forged, inside) == [b"data: 0\n\n", b"data: 1\n\n"]


def test_a_proof_comment_behind_a_byte_order_mark_is_dropped():
    assert events_of(b"\xef\xbb", b"\xbf: attest a b..c\n\ndata: 1\n\n") == [b"data: 1\n\n"]


def test_a_proof_comment_behind_a_lone_carriage_return_is_dropped():
    assert events_of(b"data: 1\r: attest a b..c\r\r") == [b"data: 1\n\n"]


@pytest.mark.parametrize("whole", [True, False])
def test_an_event_of_the_limit_passes_and_one_byte_more_breaks(whole: bool):
    largest = b"data: " + b"a" * (EVENT_BYTES_MAX - 8) + b"\n\n"
    for data, passes in ((largest, True), (largest[:-2] + b"a\n\n", False)):
        chunks = [data] if whole else cut(data, list(range(0, len(data), 65_536)))
        if passes:
            assert events_of(b"data: 0\n\n", *chunks)[1] == data
        else:
            with pytest.raises(UpstreamBroken):
                events_of(b"data: 0\n\n", *chunks)


def test_an_endless_event_breaks_instead_of_filling_the_memory():
    splitter = SseSplitter()
    for _ in range(EVENT_BYTES_MAX // 4_096):
        assert splitter.feed(b"a" * 4_096) == []
    with pytest.raises(UpstreamBroken, match="over 1048576 bytes"):
        splitter.feed(b"a")


@pytest.mark.parametrize(
    ("tail", "rest"),
    [
        (b"", b""),
        (b"data: 1", b"data: 1\n\n"),
        (b"data: 1\n", b"data: 1\n\n"),
        (b": note", b""),
        (b"\n", b""),
        (b"event: x\n", b""),
    ],
)
def test_the_rest_is_the_event_that_has_begun(tail: bytes, rest: bytes):
    for lead in (b"", b"data: 0\n\n"):
        splitter = SseSplitter()
        splitter.feed(lead + tail)
        assert splitter.rest() == rest


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b"data: 1\n\n", b"1"),
        (b"data:1\n\n", b"1"),
        (b"data:  1\n\n", b" 1"),
        (b"event: x\ndata: 1\nid: 2\ndata: 2\n\n", b"1\n2"),
        (b"data:\ndata: 1\n\n", b"\n1"),
    ],
)
def test_data_is_joined_by_line_feeds(event: bytes, data: bytes):
    assert event_data(event) == data


@pytest.mark.parametrize(
    ("event", "done"),
    [
        (b"data: [DONE]\n\n", True),
        (b"data:[DONE]\n\n", True),
        (b"data:  [DONE] and more\n\n", True),
        (b"event: end\ndata: [DONE]\n\n", True),
        (b'data: {"content":"data: [DONE]"}\n\n', False),
    ],
)
def test_done_is_what_stops_a_client(event: bytes, done: bool):
    assert is_done(event) is done
