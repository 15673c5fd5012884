"""The SIEM sink that speaks syslog over TCP, with or without TLS.

Each event is one RFC 5424 message, framed by octet counting. Syslog has no acknowledgement: `send`
returns once the receiving host's TCP has taken every octet and the connection still stands (asked
of the kernel, so this runs on Linux only). What the receiver loses after that, parity finds. A
message over the limit is refused, never cut: a cut event would be an altered one.

Source: RFC 5424 (message), RFC 6587 section 3.4.1 (octet counting), RFC 5425 (TLS).
"""

import asyncio
import fcntl
import socket
import ssl
import struct
import termios
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from verismo.model.siem import SiemEvent
from verismo.ports.siem import Refusal, SinkUnavailable

MESSAGE_BYTES_MAX: Final = 8_192
"""RFC 5425 asks receivers to take this much; rsyslog cuts at 8 KiB unless told otherwise."""
FACILITY_LOG_AUDIT: Final = 13
UNKNOWN_ENTERPRISE: Final = 32_473
"""RFC 5612: the enterprise number for documentation; set your own with `structured_data_id`."""
_SEVERITIES: Final = {1: 6, 2: 5, 3: 4, 4: 3, 5: 2, 6: 0}
"""OCSF's severity_id to syslog's severity: informational, notice, warning, error, critical."""
_NIL: Final = "-"
_QUEUE_POLL_S: Final = 0.002
_ESTABLISHED: Final = 1
"""The first octet of Linux's `struct tcp_info`."""
_HOSTNAME_CHARS_MAX: Final = 255


class SyslogSettings(msgspec.Struct, frozen=True):
    """A receiver and how it is spoken to.

    Args:
        host, port: where it listens.
        tls: speak TLS.
        ca_file: PEM certificates to trust instead of the system's; with `tls` only.
        hostname: HOSTNAME of the messages: printable ASCII without spaces.
        structured_data_id: SD-ID of what is said about an event, such as `verismo@32473`.
        message_bytes_max: longest message, octets, without its frame.
        timeout_s: for connecting, and for handing a batch over.
    """

    host: str
    port: int
    tls: bool = False
    ca_file: Path | None = None
    hostname: str = _NIL
    structured_data_id: str = f"verismo@{UNKNOWN_ENTERPRISE}"
    message_bytes_max: int = MESSAGE_BYTES_MAX
    timeout_s: float = 10.0


class SyslogSink:
    """A `SiemSink` over one TCP connection that is kept open.

    Args:
        settings: the receiver.
    """

    def __init__(self, settings: SyslogSettings) -> None:
        self._settings = settings
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, events: Sequence[SiemEvent]) -> Sequence[Refusal]:
        """Hand a batch to the receiving host; what is too long is refused.

        Raises:
            SinkUnavailable: no connection, or it broke or stalled before all was taken.
        """
        limit = self._settings.message_bytes_max
        refusals: list[Refusal] = []
        frames: list[bytes] = []
        for position, event in enumerate(events):
            message = syslog_message(event, self._settings)
            if len(message) > limit:
                reason = f"the message has {len(message)} octets, over message_bytes_max {limit}"
                refusals.append(Refusal(position, reason))
            else:
                frames.append(f"{len(message)} ".encode("ascii") + message)
        if frames:
            await self._hand_over(b"".join(frames))
        return refusals

    async def aclose(self) -> None:
        """Close the connection."""
        writer, self._writer, self._reader = self._writer, None, None
        if writer is None:
            return
        writer.close()
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                await writer.wait_closed()
        except OSError:
            # It was broken already; what matters was said by `send`. TimeoutError is an OSError.
            writer.transport.abort()

    async def _hand_over(self, data: bytes) -> None:
        place = f"{self._settings.host}:{self._settings.port}"
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                reader, writer = await self._connection()
                writer.write(data)
                await writer.drain()
                await _wait_taken(writer)
                if _is_gone(reader, writer):
                    raise ConnectionResetError("the receiver closed the connection")
        except TimeoutError as error:
            self._drop()
            raise SinkUnavailable(
                f"syslog {place}: not taken within {self._settings.timeout_s:g} s"
            ) from error
        except OSError as error:
            self._drop()
            raise SinkUnavailable(f"syslog {place}: {error.strerror or error}") from error
        except asyncio.CancelledError:
            self._drop()
            raise

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is not None and self._writer is not None:
            if not _is_gone(self._reader, self._writer):
                return self._reader, self._writer
            self._drop()
        self._reader, self._writer = await asyncio.open_connection(
            self._settings.host, self._settings.port, ssl=_tls_context(self._settings)
        )
        # With this, drain() waits until the transport holds nothing back.
        self._writer.transport.set_write_buffer_limits(high=0)
        return self._reader, self._writer

    def _drop(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None


def syslog_message(event: SiemEvent, settings: SyslogSettings) -> bytes:
    """Return an event as an RFC 5424 message, without its frame.

    Args:
        event: what happened.
        settings: the names that the header carries.
    """
    priority = FACILITY_LOG_AUDIT * 8 + _SEVERITIES.get(event.severity, 6)
    moment = datetime.fromtimestamp(event.time_ms / 1_000, UTC)
    stamp = moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{event.time_ms % 1_000:03d}Z"
    hostname = settings.hostname[:_HOSTNAME_CHARS_MAX] or _NIL
    facts = {"uid": event.uid, "sequence": str(event.index), "log": event.log}
    said = " ".join(f'{name}="{_escaped(value)}"' for name, value in facts.items())
    header = f"<{priority}>1 {stamp} {hostname} verismo {_NIL} {event.kind}"
    # No byte order mark: JSON must not begin with one (RFC 8259, 8.1), so the text is MSG-ANY.
    return f"{header} [{settings.structured_data_id} {said}] ".encode() + event.data


def _escaped(value: str) -> str:
    """Escape a parameter value (RFC 5424, section 6.3.3)."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")


def _tls_context(settings: SyslogSettings) -> ssl.SSLContext | None:
    if not settings.tls:
        return None
    return ssl.create_default_context(cafile=settings.ca_file)


def _is_gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Say whether the connection is no longer whole, by what the kernel knows at this moment.

    The event loop may not have looked yet: an end that has come makes CLOSE_WAIT, a reset CLOSE.
    """
    if reader.at_eof() or writer.is_closing():
        return True
    connection = writer.get_extra_info("socket")
    state: int = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    return state != _ESTABLISHED


async def _wait_taken(writer: asyncio.StreamWriter) -> None:
    """Wait until the other host has acknowledged every octet: the kernel's queue is empty."""
    descriptor = writer.get_extra_info("socket").fileno()
    while not writer.is_closing():
        waiting = fcntl.ioctl(descriptor, termios.TIOCOUTQ, b"\0" * 4)
        if writer.transport.get_write_buffer_size() == 0 and struct.unpack("i", waiting) == (0,):
            return
        await asyncio.sleep(_QUEUE_POLL_S)
