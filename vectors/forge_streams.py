"""Vectors about streams: whole ones, cut ones, and every way of tampering with the order."""

from collections.abc import Iterator
from dataclasses import replace

from forge import (
    ISSUER,
    NONCE,
    QUESTION,
    TIME_MS,
    TOKEN,
    Case,
    Recipe,
    Stream,
    Vector,
    encode,
    events,
    header,
    invalid,
    item,
    stream,
    stream_recipe,
    swap,
    token,
    valid,
    whole,
)

from verismo.attest import jws
from verismo.attest.stream import DONE_EVENT, signed_comment

KEEP_ALIVE = b": keep-alive\n\n"
EVENT = events(1, "inserted")[0]


def vectors() -> Iterator[Vector]:
    """Return them all."""
    yield from _valid()
    yield from _without_marker()
    yield from _unsigned()
    yield from _cut()
    yield from _reordered()
    yield from _rewritten()
    yield from _context()


def _valid() -> Iterator[Vector]:
    plain = stream()
    yield valid("stream", "five events, heads after 0, 2 and 4", plain.case(), 6)
    yield valid("stream-long", "100 events", stream(sent=events(100), every=32).case(), 101)
    yield valid("stream-empty", "only [DONE]", stream(sent=[]).case(), 1)
    yield valid("stream-no-heads", "head 0 and the statement", stream(every=0).case(), 6)
    yield valid("stream-head-each", "a head after each event", stream(every=1).case(), 6)
    without = [plain.blocks[n] for n in (1, 2, 4, 5, 7, 8, 9)]
    yield valid("stream-heads-stripped", "the statement alone covers all", plain.case(without), 6)
    kept = [piece for block in plain.blocks for piece in (KEEP_ALIVE, block)]
    yield valid(
        "stream-keep-alive", "other comments are not signed", plain.case([*kept, KEEP_ALIVE]), 6
    )
    doubled = [plain.blocks[0], *plain.blocks]
    yield valid("stream-head-twice", "a head again at its own place", plain.case(doubled), 6)
    sent = [
        b"event: delta\ndata: 1\n\n",
        b"id: 7\nretry: 100\ndata: 2\n\n",
        b": comment in an event\ndata: 3\n\n",
        b"data: a\ndata: b\n\n",
        "data: Grüße 🙂\n\n".encode(),
        b"data: \xff\xfe\n\n",
    ]
    yield valid("stream-event-forms", "any octets make an event", stream(sent=sent).case(), 7)
    media = "text/event-stream; charset=utf-8"
    yield valid(
        "stream-media-charset",
        "a media type with a parameter",
        stream(stream_recipe(media=media)).case(),
        6,
    )
    yield valid("stream-no-nonce", "no nonce was sent", stream(stream_recipe(nonce=None)).case(), 6)


def _without_marker() -> Iterator[Vector]:
    """Protocols that do not end with [DONE]: the statement is the end."""
    plain = stream(marker=False)
    yield valid("stream-no-marker", "the statement is the end", plain.case(), 5)
    empty = stream(sent=[], marker=False)
    yield valid("stream-no-marker-empty", "no event at all", empty.case(), 0)
    for name, shows, tail in (
        ("done", "a [DONE] that is not signed", DONE_EVENT),
        ("event", "an event after the end", EVENT),
        ("octets", "octets after the end", b"data: x"),
    ):
        case = plain.case([*plain.blocks, tail])
        yield invalid(f"stream-no-marker-{name}-added", shows, case, 11, events=5)
    void = plain.case([_void(plain), *plain.blocks])
    yield invalid("stream-void-as-head", "a gap's record in a stream", void, 2, events=0)


def _void(source: Stream) -> bytes:
    payload = encode(
        {
            "v": 1,
            "iss": ISSUER,
            "prov_id": source.recipe.prov_id,
            "iat": TIME_MS,
            "signer": "s0",
            "first": 41,
            "last": 41,
        }
    )
    return signed_comment(payload, token(payload, TOKEN, header(typ=jws.TYPE_VOID)))


def _unsigned() -> Iterator[Vector]:
    plain = stream()
    stripped = plain.case()
    stripped.headers = stripped.headers[:1]
    yield Vector("stream-unsigned", "no proof headers", stripped, "UNSIGNED", (1,))
    case = plain.case(events(3))
    yield Vector("stream-heads-and-end-stripped", "nothing signed arrived", case, "UNSIGNED", (1,))
    yield Vector("stream-nothing", "an empty body", plain.case([]), "UNSIGNED", (1,))


def _prefix(name: str, shows: str, case: Case, count: int) -> Vector:
    return Vector(name, shows, case, "VERIFIED_PREFIX", (12,), count)


