"""The text of a key: `vk_<id>_<secret>` calls the gateway, `va_<id>_<secret>` the control API.

The id is public and finds the record; the secret holds 256 random bits, so a plain SHA-256 of the
whole text is all that is stored. Letters, digits and `_` only: a double click selects all of it.
"""

import base64
import hashlib
import hmac
from typing import Literal, Protocol

import msgspec

from verismo.model.ids import KeyId

KeyState = Literal["in force", "revoked", "expired"]
KeyPrefix = Literal["vk", "va"]
"""`vk` for a tenant's API key, `va` for an administrator's key to the control API."""

RANDOM_BYTES = 39
"""What a new key needs: 32 bytes of secret and 7 from which the id is cut."""
ID_CHARACTERS = 10
"""50 bits: among a million keys two share an id once in about 2,000 installations; the store
refuses the second."""
SECRET_CHARACTERS = 43
"""The least number of base62 digits that hold 256 bits."""

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_ALPHABET = frozenset("abcdefghijklmnopqrstuvwxyz234567")
_SECRET_ALPHABET = frozenset(_BASE62)


class ApiKeyText(msgspec.Struct, frozen=True):
    """A whole key as its holder has it. Shown once, stored nowhere; `repr` hides the secret.

    Args:
        id: the public part.
        text: all of it.
    """

    id: KeyId
    text: str

    def __repr__(self) -> str:
        return f"ApiKeyText({self.text[:3]}{self.id}_...)"


class Revocable(Protocol):
    """A stored key of either kind: when it ends."""

    @property
    def expires_ms(self) -> int:
        """Unix ms, 0 for never."""
        ...

    @property
    def revoked_ms(self) -> int:
        """Unix ms, 0 while in force."""
        ...


def new_api_key(random: bytes, prefix: KeyPrefix = "vk") -> ApiKeyText:
    """Spell a new key from random bytes.

    Args:
        random: exactly 39 bytes of a cryptographic random source.
        prefix: `vk` for a tenant's key, `va` for an administrator's.

    Raises:
        ValueError: `random` is not 39 bytes long; a mistake of ours.
    """
    if len(random) != RANDOM_BYTES:
        raise ValueError(f"a key needs exactly {RANDOM_BYTES} random bytes")
    key_id = base64.b32encode(random[32:]).decode("ascii").lower()[:ID_CHARACTERS]
    secret = _base62(int.from_bytes(random[:32], "big"))
    return ApiKeyText(KeyId(key_id), f"{prefix}_{key_id}_{secret}")


def parse_api_key(text: str, prefix: KeyPrefix = "vk") -> ApiKeyText | None:
    """Take a key apart.

    Args:
        text: what the caller sent; any length, any characters.
        prefix: the kind of key that is wanted here; the other kind is not a key.

    Returns:
        The key, or None if the text is not spelled like one.
    """
    if len(text) != len(prefix) + ID_CHARACTERS + SECRET_CHARACTERS + 2:
        return None
    parts = text.split("_")
    if len(parts) != 3 or parts[0] != prefix or len(parts[1]) != ID_CHARACTERS:
        return None
    if not (_ID_ALPHABET.issuperset(parts[1]) and _SECRET_ALPHABET.issuperset(parts[2])):
        return None
    return ApiKeyText(KeyId(parts[1]), text)


def key_sha256(key: ApiKeyText) -> str:
    """Return the hex SHA-256 of the whole text: what is stored of a key."""
    return hashlib.sha256(key.text.encode("ascii")).hexdigest()


def key_matches(key: ApiKeyText, secret_sha256: str) -> bool:
    """Say, in constant time, whether a stored hash is that of this key.

    Args:
        key: what the caller sent.
        secret_sha256: hex SHA-256 of the stored record with the same id.
    """
    return hmac.compare_digest(key_sha256(key), secret_sha256)


def is_in_force(key: Revocable, now_ms: int) -> bool:
    """Say whether a stored key is neither revoked nor expired; it ends at `expires_ms` sharp."""
    return key.revoked_ms == 0 and (key.expires_ms == 0 or now_ms < key.expires_ms)


def key_state(key: Revocable, now_ms: int) -> KeyState:
    """Say for people how a stored key stands; revoked counts before expired."""
    if is_in_force(key, now_ms):
        return "in force"
    return "revoked" if key.revoked_ms else "expired"


def _base62(number: int) -> str:
    digits = []
    for _ in range(SECRET_CHARACTERS):
        number, digit = divmod(number, 62)
        digits.append(_BASE62[digit])
    return "".join(reversed(digits))
