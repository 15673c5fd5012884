"""Identifiers as distinct types, and the UUIDv7 of an answer.

A `prov_id` names one answer for ever. It is a UUIDv7 (RFC 9562, 5.7): its first 48 bits are the
time in milliseconds, so records sort by time and an index over them only ever grows at its end.
"""

import re
from typing import NewType

TenantId = NewType("TenantId", str)
OperationId = NewType("OperationId", str)
DeploymentId = NewType("DeploymentId", str)
ProviderId = NewType("ProviderId", str)
KeyId = NewType("KeyId", str)
"""The public part of an API key: enough to find it, useless to call with."""
ProvId = NewType("ProvId", str)
"""A UUIDv7 in its canonical 36-character text form."""

_canonical = re.compile(
    "[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
).fullmatch


def prov_id_from(now_ms: int, random: bytes) -> ProvId:
    """Build a UUIDv7 from a clock reading and random bytes.

    Args:
        now_ms: Unix time, 0 <= now_ms < 2**48, milliseconds.
        random: exactly 10 random bytes; 6 of their 80 bits are overwritten by version and variant.

    Returns:
        The identifier as lower-case text, 36 characters.

    Raises:
        ValueError: `random` is not 10 bytes long or the time is out of range; a mistake of ours.

    Source: RFC 9562, section 5.7.
    """
    if len(random) != 10:
        raise ValueError("a prov_id needs exactly 10 random bytes")
    if not 0 <= now_ms < 2**48:
        raise ValueError("a prov_id holds a time of 48 bits")
    h = now_ms.to_bytes(6, "big").hex() + random.hex()
    variant = "89ab"[random[2] >> 4 & 3]
    return ProvId(f"{h[:8]}-{h[8:12]}-7{h[13:16]}-{variant}{h[17:20]}-{h[20:]}")


def prov_id_bytes(prov_id: str) -> bytes:
    """Return the 16 bytes that are hashed for a prov_id (decisions 2).

    Raises:
        ValueError: the text is not a canonical lower-case UUIDv7.
    """
    if not is_prov_id(prov_id):
        raise ValueError("not a canonical UUIDv7")
    return bytes.fromhex(prov_id.replace("-", ""))


def is_prov_id(text: str) -> bool:
    """Say whether a text is a UUIDv7 in canonical lower-case form."""
    return _canonical(text) is not None
