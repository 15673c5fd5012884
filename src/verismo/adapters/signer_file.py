"""The file signer: one Ed25519 key in a file that nobody else can read.

Made at the first start. Signing is libsodium's (PyNaCl), about twice as fast as OpenSSL's here.
"""

import os
import stat
from pathlib import Path

from nacl.bindings import crypto_sign, crypto_sign_seed_keypair
from nacl.exceptions import CryptoError

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
        seed = _read_private(path)
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


def make_secret(path: Path, octets: int = SEED_BYTES) -> bool:
    """Make a secret file if it is not there: complete or absent, never half, mode 0600.

    Args:
        path: where; its folder is made with mode 0700.
        octets: how many random bytes.

    Returns:
        True if it was made now. Two processes at once agree on one file.

    Raises:
        StateError: the folder or file cannot be written.
    """
    return store_secret(path, os.urandom(octets))


def store_secret(path: Path, content: bytes) -> bool:
    """Store a file that is complete or absent, never half, and never replaced; mode 0600.

    Args:
        path: where; its folder is made with mode 0700.
        content: all of it.

    Returns:
        True if it was stored now; False if a file stood there already and stays as it is.

    Raises:
        StateError: the folder or file cannot be written.
    """
    if path.exists():
        return False
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(partial, path)  # fails where another process was first; its file stands
        except FileExistsError:
            return False
        finally:
            partial.unlink()
        _sync_folder(path.parent)
    except OSError as error:
        raise StateError(
            f"cannot make {path}: {error.strerror}",
            next_step="Give the data folder to the user that runs Verismo.",
        ) from error
    return True


def read_secret(path: Path) -> bytes:
    """Read a secret file that nobody else may read.

    Raises:
        StateError: missing, or readable by group or others.
    """
    return _read_private(path)


def _read_private(path: Path) -> bytes:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise StateError(
                f"{path} can be read by others (mode {mode:04o})",
                next_step=f"chmod 600 {path}; if others may have read it, replace the key.",
            )
        return path.read_bytes()
    except OSError as error:
        raise StateError(
            f"cannot read {path}: {error.strerror}",
            next_step="Check that the data folder is the right one and whole.",
        ) from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
