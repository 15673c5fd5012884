"""The file signer: one Ed25519 key in a file that nobody else can read.

Made at the first start. Signing is libsodium's (PyNaCl), about twice as fast as OpenSSL's here.
"""

from pathlib import Path

from nacl.bindings import crypto_sign, crypto_sign_seed_keypair
from nacl.exceptions import CryptoError

from verismo.adapters.secret_file import read_secret
from verismo.attest.keys import PublicKey, Role, import_key
from verismo.model.errors import StateError
from verismo.ports.signer import SigningFailed

SEED_BYTES = 32
SIGNATURE_BYTES = 64


class FileSigner:
    """Signs with a key read once from a file.

    Args:
        path: file of exactly 32 bytes, the RFC 8032 seed; mode 0600.
        role: what the key may sign.

    Raises:
        StateError: missing, readable by others, or not 32 bytes.
    """

    def __init__(self, path: Path, role: Role) -> None:
        seed = read_secret(path)
        if len(seed) != SEED_BYTES:
            raise StateError(
                f"{path} has {len(seed)} bytes; an Ed25519 seed has {SEED_BYTES}",
                next_step="Restore the key from a backup. Do not make a new one in its place: "
                "answers signed by the old one could no longer be told from forged ones.",
            )
        public, self._secret = crypto_sign_seed_keypair(seed)
        self.public: PublicKey = import_key(public, role)

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
        try:
            return crypto_sign(message, self._secret)[:SIGNATURE_BYTES]
        except CryptoError as error:
            raise SigningFailed("libsodium refused to sign") from error

    def __repr__(self) -> str:
        return f"FileSigner(kid={self.kid})"
