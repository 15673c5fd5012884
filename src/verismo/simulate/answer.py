"""A simulated call and its answer, and the text, digest and token rule they share.

Tokens: a text has one token for every four octets of its UTF-8 form, rounded up. Generated answers
are made of pieces of exactly four octets, so an answer of n tokens has n pieces.
"""

import hashlib
from typing import Protocol

import msgspec

FINGERPRINT = "verismo-simulator"
CREATED_S = 1_735_689_600
"""2025-01-01T00:00:00Z in every answer: a clock would make equal requests differ."""

_LEAD = ("Simu", "late", "d an", "swer")
_WORDS = (
    *(" sun", " sea", " ice", " oak", " elm", " ash", " fir", " bay", " sky", " fog", " dew"),
    *(" ray", " arc", " map", " key", " log", " ink", " pen", " box", " cup", " jar", " lid"),
    *(" pot", " pan", " net", " rod", " oar", " row", " sit", " run", " hop", " jog", " red"),
    *(" tan", " low", " far", " new", " old", " big", " top", " one", " two", " six", " ten"),
    *(" où", " né", " là", " 日", " 月", " and", " the", " its", " our", " not", " but", " yet"),
)
"""Four octets each, some of them not ASCII, so that cut and joined streams are put to the test."""


class Call(msgspec.Struct, frozen=True):
    """One request to the simulator.

    Args:
        method: upper case.
        path: decoded, without the query.
        query: raw query string.
        headers: by lower-case name; of repeated headers the last.
        body: octets.
        digest: SHA-256 over seed, method, path and body; decides the answer.
        answer_tokens: length of a chat answer, at least 1.
        cached_tokens: at most so many tokens of the prompt are told as cached.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    digest: bytes
    answer_tokens: int
    cached_tokens: int = 0


class Answer(msgspec.Struct, frozen=True):
    """One whole answer, before any fault is done to it.

    Args:
        status: HTTP status.
        body: octets; empty for a stream.
        events: the blocks of a stream, each with its blank line; None for a plain answer.
        failure: the event by which this dialect reports an error inside a stream.
        media: content type.
        headers: further headers, lower-case names.
    """

    status: int
    body: bytes = b""
    events: tuple[bytes, ...] | None = None
    failure: bytes = b""
    media: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class Dialect(Protocol):
    """One protocol that the simulator speaks. Pure: the same call gives the same octets."""

    def answer(self, call: Call) -> Answer:
        """Answer a call; a call that the real service refuses gets its error shape."""
        ...

    def error(self, status: int, message: str) -> Answer:
        """Return an error in this dialect's shape."""
        ...


def digest_of(seed: int, method: str, path: str, body: bytes) -> bytes:
    """Return the 32 octets that decide an answer."""
    return hashlib.sha256(f"{seed}\n{method} {path}\n".encode() + body).digest()


def tokens_of(text: str) -> int:
    """Count a text's tokens by the simulator's rule: four octets each, rounded up."""
    return (len(text.encode("utf-8", "surrogatepass")) + 3) // 4


def pieces_of(digest: bytes, count: int) -> list[str]:
    """Return the pieces of a generated text, one token each.

    Args:
        digest: decides the words.
        count: 0 or more; the first four pieces read "Simulated answer".
    """
    draws = hashlib.shake_256(digest).digest(max(0, count - len(_LEAD)))
    return [*_LEAD[:count], *(_WORDS[draw % len(_WORDS)] for draw in draws)]


def tokens_in(text: str) -> list[str]:
    """Cut a text into tokens: as many characters as four octets hold, at least one."""
    tokens: list[str] = []
    size = 4
    for character in text:
        width = len(character.encode("utf-8", "surrogatepass"))
        if size + width > 4:
            tokens.append("")
            size = 0
        tokens[-1] += character
        size += width
    return tokens


def slices_of(text: str, length: int = 12) -> list[str]:
    """Cut a text into slices, as tool arguments arrive in a stream."""
    return [text[start : start + length] for start in range(0, len(text), length)]
