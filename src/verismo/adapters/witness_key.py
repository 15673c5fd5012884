"""A witness's private key: a file of its own that nobody else can read.

Signing is OpenSSL's (cryptography), which the verifier needs anyway: a witness signs once a second.
"""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from verismo.adapters.secret_file import SECRET_BYTES, make_secret, read_secret
from verismo.attest.keys import PublicKey, import_key
from verismo.model.errors import StateError


class WitnessKey:
    """A `ports.signer.Signer` with the role `witness`.

    Args:
        path: file of exactly 32 bytes, the RFC 8032 seed; mode 0600.

    Raises:
        StateError: missing, readable by others, or not 32 bytes.
    """

    def __init__(self, path: Path) -> None:
        seed = read_secret(path)
        if len(seed) != SECRET_BYTES:
            raise StateError(
                f"{path} has {len(seed)} bytes; an Ed25519 seed has {SECRET_BYTES}",
                next_step="Put the key back from a copy, or make a new witness.",
            )
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public: PublicKey = import_key(self._key.public_key().public_bytes_raw(), "witness")

    @classmethod
    def make(cls, path: Path) -> "WitnessKey":
        """Make a new key; one that is there already is never replaced.

        Raises:
            StateError: there is one, or it cannot be written.
        """
        if not make_secret(path):
            raise StateError(f"{path} exists", next_step="Name another folder.")
        return cls(path)

    @property
    def kid(self) -> str:
        """The RFC 7638 thumbprint."""
        return self.public.kid

    @property
    def public_key(self) -> bytes:
        """The 32 raw bytes."""
        return self.public.raw

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature; see `ports.signer.Signer`."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"WitnessKey(kid={self.kid})"
