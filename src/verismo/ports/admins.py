"""Administrators: who may use the control API, and how much of it."""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from verismo.model.ids import KeyId

AdminRole = Literal["viewer", "operator", "admin"]
"""`viewer` reads, `operator` also acts, `admin` also changes who may do what."""


class AdminKey(msgspec.Struct, frozen=True):
    """What is kept of a control API key: never the key itself.

    Args:
        id: the public part of `va_<id>_<secret>`.
        name: who holds it; every act is recorded under this name.
        role: `viewer`, `operator` or `admin`.
        secret_sha256: hex SHA-256 of the whole key text, compared in constant time.
        created_ms: Unix ms.
        expires_ms: Unix ms, 0 for never.
        revoked_ms: Unix ms, 0 while in force.
    """

    id: KeyId
    name: str
    role: AdminRole
    secret_sha256: str
    created_ms: int = 0
    expires_ms: int = 0
    revoked_ms: int = 0


class Admins(Protocol):
    """The control API's keys. Every change is durable when the call returns.

    Used from any process and any thread; reads see every change that another process finished.
    A writer waits for another up to 5 s, then raises StateError. Nobody retries.
    """

    def admin_keys(self) -> Sequence[AdminKey]:
        """Return every key, revoked and expired ones included, by creation time."""
        ...

    def add_admin_key(self, key: AdminKey) -> None:
        """Store a new key.

        Raises:
            StateError: the id is taken or the store cannot be written.
        """
        ...

    def revoke_admin_key(self, key_id: KeyId, now_ms: int) -> AdminKey:
        """Revoke a key; revoking it again changes nothing.

        Raises:
            NotFound: no such key.
        """
        ...
