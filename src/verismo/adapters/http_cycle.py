"""One request and its answer on the HTTP server: uvicorn's cycle, shorter for what is whole.

The head of an answer leaves together with the first piece of its body, in one write. A request's
body that is all here before the application asks for it is handed over without waiting.
"""

from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

WHOLE_BODY = "verismo.whole_body"
"""Name of our ASGI extension; its `take` is `Cycle.whole_body`."""
PIECE_BYTES = 65_536
"""What waits in a connection over TLS when it takes no more, and what is written to it at once."""

_CONTROL_CHARACTERS = bytes(code for code in (*range(32), 127) if code != 9)
_LINE_CONTROL_CHARACTERS = 2
"""CR and LF at a line's end, and no other."""
_BODILESS_STATUSES = frozenset({204, 304})


class Cycle(RequestResponseCycle):
    """What uvicorn's protocol calls a cycle; made for each request."""

    _head = b""

    def whole_body(self) -> bytes | None:
        """Return the request's body if all of it is here, else None: then `receive` waits for it.

        Whoever has all of it needs no `100 Continue` any more.
        """
        if self.more_body or self.disconnected or self.response_complete:
            return None
        body, self.body = bytes(self.body), bytearray()
        return body

    async def send(self, message: Any) -> None:  # noqa: ANN401 - ASGI's own
        """Take the head or a piece of the body; see the ASGI specification.

        Raises:
            RuntimeError: the message is out of its turn, a header holds a control character, or
                the body has another length than its header says; a mistake of ours.
        """
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        is_head = message["type"] == "http.response.start"
        if self.response_complete or is_head == self.response_started:
            raise RuntimeError(f"{message['type']} is out of its turn")
        if is_head:
            self.response_started = True
            self.waiting_for_100_continue = False
            self._head = self._spell_head(message["status"], message["headers"])
            return
        more_body = message.get("more_body", False)
        head, self._head = self._head, b""
        octets = head + self._spell_body(message.get("body", b""), more_body)
        if self.scope["scheme"] == "https" and len(octets) > PIECE_BYTES:
            await self._write_in_pieces(octets)
        elif octets:
            self.transport.write(octets)
        if not (more_body or self.disconnected):
            self._complete()

    async def _write_in_pieces(self, octets: bytes) -> None:
        """Write no faster than the client reads.

        What a large write leaves below TLS nobody sees: its client would be taken for idle, and the
        end of an idle connection gives it 30 s, however steadily it reads.

        Source: `ssl_shutdown_timeout` of asyncio and uvloop.
        """
        for start in range(0, len(octets), PIECE_BYTES):
            if self.flow.write_paused:
                await self.flow.drain()
            if self.disconnected:
                return
            self.transport.write(octets[start : start + PIECE_BYTES])

    def _spell_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        lines = [STATUS_LINE[status]]
        is_framed = False
        for name, value in (*self.default_headers, *headers):
            if name == b"connection" and value == b"close":
                self.keep_alive = False  # so says uvicorn's own 500
                continue
            lines.append(b"%b: %b\r\n" % (name, value))
            if name == b"content-length":
                self.expected_content_length = int(value)
                is_framed = True
            elif name == b"connection" or name == b"transfer-encoding":
                raise RuntimeError(f"the header {name.decode()} is the server's alone")
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        self.chunked_encoding = not (
            is_framed or self.scope["method"] == "HEAD" or status in _BODILESS_STATUSES
        )
        if self.chunked_encoding:
            lines.append(b"transfer-encoding: chunked\r\n")
        head = b"".join(lines)
        plain_octets = len(head.translate(None, _CONTROL_CHARACTERS))
        if len(head) - plain_octets != len(lines) * _LINE_CONTROL_CHARACTERS:
            raise RuntimeError("a header of the answer holds a control character")
        return head + b"\r\n"

    def _spell_body(self, body: bytes, more_body: bool) -> bytes:
        if self.scope["method"] == "HEAD":
            self.expected_content_length = 0
            return b""
        if self.chunked_encoding:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return chunk if more_body else chunk + b"0\r\n\r\n"
        self.expected_content_length -= len(body)
        if self.expected_content_length < 0 or (self.expected_content_length and not more_body):
            raise RuntimeError("the body has another length than its content-length says")
        return body

    def _complete(self) -> None:
        self.response_complete = True
        self.scope["extensions"].clear()  # it leads back here: a cycle that only the collector ends
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
