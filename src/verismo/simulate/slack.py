"""An incoming webhook of Slack on a socket, with the limits of Block Kit that Slack documents.

It takes what Slack takes, refuses the rest with the words that Slack uses, and keeps what it took.
It stands for Slack in tests and demonstrations. What Slack does beyond its documentation it does
not know.

Source: Slack's reference of blocks, of text objects and of incoming webhooks.
"""

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Final, Literal

import msgspec

BLOCKS_MAX: Final = 50
HEADER_CHARS_MAX: Final = 150
SECTION_CHARS_MAX: Final = 3_000
FIELDS_MAX: Final = 10
FIELD_CHARS_MAX: Final = 2_000
CONTEXT_ELEMENTS_MAX: Final = 10
TEXT_CHARS_MAX: Final = 40_000
"""Slack cuts a longer `text`; a card never comes near it, so it is refused here."""
_BODY_BYTES_MAX: Final = 1_048_576
_MEDIA: Final = "application/json"
_PATH: Final = "/services/"


class _Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: Literal["plain_text", "mrkdwn"]
    text: str
    emoji: bool | None = None
    verbatim: bool | None = None


class _Header(
    msgspec.Struct, frozen=True, tag_field="type", tag="header", forbid_unknown_fields=True
):
    text: _Text


class _Section(
    msgspec.Struct, frozen=True, tag_field="type", tag="section", forbid_unknown_fields=True
):
    text: _Text | None = None
    fields: tuple[_Text, ...] | None = None


class _Context(
    msgspec.Struct, frozen=True, tag_field="type", tag="context", forbid_unknown_fields=True
):
    elements: tuple[_Text, ...]


class _Divider(
    msgspec.Struct, frozen=True, tag_field="type", tag="divider", forbid_unknown_fields=True
):
    pass


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a webhook takes; the kinds of blocks that cards are made of.

    Args:
        text: for notifications.
        blocks: what is shown.
    """

    text: str = ""
    blocks: tuple[_Header | _Section | _Context | _Divider, ...] = ()


def message_fault(body: bytes) -> str:
    """Return the word with which Slack refuses a body; empty for one that it takes."""
    try:
        message = msgspec.json.decode(body, type=Message)
    except msgspec.ValidationError:
        return "invalid_blocks"
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "invalid_payload"
    if not message.text:
        return "no_text"
    if len(message.text) > TEXT_CHARS_MAX or len(message.blocks) > BLOCKS_MAX:
        return "invalid_blocks"
    return "invalid_blocks" if any(_is_refused(one) for one in message.blocks) else ""


def _is_refused(block: _Header | _Section | _Context | _Divider) -> bool:
    if isinstance(block, _Header):
        return block.text.type != "plain_text" or not _fits(block.text, HEADER_CHARS_MAX)
    if isinstance(block, _Context):
        count = len(block.elements)
        fits = all(_fits(one, SECTION_CHARS_MAX) for one in block.elements)
        return not 1 <= count <= CONTEXT_ELEMENTS_MAX or not fits
    if isinstance(block, _Section):
        return not _is_section(block)
    return False


def _is_section(block: _Section) -> bool:
    if block.text is None and block.fields is None:
        return False
    fields = block.fields
    if fields is not None and not 1 <= len(fields) <= FIELDS_MAX:
        return False
    return all(_fits(one, FIELD_CHARS_MAX) for one in fields or ()) and (
        block.text is None or _fits(block.text, SECTION_CHARS_MAX)
    )


def _fits(text: _Text, chars_max: int) -> bool:
    units = len(text.text.encode("utf-16-le", "surrogatepass")) // 2
    wrong = text.emoji is not None and text.type == "mrkdwn"
    return 1 <= units <= chars_max and not wrong


_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class Planned(msgspec.Struct, frozen=True):
    """An answer that is given instead of the usual one.

    Args:
        status: of the answer.
        words: its body.
        headers: such as `retry-after`.
    """

    status: int
    words: str
    headers: Mapping[str, str] = _NO_HEADERS


class SimulatedSlack:
    """What a simulated webhook took, and what it answers next; any thread."""

    def __init__(self) -> None:
        self.url = ""
        self._changed = threading.Condition()
        self._taken: list[bytes] = []
        self._planned: deque[Planned] = deque()
        self._asked = 0

    @property
    def taken(self) -> tuple[bytes, ...]:
        """The bodies that were taken, in order."""
        with self._changed:
            return tuple(self._taken)

    @property
    def asked(self) -> int:
        """How many requests came, refused ones too."""
        with self._changed:
            return self._asked

    def plan(self, *answers: Planned) -> None:
        """Give these answers to the next requests, whatever they hold."""
        with self._changed:
            self._planned.extend(answers)

    def wait_for_taken(self, count: int, timeout_s: float = 10.0) -> bool:
        """Wait until so many bodies were taken; False if they do not come in time."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._taken) >= count, timeout_s)

    def answer(self, path: str, body: bytes) -> Planned:
        """Judge one request."""
        with self._changed:
            self._asked += 1
            planned = self._planned.popleft() if self._planned else None
            if planned is None:
                planned = _judge(path, body)
            if planned.status == 200:
                self._taken.append(body)
            self._changed.notify_all()
            return planned


def _judge(path: str, body: bytes) -> Planned:
    if not path.startswith(_PATH):
        return Planned(404, "no_service")
    fault = message_fault(body)
    return Planned(400, fault) if fault else Planned(200, "ok")


class _Handler(BaseHTTPRequestHandler):
    """One connection; the server has the webhook."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer goes out in one piece
    server: "_Server"

    def do_POST(self) -> None:
        """Answer one post."""
        size = int(self.headers.get("content-length", "0"))
        body = self.rfile.read(min(size, _BODY_BYTES_MAX))
        if self.headers.get("content-type") != _MEDIA or size > _BODY_BYTES_MAX:
            answer = Planned(400, "invalid_payload")
        else:
            answer = self.server.slack.answer(self.path, body)
        words = answer.words.encode("ascii")
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(words)))
        self.end_headers()
        self.wfile.write(words)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the address is a secret, also a simulated one."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, slack: SimulatedSlack) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.slack = slack


@contextmanager
def running_slack() -> Iterator[SimulatedSlack]:
    """Serve a simulated webhook on a free port of this machine while the block runs.

    Yields:
        What it took; `url` is its address.
    """
    slack = SimulatedSlack()
    with _Server(slack) as server:
        slack.url = f"http://127.0.0.1:{server.server_port}{_PATH}T0/B0/SIMULATED"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="slack")
        thread.start()
        try:
            yield slack
        finally:
            server.shutdown()
            thread.join()
