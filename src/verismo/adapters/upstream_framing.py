"""Judging an answer's head: is it certain where the body ends, and may the connection be kept?

RFC 9112 6.3, but stricter: what the RFC resolves by precedence (a transfer coding beats a length)
or by tolerance (lists of equal lengths) is refused, because two parsers on the path may resolve it
differently, and the difference is how answers are smuggled.
"""

from typing import NamedTuple


class Framing(NamedTuple):
    """The verdict on a head.

    Args:
        doubt: why the answer must be refused, or empty.
        reusable: whether the connection may carry another call afterwards.
        until_close: whether the body ends only with the connection.
    """

    doubt: str
    reusable: bool
    until_close: bool


_DELIMITED = Framing("", reusable=True, until_close=False)
_DELIMITED_ONCE = Framing("", reusable=False, until_close=False)
_UNTIL_CLOSE = Framing("", reusable=False, until_close=True)


def judge(
    status: int, version: str, headers: dict[bytes, bytes], *, method: str, secure: bool
) -> Framing:
    """Return the verdict on the head of a final (not interim) answer.

    Args:
        status: 200 or more.
        version: of HTTP, such as `1.1`.
        headers: lower-case names; a name that stood twice is the caller's to refuse.
        method: of the request that is answered.
        secure: whether the connection runs over TLS.

    Source: RFC 9112 6.1, 6.3, 9.8; RFC 9110 8.6, 15.
    """
    coding = headers.get(b"transfer-encoding")
    length = headers.get(b"content-length")
    if status > 599 or version not in ("1.1", "1.0"):
        return _refusal("the upstream does not speak HTTP/1.1")
    if coding is not None and (
        length is not None or coding.lower() != b"chunked" or version != "1.1"
    ):
        return _refusal("the answer's transfer coding leaves its length in doubt")
    if length is not None and not length.isdigit():
        return _refusal("the answer's content-length is not a number")
    if method == "HEAD" or status in (204, 304):
        # No body follows, whatever the headers say; of a 204 that says it has one, and of HEAD,
        # which llhttp does not know, we had rather not see more.
        odd = method == "HEAD" or (status == 204 and (length or coding))
        return _DELIMITED_ONCE if odd or version != "1.1" else _DELIMITED
    if coding is None and length is None:
        if secure:
            # Without close_notify a cut answer looks like a whole one.
            return _refusal("the answer over TLS does not say where it ends")
        return _UNTIL_CLOSE
    return _DELIMITED if version == "1.1" else _DELIMITED_ONCE


def head_bytes(headers: dict[bytes, bytes]) -> int:
    """Return what a head weighs without its frame; for one that came together with its body."""
    return sum(len(name) + len(value) for name, value in headers.items())


def _refusal(doubt: str) -> Framing:
    return Framing(doubt, reusable=False, until_close=False)
