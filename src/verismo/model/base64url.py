"""Strict base64: one spelling for each value, so that signed texts are not malleable."""

import binascii


class NotBase64(ValueError):
    """The text is not the one canonical base64 spelling of any bytes."""


def encode(data: bytes) -> str:
    """Return base64url without padding (RFC 7515, section 2)."""
    spelled = binascii.b2a_base64(data, newline=False).rstrip(b"=").decode("ascii")
    return spelled.replace("+", "-").replace("/", "_")


def decode(text: str) -> bytes:
    """Decode canonical unpadded base64url.

    Raises:
        NotBase64: padding, white space, other characters, or stray bits in the last character.
    """
    padded = text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4)
    try:
        data = binascii.a2b_base64(padded, strict_mode=True)
    except ValueError as error:
        raise NotBase64("not base64url") from error
    if encode(data) != text:
        raise NotBase64("not the canonical base64url spelling")
    return data


def encode_binary_item(data: bytes) -> str:
    """Return an RFC 9651 byte sequence: `:base64:` with padding."""
    return f":{binascii.b2a_base64(data, newline=False).decode('ascii')}:"


def decode_binary_item(text: str) -> bytes:
    """Decode an RFC 9651 byte sequence in its canonical spelling, without parameters.

    Raises:
        NotBase64: missing colons, padding or any other spelling.
    """
    if len(text) < 2 or text[0] != ":" or text[-1] != ":":
        raise NotBase64("not a byte sequence between colons")
    spelled = text[1:-1]
    try:
        data = binascii.a2b_base64(spelled, strict_mode=True)
    except ValueError as error:
        raise NotBase64("not base64") from error
    if binascii.b2a_base64(data, newline=False).decode("ascii") != spelled:
        raise NotBase64("not the canonical base64 spelling")
    return data
