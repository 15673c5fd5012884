"""Strict base64: one spelling for each value, so that signed texts are not malleable."""

import base64
import binascii


class NotBase64(ValueError):
    """The text is not the one canonical base64 spelling of any bytes."""


def encode(data: bytes) -> str:
    """Return base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """Decode canonical unpadded base64url.

    Raises:
        NotBase64: padding, white space, other characters, or stray bits in the last character.
    """
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise NotBase64("not base64url") from error
    if encode(data) != text:
        raise NotBase64("not the canonical base64url spelling")
    return data


def encode_binary_item(data: bytes) -> str:
    """Return an RFC 9651 byte sequence: `:base64:` with padding."""
    return f":{base64.b64encode(data).decode('ascii')}:"


def decode_binary_item(text: str) -> bytes:
    """Decode an RFC 9651 byte sequence in its canonical spelling, without parameters.

    Raises:
        NotBase64: missing colons, padding or any other spelling.
    """
    if len(text) < 2 or text[0] != ":" or text[-1] != ":":
        raise NotBase64("not a byte sequence between colons")
    try:
        data = base64.b64decode(text[1:-1], validate=True)
    except (binascii.Error, ValueError) as error:
        raise NotBase64("not base64") from error
    if encode_binary_item(data) != text:
        raise NotBase64("not the canonical base64 spelling")
    return data
