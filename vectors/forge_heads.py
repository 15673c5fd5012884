"""Vectors about the signatures within streams: moved, of others, and signed untruths."""

from collections.abc import Iterator

from forge import (
    OTHER,
    TOKEN,
    Case,
    Json,
    Key,
    Recipe,
    Stream,
    Vector,
    chain_of,
    head_block,
    head_bytes,
    invalid,
    stream,
    stream_recipe,
    swap,
    token,
)

from verismo.attest.stream import signed_comment


def vectors() -> Iterator[Vector]:
    """Return them all."""
    yield from _moved_signatures()
    yield from _foreign_signatures()
    yield from _lies()


def _moved_signatures() -> Iterator[Vector]:
    plain = stream()
    b = plain.blocks
    for name, shows, blocks, proven in (
        ("head-earlier", "the head over 2 stands after 1", [b[0], b[1], b[3], b[2], *b[4:]], 0),
        ("head-later", "the head over 2 stands after 3", [*b[:3], b[4], b[3], *b[5:]], 0),
        ("heads-swapped", "two heads change places", swap(b, 3, 6), 0),
        ("head-replayed", "head 0 again, later", [*b[:3], b[0], *b[3:]], 0),
        ("statement-first", "the statement at the beginning", [b[8], *b[:8], b[9]], 0),
        ("statement-earlier", "the statement before the last event", [*b[:7], b[8], b[7], b[9]], 4),
        ("statement-after-done", "the statement after [DONE]", [*b[:8], b[9], b[8]], 4),
        ("statement-twice", "the statement twice", [*b[:9], b[8], b[9]], 5),
        ("head-after-statement", "a head after the statement", [*b[:9], b[6], b[9]], 5),
        ("head-after-done", "a head after [DONE]", [*b, b[6]], 6),
    ):
        failing = 12 if name == "statement-after-done" else 11
        yield invalid(f"stream-{name}", shows, plain.case(blocks), failing, events=proven)


def _foreign_signatures() -> Iterator[Vector]:
    plain = stream()
    b = plain.blocks
    other = stream(stream_recipe(name="stream B"))
    for name, shows, position, failing, proven in (
        ("head-0", "head 0 of another stream", 0, 6, 0),
        ("head", "the head over 2 of another stream", 3, 6, 0),
        ("statement", "the statement of another stream", 8, 6, 4),
    ):
        blocks = [*b[:position], other.blocks[position], *b[position + 1 :]]
        yield invalid(
            f"stream-{name}-of-another", shows, plain.case(blocks), failing, events=proven
        )
    yield invalid(
        "stream-of-another",
        "all of stream B under A's headers",
        plain.case(other.blocks),
        6,
        events=0,
    )
    recipe = plain.recipe
    chain = chain_of(recipe)
    plan = Key("plan key", role="plan")
    for name, shows, block, failing, keys in (
        (
            "unknown-key",
            "a head by an unknown key",
            head_block(recipe, chain, key=OTHER),
            3,
            [TOKEN.jwk],
        ),
        (
            "wrong-role",
            "a head by the plan key",
            head_block(recipe, chain, key=plan),
            3,
            [TOKEN.jwk, plan.jwk],
        ),
        ("as-statement", "a head signed as a statement", _as_statement(recipe), 5, [TOKEN.jwk]),
        (
            "version",
            "a head of version 2",
            head_block(recipe, chain, lambda h: h.update(v=2)),
            5,
            [TOKEN.jwk],
        ),
        (
            "member",
            "a head with another member",
            head_block(recipe, chain, lambda h: h.update(x=1)),
            5,
            [TOKEN.jwk],
        ),
        (
            "long",
            "a head of over 2,048 octets",
            head_block(recipe, chain, lambda h: h.update(iss="x" * 2_048)),
            5,
            [TOKEN.jwk],
        ),
        (
            "issuer",
            "a head of another issuer",
            head_block(recipe, chain, lambda h: h.update(iss="x")),
            7,
            [TOKEN.jwk],
        ),
        (
            "nonce",
            "a head with another nonce",
            head_block(recipe, chain, lambda h: h.update(nonce="AA")),
            8,
            [TOKEN.jwk],
        ),
        (
            "count",
            "a head over more than there was",
            head_block(recipe, chain, lambda h: h.update(n=1)),
            11,
            [TOKEN.jwk],
        ),
        (
            "chain",
            "a head over something else",
            head_block(recipe, chain, lambda h: h.update(head="00" * 32)),
            11,
            [TOKEN.jwk],
        ),
        (
            "negative",
            "a head over -1 events",
            head_block(recipe, chain, lambda h: h.update(n=-1)),
            5,
            [TOKEN.jwk],
        ),
    ):
        case = plain.case([block, *b[1:]])
        case.keys = list(keys)
        yield invalid(f"stream-head-{name}", shows, case, failing, events=0)
    case = _without_expectations(stream(head_change=lambda h: h.update(aud="t_0000")))
    yield invalid(
        "stream-audiences-differ", "heads and statement name two tenants", case, 7, events=4
    )
    case = _without_expectations(stream(head_change=lambda h: h.update(nonce="AAAA")))
    yield invalid("stream-nonces-differ", "heads and statement carry two nonces", case, 8, events=4)


def _without_expectations(source: Stream) -> Case:
    case = source.case()
    case.nonce = None
    case.expected = {}
    return case


def _as_statement(recipe: Recipe) -> bytes:
    payload = head_bytes(recipe, chain_of(recipe))
    return signed_comment(payload, token(payload))


def _lies() -> Iterator[Vector]:
    for name, shows, members, failing in (
        ("events", "a wrong count", {"events": 7}, 11),
        ("length", "a wrong length", {"len": 1}, 11),
        ("chain", "a wrong chain", {"commit": "00" * 32}, 11),
        ("status", "another status", {"status": 500}, 11),
        ("media", "another content type", {"media": "text/plain"}, 11),
        ("without-done", "whole, but not over [DONE]", {"events": 5}, 11),
        ("events-negative", "a negative count", {"events": -1}, 5),
    ):
        recipe = stream_recipe(change=lambda s, m=members: _response_of(s, m))
        yield invalid(f"stream-signed-{name}", shows, stream(recipe).case(), failing, events=4)
    recipe = stream_recipe(change=_as_body)
    yield invalid(
        "stream-signed-as-body", "a statement of mode body", stream(recipe).case(), 11, events=4
    )
    recipe = stream_recipe(change=lambda s: _request_path(s))
    yield invalid(
        "stream-signed-path", "a statement about another path", stream(recipe).case(), 10, events=4
    )


def _response_of(statement: dict[str, Json], members: dict[str, Json]) -> None:
    response = statement["res"]
    if isinstance(response, dict):
        response.update(members)


def _as_body(statement: dict[str, Json]) -> None:
    response = statement["res"]
    if isinstance(response, dict):
        del response["events"]
        response["mode"] = "body"


def _request_path(statement: dict[str, Json]) -> None:
    request = statement["req"]
    if isinstance(request, dict):
        request["path"] = "/v1/embeddings"
