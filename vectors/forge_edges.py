"""Vectors about the edges of streams: types, comments, unfinished blocks, statements taken out."""

from collections.abc import Iterator

from forge import (
    Case,
    Json,
    Stream,
    Vector,
    events,
    invalid,
    item,
    stream,
    stream_recipe,
    valid,
)

from verismo.attest.stream import DONE_EVENT, parse_signed_comment


def vectors() -> Iterator[Vector]:
    """Return them all."""
    yield from _comments()
    yield from _media()
    yield from _taken_out()
    recipe = stream_recipe(change=_incomplete)
    yield invalid(
        "ended-early-over-done",
        "[DONE] is signed for a stream that is called incomplete",
        stream(recipe).case(),
        12,
        events=4,
    )


def _comments() -> Iterator[Vector]:
    """Comments that are no signatures, and octets that are no block."""
    plain = stream()
    b = plain.blocks
    for name, shows, comment in (
        ("second-line", "a signature is one only at a block's beginning", b": x\n" + b[3]),
        ("no-space", "a comment that only looks like a signature", b":attest x y\n\n"),
        ("other-word", "another word after the colon", b": attested x y\n\n"),
    ):
        yield valid(f"stream-attest-{name}", shows, plain.case([*b[:3], comment, *b[3:]]), 6)
    head = b[3][:-1] + b":more\n\n"
    yield invalid(
        "stream-two-lines-joined",
        "a head comment with a line after it, without a space",
        plain.case([*b[:3], head]),
        11,
        events=0,
    )
    sent = [b": attest x y\ndata: 1\n\n"]
    yield valid(
        "stream-attest-line-in-event",
        "a block with a data line is an event, whatever its first line",
        stream(sent=sent).case(),
        2,
    )
    for name, tail in (("", b": keep-al"), ("-line", b": keep-alive\n"), ("-two", b": a\n: b")):
        yield valid(
            f"stream-comment-cut{name}", "a comment cut after the end", plain.case([*b, tail]), 6
        )
    case = plain.case([*b, b": a\ndata"])
    yield invalid("stream-comment-and-octets", "a cut event after the end", case, 11, events=6)
    ended = stream(marker=False)
    case = ended.case([*ended.blocks, b": keep-al"])
    yield valid("stream-no-marker-comment-cut", "a comment cut after the end", case, 5)


def _media() -> Iterator[Vector]:
    """What makes an answer a stream: no proof in its headers, and its one content type."""
    plain = stream()
    for name, media in (("case", "Text/Event-Stream"), ("space", "text/event-stream ;charset=x")):
        case = stream(stream_recipe(media=media)).case()
        yield valid(f"stream-media-{name}", "the type of a stream in another spelling", case, 6)
    for name, media in (
        ("other", "text/plain"),
        ("longer", "text/event-streams"),
        ("empty", ""),
        ("parameter", "text/plain; text/event-stream"),
    ):
        case = plain.case().set("content-type", media)
        yield invalid(f"stream-media-{name}", "nothing signed in the headers of a body", case, 1)
    for name, media in (("twice", "text/event-stream"), ("and-html", "text/html")):
        case = plain.case()
        case.set("content-type", "text/event-stream; charset=utf-8").put("content-type", media)
        yield invalid(f"stream-media-{name}", "a second Content-Type", case, 1)


def _taken_out() -> Iterator[Vector]:
    """A stream's statement beside its octets, as the record of an answer gives it."""
    one = events(1)[0]
    case = _beside(stream())
    yield valid("statement-taken-out", "a stream's statement, taken out of it", case, 6)
    yield Vector(
        "statement-taken-out-early",
        "it ended early",
        _beside(stream(fin=False)),
        "VERIFIED_PREFIX",
        (12,),
        5,
    )
    case = _beside(stream(sent=[one, DONE_EVENT, one], marker=False))
    yield invalid("statement-taken-out-done-inside", "an event after [DONE]", case, 11, events=0)
    case = _beside(stream(stream_recipe(change=_incomplete)))
    yield invalid(
        "statement-taken-out-over-done",
        "[DONE] is signed for a stream that is called incomplete",
        case,
        11,
        12,
        events=0,
    )
    case = _beside(stream())
    case.answer += b": keep-al"
    yield valid("statement-taken-out-comment-cut", "a comment cut after the end", case, 6)
    case = _beside(stream())
    case.answer += b"data"
    yield invalid("statement-taken-out-octets", "octets after the end", case, 11, events=0)


def _beside(source: Stream) -> Case:
    """Put the final statement into the headers; the stream keeps it too, as a comment."""
    comments = (parse_signed_comment(block) for block in source.blocks)
    *_, signed = (found for found in comments if found is not None)
    case = source.case()
    case.put("attest-statement", item(signed.payload))
    return case.put("attest-signature", signed.jws)


def _incomplete(statement: dict[str, Json]) -> None:
    response = statement["res"]
    if isinstance(response, dict):
        response["fin"] = False
