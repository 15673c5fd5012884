"""Server-sent events: cut bytes into events, keep what a client may see.

Speaks the line rules of the HTML standard: a line ends with LF, CRLF or CR, a blank line ends an
event, a line that starts with a colon is a comment. What comes out has LF ends only and no comment,
because the comments of our streams carry proofs and an upstream must not be able to write one.

Source: HTML standard, section 9.2 "Server-sent events".
"""

import re

from verismo.model.errors import UpstreamBroken

EVENT_BYTES_MAX = 1_048_576
"""Largest event, its blank line included: the limit that `dialect.StreamTranslator` promises."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_plain_events = re.compile(rb"data:[^\n]*\n\n").findall
"""Events of one line of data, which is all that most providers send."""


class SseSplitter:
    """Cuts one stream into events, however its chunks are cut. One object for each stream.

    An event that came with LF ends and without comments keeps its exact bytes.
    """

    __slots__ = ("_after_cr", "_at_start", "_pending", "_pending_bytes")

    def __init__(self) -> None:
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._after_cr = False
        self._at_start = True

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take bytes as they arrived and return the events that they complete, in order.

        Blocks without a `data:` line (comments, lone `id:` or `retry:` lines) are dropped: by the
        standard they dispatch nothing.

        Raises:
            UpstreamBroken: an event is over `EVENT_BYTES_MAX`; the stream cannot be used further.
        """
        if self._after_cr or b"\r" in chunk:
            chunk = self._with_line_feeds(chunk)
        pending = self._pending
        if not pending and not self._at_start and _is_one_event(chunk):
            return [chunk]
        if b"\n\n" not in chunk and not (
            pending and chunk.startswith(b"\n") and pending[-1].endswith(b"\n")
        ):
            self._hold(chunk)
            return []
        if pending:
            chunk = b"".join((*pending, chunk))
            pending.clear()
            self._pending_bytes = 0
        if self._at_start:
            self._at_start = False
            chunk = chunk.removeprefix(_BYTE_ORDER_MARK)
        if chunk.startswith(b"data:") and len(chunk) <= EVENT_BYTES_MAX:
            events: list[bytes] = _plain_events(chunk)
            plain = b"".join(events)
            rest = chunk[len(plain) :]
            # Plain ones from the first octet on, and no event of another shape behind them.
            if chunk.startswith(plain) and b"\n\n" not in rest:
                self._hold(rest)
                return events
        *blocks, rest = chunk.split(b"\n\n")
        self._hold(rest)
        return [event for block in blocks if (event := _event_of(block))]

    def rest(self) -> bytes:
        """Return the event that has begun and not ended, as far as it would count; else nothing."""
        rest = b"".join(self._pending)
        if self._at_start:
            rest = rest.removeprefix(_BYTE_ORDER_MARK)
        return _event_of(rest.rstrip(b"\n"))

    def _hold(self, part: bytes) -> None:
        if not part:
            return
        self._pending.append(part)
        self._pending_bytes += len(part)
        if self._pending_bytes > EVENT_BYTES_MAX:
            raise _too_large()

    def _with_line_feeds(self, chunk: bytes) -> bytes:
        """Replace CRLF and CR; the LF of a CRLF that was cut in two is swallowed."""
        if not chunk:
            return chunk
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._after_cr = False
        if chunk:
            self._after_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _is_one_event(chunk: bytes) -> bool:
    """Say whether a chunk is exactly one event as it should be, which most chunks are."""
    end = len(chunk) - 2
    return (
        chunk.startswith(b"data:")
        and chunk.find(b"\n\n") == end < EVENT_BYTES_MAX - 1
        and b"\n:" not in chunk
    )


def _event_of(block: bytes) -> bytes:
    """Return the octets of an event for a block of lines, or nothing if it dispatches nothing."""
    if len(block) + 2 > EVENT_BYTES_MAX:
        raise _too_large()
    if block.startswith(b"\n"):
        block = block.lstrip(b"\n")
    if block.startswith(b":") or b"\n:" in block:
        block = b"\n".join(line for line in block.split(b"\n") if not line.startswith(b":"))
    if not block.startswith(b"data:") and b"\ndata:" not in block:
        return b""
    return block + b"\n\n"


def _too_large() -> UpstreamBroken:
    return UpstreamBroken(f"the provider sent an event over {EVENT_BYTES_MAX} bytes")


def event_data(event: bytes) -> bytes:
    """Return the data of an event: its `data:` lines without the name, joined by LF.

    Args:
        event: as `SseSplitter.feed` returned it.
    """
    if event.startswith(b"data:") and event.find(b"\n") == len(event) - 2:
        return event[5:-2].removeprefix(b" ")
    return b"\n".join(
        line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")
    )


def is_done(event: bytes) -> bool:
    """Say whether an event is OpenAI's end marker; clients stop reading at it.

    Clients compare only the beginning of the data, so we do too: nothing that would stop a client
    early gets past this.
    """
    return b"[DONE]" in event and event_data(event).lstrip().startswith(b"[DONE]")
