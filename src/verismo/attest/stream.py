"""Streams: a hash chain over SSE events, so that a prefix can be trusted before the end is there.

    H0 = SHA-256("attest/v1/sse" 00 || salt || prov_id (16 bytes) || req.commit (32 bytes))
    Hi = SHA-256(01 || H(i-1) || SHA-256(event i))

An event is its exact octets up to and including its blank line; LF is the only line end. Blocks of
comment lines alone are outside the chain: they carry our signed heads,

    : attest <base64url(head or statement)> <header>..<signature>

and SSE clients skip them (checked against the openai SDK). A head says what the chain is after n
events; the final statement says the same for the whole stream, before `data: [DONE]` is sent.
"""

import hashlib
from collections.abc import Iterator, Sequence

import msgspec

from verismo.attest.commitment import SALT_BYTES
from verismo.model import base64url
from verismo.model.ids import prov_id_bytes

MEDIA = "text/event-stream"
DONE_EVENT = b"data: [DONE]\n\n"
EVENT_BYTES_MAX = 1_048_576
"""One event over this is refused on both sides: no provider sends one, and a parser must end."""
HEAD_EVERY_EVENTS = 32
HEAD_EVERY_MS = 500
"""While the gateway waits for its provider, fewer events than that stand without a head, and none
for longer. What came at once is covered at once, however much it is: no verifier may count."""

_PREFIX = b": attest "


class StreamRefused(ValueError):
    """The bytes are not a stream of this format, and why."""


class Chain:
    """The running hash of one stream.

    Args:
        salt: the answer's 32 bytes.
        prov_id: the answer.
        request_commit: `req.commit`, hex.

    Raises:
        ValueError: the salt or the prov_id is malformed.
    """

    def __init__(self, salt: bytes, prov_id: str, request_commit: str) -> None:
        if len(salt) != SALT_BYTES:
            raise ValueError(f"a salt has exactly {SALT_BYTES} bytes")
        seed = b"attest/v1/sse\0" + salt + prov_id_bytes(prov_id) + bytes.fromhex(request_commit)
        self.head = hashlib.sha256(seed).digest()
        self.events = 0
        self.octets = 0

    def add(self, event: bytes) -> None:
        """Append one event, given as its exact octets with its blank line."""
        self.head = hashlib.sha256(b"\x01" + self.head + hashlib.sha256(event).digest()).digest()
        self.events += 1
        self.octets += len(event)

    def extend(self, events: Sequence[bytes]) -> None:
        """Append several events in order; the same as `add` for each, in one go."""
        head, sha256 = self.head, hashlib.sha256
        for event in events:
            head = sha256(b"\x01" + head + sha256(event).digest()).digest()
        self.head = head
        self.events += len(events)
        self.octets += sum(map(len, events))

    def peek(self, event: bytes) -> bytes:
        """Return what the head would be after one more event, without adding it."""
        return hashlib.sha256(b"\x01" + self.head + hashlib.sha256(event).digest()).digest()


class BlockSplitter:
    """Cuts received bytes into blocks, each with its blank line, however they arrive.

    Used by verifiers on the exact octets; a carriage return is refused, because the gateway never
    sends one and two parsers might cut it differently.
    """

    def __init__(self) -> None:
        self._pending = bytearray()

    @property
    def pending(self) -> bytes:
        """Bytes after the last blank line; not empty at the end means the stream was cut."""
        return bytes(self._pending)

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes and return the blocks that they complete, in order.

        Raises:
            StreamRefused: a carriage return, an empty block, or a block over 1 MiB.
        """
        return list(self.blocks(data))

    def blocks(self, data: bytes) -> Iterator[bytes]:
        """Take bytes and yield the blocks that they complete, in order.

        Everything before a refused byte is yielded first, so that what a verifier accepts does not
        depend on how the network cut the stream. Exhaust it before feeding again.

        Raises:
            StreamRefused: a carriage return, an empty block, or a block over 1 MiB.
        """
        clean, carriage_return, _ = data.partition(b"\r")
        searched = max(0, len(self._pending) - 1)
        self._pending += clean
        start = 0
        while (end := self._pending.find(b"\n\n", max(start, searched))) >= 0:
            block = bytes(self._pending[start : end + 2])
            self._check(block)
            start = end + 2
            yield block
        del self._pending[:start]
        self._check(self._pending)
        if carriage_return:
            raise StreamRefused("a carriage return; the stream has been rewritten on its way")

    @staticmethod
    def _check(block: bytes | bytearray) -> None:
        if block[:1] == b"\n":
            raise StreamRefused("an empty block; the stream has been rewritten on its way")
        if len(block) > EVENT_BYTES_MAX:
            raise StreamRefused(f"an event is longer than {EVENT_BYTES_MAX} bytes")


class SignedComment(msgspec.Struct, frozen=True):
    """What an `: attest` line carries: the signed bytes and their detached JWS."""

    payload: bytes
    jws: str


def is_stream_media(media: str) -> bool:
    """Say whether a `Content-Type` is that of a stream, whatever its parameters.

    Args:
        media: the header's value; two values joined by a comma are not a stream's, since two
            parsers may each believe another one.

    Source: RFC 9110, section 8.3.1: a type is compared without regard to case.
    """
    return "," not in media and media.partition(";")[0].strip(" \t").lower() == MEDIA


def is_cut_comment(rest: bytes) -> bool:
    """Say whether octets without their blank line are comment lines alone, or nothing at all.

    Args:
        rest: what stands after the last blank line.
    """
    return not rest or all(line[:1] == b":" for line in rest.removesuffix(b"\n").split(b"\n"))


def is_comment_only(block: bytes) -> bool:
    """Say whether every line of a block is a comment, so that SSE clients skip it."""
    return all(line[:1] == b":" for line in block[:-2].split(b"\n"))


def signed_comment(payload: bytes, jws: str) -> bytes:
    """Return the comment block that carries a signed head or statement."""
    return _PREFIX + f"{base64url.encode(payload)} {jws}\n\n".encode("ascii")


def parse_signed_comment(block: bytes) -> SignedComment | None:
    """Read a comment block; None if it is some other comment, such as a keep-alive.

    Only a block's beginning makes it a signature: `: attest ` on a later line means nothing.

    Raises:
        StreamRefused: it says `attest` but is malformed or has a second line.
    """
    if not block.startswith(_PREFIX):
        return None
    if b"\n" in block[:-2]:
        raise StreamRefused("an attest comment of more than one line")
    try:
        payload, jws = block[len(_PREFIX) : -2].decode("ascii").split(" ")
        return SignedComment(payload=base64url.decode(payload), jws=jws)
    except (ValueError, UnicodeDecodeError) as error:
        raise StreamRefused("a malformed attest comment") from error