def _cut() -> Iterator[Vector]:
    plain = stream()
    blocks = plain.blocks
    yield _prefix("cut-after-head-0", "cut after head 0", plain.case(blocks[:1]), 0)
    yield _prefix("cut-after-event", "an event without a head after it", plain.case(blocks[:2]), 0)
    yield _prefix("cut-after-head", "cut after the head over 2", plain.case(blocks[:4]), 2)
    yield _prefix("cut-before-statement", "cut after the last event", plain.case(blocks[:8]), 4)
    yield _prefix("cut-before-done", "cut between statement and [DONE]", plain.case(blocks[:9]), 5)
    whole_body = b"".join(blocks)
    at = len(b"".join(blocks[:5])) - 5
    yield _prefix(
        "cut-within-event", "cut within the third event", plain.case([whole_body[:at]]), 2
    )
    at = len(b"".join(blocks[:7])) - 40
    yield _prefix("cut-within-head", "cut within the head over 4", plain.case([whole_body[:at]]), 2)
    yield _prefix(
        "cut-within-done", "[DONE] without its blank line", plain.case([whole_body[:-1]]), 5
    )
    unsigned_tail = [*blocks[:4], EVENT, EVENT]
    yield _prefix(
        "cut-unsigned-tail",
        "events that nobody signed are not proven",
        plain.case(unsigned_tail),
        2,
    )
    early = stream(fin=False)
    yield _prefix("ended-early", "the gateway signed that the stream ended early", early.case(), 5)
    yield _prefix(
        "ended-early-empty", "it ended before the first event", stream(sent=[], fin=False).case(), 0
    )


def _reordered() -> Iterator[Vector]:
    plain = stream()
    b = plain.blocks
    for name, shows, blocks, proven in (
        (
            "event-flipped",
            "one bit of the second event",
            [*b[:2], b[2].replace(b"word", b"work"), *b[3:]],
            0,
        ),
        ("event-dropped", "the second event is missing", [*b[:2], *b[3:]], 0),
        ("event-doubled", "the second event stands twice", [*b[:3], b[2], *b[3:]], 0),
        ("events-swapped", "first and second change places", swap(b, 1, 2), 0),
        ("events-swapped-across-head", "second and third change places", swap(b, 2, 4), 0),
        ("event-inserted-first", "an event before head 0", [EVENT, *b], 0),
        ("event-inserted", "an event after the head over 2", [*b[:4], EVENT, *b[4:]], 2),
        (
            "event-inserted-before-statement",
            "an event before the statement",
            [*b[:8], EVENT, *b[8:]],
            4,
        ),
        ("last-event-dropped", "the event before the statement is missing", [*b[:7], *b[8:]], 4),
        (
            "event-after-statement",
            "an event between statement and [DONE]",
            [*b[:9], EVENT, b[9]],
            5,
        ),
        ("event-after-done", "an event after [DONE]", [*b, EVENT], 6),
        ("done-twice", "[DONE] twice", [*b, DONE_EVENT], 6),
        ("octets-after-done", "octets after [DONE]", [*b, b"data: x"], 6),
        ("done-early", "[DONE] before the statement", [*b[:4], DONE_EVENT], 2),
        ("done-instead-of-statement", "the statement is missing", [*b[:8], b[9]], 4),
        ("done-respelled", "[DONE] without its space", [*b[:9], b"data:[DONE]\n\n"], 5),
        ("tail-of-itself", "the stream begins again", [*b[:7], *b], 4),
    ):
        failing = 12 if name in ("done-early", "done-instead-of-statement") else 11
        yield invalid(f"stream-{name}", shows, plain.case(blocks), failing, events=proven)


