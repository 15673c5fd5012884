"""Removing a content coding (gzip, deflate) piece by piece, within a limit.

Strict: a truncated or damaged stream, or octets after its end, make the answer `UpstreamBroken`.
"""

import zlib

from verismo.model.errors import UpstreamBroken

_WINDOW_BITS = {
    b"gzip": 16 + zlib.MAX_WBITS,
    b"x-gzip": 16 + zlib.MAX_WBITS,
    b"deflate": zlib.MAX_WBITS,  # RFC 9110 8.4.1.2: the zlib format, not bare deflate
}


class Inflater:
    """One answer's coding being removed.

    Args:
        coding: the `content-encoding` as received.

    Raises:
        UpstreamBroken: a coding that was never asked for.

    Source: RFC 9110 8.4.1, RFC 1950, RFC 1952.
    """

    __slots__ = ("_begun", "_bits", "_stream")

    def __init__(self, coding: bytes) -> None:
        bits = _WINDOW_BITS.get(coding.strip(b" \t").lower())
        if bits is None:
            raise UpstreamBroken("the answer has a content coding that was not asked for")
        self._bits = bits
        self._stream = zlib.decompressobj(bits)
        self._begun = False

    def feed(self, data: bytes, room_bytes: int) -> bytes:
        """Return the plain octets of some coded ones; more than `room_bytes` means too large.

        Args:
            data: coded octets as received.
            room_bytes: how many plain octets may still come; one more is returned at most, which
                bounds what a decompression bomb can cost.

        Raises:
            UpstreamBroken: the octets are not of that coding.
        """
        plain = bytearray()
        try:
            while data and len(plain) <= room_bytes:
                if self._stream.eof:
                    if self._bits == zlib.MAX_WBITS:
                        raise UpstreamBroken("the answer goes on after its compressed stream")
                    self._stream = zlib.decompressobj(self._bits)  # RFC 1952 2.2: next member
                self._begun = True
                plain += self._stream.decompress(data, room_bytes + 1 - len(plain))
                data = self._stream.unconsumed_tail or self._stream.unused_data
        except zlib.error as error:
            raise UpstreamBroken("the answer's compression is damaged") from error
        return bytes(plain)

    def finish(self) -> None:
        """Check that the stream reached its end.

        Raises:
            UpstreamBroken: it was cut short.
        """
        if self._begun and not self._stream.eof:
            raise UpstreamBroken("the answer's compressed stream is cut short")
