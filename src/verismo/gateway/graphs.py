"""Graphs in the formats that are not stored: pictures, PROV-JSON and DOT, made when asked for.

Making one takes the more time the larger the graph is. So it happens in a thread, one at a time,
and the event loop goes on; who asks while many others wait is told to come back.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Literal, cast, get_args
from urllib.parse import parse_qs

import msgspec

from verismo.attest import provdot, provjson, provsvg
from verismo.attest.provenance import read_graph
from verismo.attest.provview import view_graph
from verismo.model import base64url
from verismo.model.errors import MalformedRequest, Overloaded
from verismo.model.traffic import Reply
from verismo.ports.journal import Record

Format = Literal["json", "svg", "prov-json", "dot"]
FORMATS: Final = get_args(Format)
WAITING_MAX: Final = 16
"""Graphs that may wait to be made in one worker; the largest takes about a second."""
RETRY_S: Final = 1


class Media(msgspec.Struct, frozen=True):
    """How a format is made and served.

    Args:
        write: makes it from a record, whose graph is sound.
        media: content type.
        policy: Content-Security-Policy; empty for what no browser shows as a document.
    """

    write: Callable[[Record], bytes]
    media: str
    policy: str = ""


def read_format(query: bytes) -> Format:
    """Return the format that a query asks for, `json` if it names none.

    Raises:
        MalformedRequest: an unknown format, or more than one; names the known ones.
    """
    asked = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("format", ["json"])
    if len(asked) != 1 or asked[0] not in FORMATS:
        raise MalformedRequest(f"`format` is one of {', '.join(FORMATS)}, and stands once")
    return cast("Format", asked[0])


def _svg(record: Record) -> bytes:
    graph, _ = read_graph(record.graph)
    return provsvg.write_svg(view_graph(graph), "?format=svg")


def _prov_json(record: Record) -> bytes:
    graph, _ = read_graph(record.graph)
    statement, signature = base64url.encode(record.statement), record.jws.decode("ascii")
    return provjson.write_prov_json(provjson.ProvRecord(graph, statement, signature))


def _dot(record: Record) -> bytes:
    graph, _ = read_graph(record.graph)
    return provdot.write_dot(view_graph(graph))


MEDIA: Final[Mapping[Format, Media]] = {
    "svg": Media(_svg, provsvg.MEDIA, provsvg.POLICY),
    "prov-json": Media(_prov_json, provjson.MEDIA),
    "dot": Media(_dot, provdot.MEDIA),
}
"""Every format but the stored one."""


class GraphWriter:
    """Makes graphs in other formats than the stored one, one after another in a thread.

    Args:
        media: how each format is made.
    """

    def __init__(self, media: Mapping[Format, Media] = MEDIA) -> None:
        self._media = media
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="graphs")
        self._waiting: list[Future[bytes]] = []

    def reply(self, record: Record, asked: Format) -> Reply:
        """Answer a record's graph in a format; it is made while the answer is waited for.

        Args:
            record: as the journal has it.
            asked: not `json`, which is not made but stored.

        Raises:
            Overloaded: too many others wait.
        """
        self._waiting = [one for one in self._waiting if not one.done()]
        if len(self._waiting) >= WAITING_MAX:
            raise Overloaded("too many graphs are being made", retry_after_s=RETRY_S)
        how = self._media[asked]
        made = self._pool.submit(how.write, record)
        self._waiting.append(made)
        headers = [
            (b"content-type", how.media.encode("ascii")),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
        ]
        if how.policy:
            headers.append((b"content-security-policy", how.policy.encode("ascii")))
        return Reply(status=200, headers=headers, events=_whole(made))


async def _whole(made: Future[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield the one block that a document is."""
    yield await asyncio.wrap_future(made)