def _rewritten() -> Iterator[Vector]:
    plain = stream()
    b = plain.blocks
    body = b"".join(b)
    head = b[3]
    words = head[:-2].split(b" ")
    for name, shows, blocks, failing, proven in (
        ("crlf", "line ends were rewritten", [body.replace(b"\n", b"\r\n")], 11, 0),
        (
            "crlf-late",
            "line ends rewritten after the head over 2",
            [*b[:4], b[4].replace(b"\n", b"\r\n")],
            11,
            2,
        ),
        ("cr", "a carriage return as line end", [*b[:4], b[4].replace(b"\n", b"\r")], 11, 2),
        ("blank-line", "an extra blank line", [*b[:4], b"\n", *b[4:]], 11, 2),
        ("blank-line-first", "a blank line at the beginning", [b"\n", *b], 11, 0),
        ("event-split", "one event became two", [b[0], b"data: {\n\n", b[1][6:], *b[2:]], 11, 0),
        ("events-merged", "two events became one", [b[0], b[1][:-1] + b[2], *b[3:]], 11, 0),
        ("event-commented-out", "an event became a comment", [b[0], b":" + b[1], *b[2:]], 11, 0),
        ("head-made-event", "a head became an event", [*b[:3], b"data" + b[3], *b[4:]], 11, 0),
        ("byte-order-mark", "a byte order mark at the beginning", [b"\xef\xbb\xbf", *b], 11, 0),
        (
            "head-one-word",
            "a head without its signature",
            [*b[:3], b" ".join(words[:3]) + b"\n\n"],
            11,
            0,
        ),
        ("head-three-words", "a head with a word too many", [*b[:3], head[:-2] + b" x\n\n"], 11, 0),
        ("head-two-spaces", "two spaces", [*b[:3], head.replace(b"attest ", b"attest  ")], 11, 0),
        (
            "head-padded",
            "padding after the payload",
            [*b[:3], b" ".join([*words[:2], words[2] + b"=", words[3]]) + b"\n\n"],
            11,
            0,
        ),
        ("head-not-base64", "not base64url", [*b[:3], b": attest * x..y\n\n"], 11, 0),
        ("head-not-ascii", "not ASCII", [*b[:3], b": attest \xff x..y\n\n"], 11, 0),
        ("head-embedded", "an embedded payload", [*b[:3], _embedded(words)], 2, 0),
        (
            "head-unsigned",
            "a head with an empty signature",
            [*b[:3], head.split(b"..")[0] + b"..\n\n"],
            2,
            0,
        ),
        ("head-flipped", "one letter of the signature", [*b[:3], _flipped(head)], 4, 0),
        (
            "head-of-statement-flipped",
            "one letter of the final signature",
            [*b[:8], _flipped(b[8]), b[9]],
            4,
            4,
        ),
        (
            "two-lines",
            "a head comment with a line after it",
            [*b[:3], head[:-1] + b": more\n\n"],
            11,
            0,
        ),
    ):
        yield invalid(f"stream-{name}", shows, plain.case(blocks), failing, events=proven)


def _embedded(words: list[bytes]) -> bytes:
    embedded = words[3].replace(b"..", b"." + words[2] + b".")
    return b" ".join([*words[:3], embedded]) + b"\n\n"


def _flipped(block: bytes) -> bytes:
    at = len(block) - 50
    return block[:at] + (b"A" if block[at : at + 1] != b"A" else b"B") + block[at + 1 :]


def _context() -> Iterator[Vector]:
    plain = stream()
    case = plain.case()
    case.question = QUESTION + b" "
    yield invalid("stream-request-body", "another question", case, 11, events=0)
    for name, shows, member, value in (
        ("method", "another method", "method", "GET"),
        ("path", "another path", "path", "/v1/completions"),
        ("query", "a query that is not signed", "query", "a=1"),
    ):
        case = plain.case()
        setattr(case, member, value)
        yield invalid(f"stream-request-{name}", shows, case, 10, events=4)
    case = plain.case()
    case.status = 206
    yield invalid("stream-response-status", "another status", case, 11, events=4)
    case = plain.case()
    case.question = None
    yield invalid("stream-no-request", "the chain begins with the request", case, 10, events=0)
    case = plain.case().set("attest-salt", item(replace(plain.recipe, salt_text="x").salt))
    yield invalid("stream-salt-of-another", "another salt", case, 11, events=0)
    case = plain.case().set("attest-prov-id", Recipe(name="stream B").prov_id)
    yield invalid("stream-prov-id-of-another", "another prov_id", case, 6, events=0)
    case = plain.case()
    case.nonce = NONCE[::-1]
    yield invalid("stream-replayed", "replayed to another nonce", case, 8, events=0)
    lasting = stream(head_change=lambda h: h.update(iat=TIME_MS - 300_000)).case()
    lasting.expected.update(now_ms=TIME_MS + 1_000, age_ms_max=5_000)
    yield valid("stream-lasting", "heads are older than the end, which is fresh", lasting, 6)
    old = plain.case()
    old.expected.update(now_ms=TIME_MS + 65_001, age_ms_max=5_000)
    yield invalid("stream-too-old", "the end is older than allowed", old, 9, events=4)
    old = plain.case(plain.blocks[:4])
    old.expected.update(now_ms=TIME_MS + 65_001, age_ms_max=5_000)
    yield invalid("cut-too-old", "the last head is older than allowed", old, 9, events=2)
    early = plain.case()
    early.expected.update(now_ms=TIME_MS - 60_001)
    yield invalid("stream-future", "head 0 is of the future", early, 9, events=0)
    case = plain.case()
    case.keys = []
    yield invalid("stream-no-keys", "an empty key set", case, 3, events=0)
    proof = whole()
    case = plain.case()
    for name in ("attest-statement", "attest-signature"):
        case.put(name, proof[name])
    yield invalid(
        "stream-with-whole-proof", "a whole answer's proof on a stream", case, 6, 10, 11, 13
    )
