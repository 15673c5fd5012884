"""The signer: whoever holds a private key. Its roles are never shared (decisions 7)."""

from typing import Protocol


class Signer(Protocol):
    """Signs with one Ed25519 key of one role.

    The file signer is the default; the same contract fits PKCS#11 and key management services.
    Concurrency: called from one thread. No retries inside.
    """

    @property
    def kid(self) -> str:
        """The RFC 7638 thumbprint of the public key."""
        ...

    @property
    def public_key(self) -> bytes:
        """The 32 raw bytes of the public key."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature (RFC 8032, pure) of a message.

        Raises:
            SigningFailed: no signature could be made; fail closed.
        """
        ...


class SigningFailed(Exception):
    """The key holder refused or could not be reached. Nothing may be served for it."""
