"""Streams in the verifier for browsers: cut anywhere, in pieces of any size, as Python has them."""

import json
from collections.abc import Sequence

import msgspec
import pytest
from forge import events as forged_events
from forge import stream
from forge_streams import vectors as stream_vectors
from tests.support.conformance import by_verdict, conforms, counted, joined
from tests.support.verifyjs import (
    disagreements,
    in_chromium,
    in_node,
    needs_node,
    octets,
    said_by_python,
    vector_documents,
)

from verismo.attest.exchange import octets as body_of
from verismo.cli.vectors import Vector

NAMES = ("stream", "stream-head-each", "stream-keep-alive", "stream-no-marker", "ended-early")
SIZES = ([1], [2], [7], [64], [1, 200], [5, 1, 1], [1_000_000])


def body(document: bytes) -> bytes:
    return body_of(msgspec.json.decode(document, type=Vector).exchange.response)


def with_body(document: bytes, answer: bytes) -> bytes:
    """Return a vector whose answer has another body."""
    vector = json.loads(document)
    response = vector["exchange"]["response"]
    response.pop("body_base64", None)
    response["body_base64"] = octets(answer)
    return json.dumps(vector).encode()


def cuts(name: str) -> dict[str, bytes]:
    """Return a stream cut after each of its blocks, in its middle and before its end."""
    document = vector_documents()[name]
    whole = body(document)
    found, begin = {}, 0
    while begin < len(whole):
        end = whole.index(b"\n\n", begin) + 2
        for at in (begin, begin + 1, (begin + end) // 2, end - 2, end - 1):
            found[f"{name} cut at {at}"] = with_body(document, whole[:at])
        begin = end
    return found


ALL_CUTS = {label: document for name in NAMES for label, document in cuts(name).items()}


SECTION = "Streams cut at every event"


def stream_of(label: str) -> str:
    return label.split(" cut at ")[0]


@needs_node
@pytest.mark.slow
def test_streams_cut_at_every_event_are_judged_alike_in_node():
    assert len(ALL_CUTS) > 150
    differing = disagreements(ALL_CUTS, in_node)
    assert differing == {}
    verdicts = {label: str(said_by_python(document)[0]) for label, document in ALL_CUTS.items()}
    agreed = counted(ALL_CUTS.keys() - differing, stream_of, "Node")
    found = joined(counted(ALL_CUTS, stream_of, "cuts"), by_verdict(verdicts, stream_of), agreed)
    conforms(SECTION, found)


@pytest.mark.external("chromium")
@pytest.mark.slow
def test_streams_cut_at_every_event_are_judged_alike_in_chromium():
    differing = disagreements(ALL_CUTS, in_chromium)
    assert differing == {}
    conforms(SECTION, counted(ALL_CUTS.keys() - differing, stream_of, "Chromium"))


def streamed(document: bytes) -> bool:
    """Say whether a vector's answer is one that arrives as a stream, with its request."""
    exchange = json.loads(document)["exchange"]
    names = {name.lower() for name, _ in exchange["response"]["headers"]}
    return "request" in exchange and "attest-salt" in names and "attest-statement" not in names


@needs_node
@pytest.mark.slow
def test_verdict_and_released_events_do_not_depend_on_the_pieces():
    names = [
        one.name for one in stream_vectors() if one.name.startswith(("stream", "cut", "ended"))
    ]
    deeds, demanded = [], []
    for name in names:
        document = vector_documents()[name]
        if not streamed(document) or "media" in name:
            continue
        for sizes in SIZES:
            deeds.append({"do": "stream", "vector": document.decode(), "sizes": sizes})
            demanded.append((name, document))
    first: dict[str, object] = {}
    for (name, document), found in zip(demanded, in_node(deeds), strict=True):
        vector = json.loads(document)
        assert (found["verdict"], found["events"]) == (vector["verdict"], vector["events"]), name
        assert first.setdefault(name, found) == found, name
        events = [part + "\n\n" for part in body(document).decode("latin-1").split("\n\n")]
        proven = [
            one for one in events if not all(line[:1] == ":" for line in one[:-2].split("\n"))
        ]
        released = found["released"]
        assert len(released) == (found["events"] or 0), name
        assert released == proven[: len(released)], name
    assert len(first) > 40


@needs_node
def test_a_live_stream_whose_heads_are_old_is_refused_and_a_recorded_one_is_not():
    document = vector_documents()["stream-lasting"]
    deed = {"do": "stream", "vector": document.decode(), "sizes": [100]}
    now_ms = json.loads(document)["exchange"]["now_ms"]
    recorded, live = in_node([deed, {**deed, "now_ms": now_ms}])
    assert (recorded["verdict"], recorded["fails"]) == ("VERIFIED", [])
    assert (live["verdict"], live["fails"], live["released"]) == ("INVALID", [9], [])


def long_stream(events: int) -> str:
    """Return a vector of a stream with this many events, a head after every 32."""
    vector = json.loads(vector_documents()["stream"])
    blocks = stream(sent=forged_events(events - 1), every=32).blocks
    vector["exchange"]["response"]["body_base64"] = octets(b"".join(blocks))
    return json.dumps(vector)


def check_pace(found: Sequence[dict[str, object]]) -> None:
    """A fast model sends 500 events in a second; neighbours on the machine disturb some runs."""
    assert {(one["verdict"], one["events"]) for one in found} == {("VERIFIED", 500)}
    assert min(one["took_ms"] for one in found) < 1_000


@needs_node
@pytest.mark.slow
def test_500_events_are_verified_as_fast_as_they_arrive_in_node():
    check_pace(in_node([{"do": "timing", "vector": long_stream(500)}] * 5))


@pytest.mark.external("chromium")
@pytest.mark.slow
def test_500_events_are_verified_as_fast_as_they_arrive_in_chromium():
    check_pace(in_chromium([{"do": "timing", "vector": long_stream(500)}] * 5))
