"""The key ring in files: `keyring/00000001.json`, ... and the private keys in `keys/`.

The versions are public and lie outside of `keys/`, so that a backup without keys holds them. Each
is written once, under a name that only one process can take; the private key that a version
announces is durable before the version is.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec
from nacl.bindings import crypto_sign_seed_keypair

from verismo.adapters.secret_file import store_secret
from verismo.adapters.signer_file import SEED_BYTES, FileSigner
from verismo.attest.keys import Role, thumbprint
from verismo.model import base64url
from verismo.model.errors import StateError
from verismo.ports.keyring import RingVersion

RING_FOLDER = "keyring"
KEYS_FOLDER = "keys"
FIRST_TOKEN_KEY = "token.key"
"""The name of a token key from before there was a ring; the first one still gets it."""

_KEY_NAME = re.compile(r"[a-z]+-[A-Za-z0-9_-]{43}\.key")


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version's file."""

    version: int
    statement: str
    jws: str
    written_ms: int


class KeyRingFiles:
    """The ring and the private keys of a data folder; see `ports.keyring.KeyRingStore`.

    `versions()` is what the ledger reads: every version is a leaf of type 3, its bytes being
    `statement` and `jws`. Versions come from 1 without a gap and never change, so a cursor is the
    number of the last one that was taken.

    Args:
        data: the data folder.
    """

    def __init__(self, data: Path) -> None:
        self._folder = data / RING_FOLDER
        self._keys = data / KEYS_FOLDER
        self._read: list[RingVersion] = []
        self._first_kid = ""

    def versions(self) -> Sequence[RingVersion]:
        """Return every version from the first; costs one look at the disk if there is no new one.

        Raises:
            StateError: a version cannot be read or is damaged.
        """
        while _is_there(path := self._path(len(self._read) + 1)):
            self._read.append(_read(path, len(self._read) + 1))
        return tuple(self._read)

    def append(self, version: RingVersion) -> None:
        """Store the next version: whole or not at all, and never a second one of that number.

        Raises:
            StateError: another process was first, the number is not the next, or the folder cannot
                be written. Read the ring again before the next try.
        """
        if version.version != len(self.versions()) + 1:
            raise _taken(version.version)
        stored = _Stored(
            version=version.version,
            statement=base64url.encode(version.statement),
            jws=version.jws.decode("ascii"),
            written_ms=version.written_ms,
        )
        path = self._path(version.version)
        # A crash before the link leaves a hidden file that nobody reads; after it, the version.
        if not store_secret(path, msgspec.json.encode(stored)):
            raise _taken(version.version)

    def make_key(self, role: str) -> bytes:
        """Make a private key for a role; returns its public key.

        A crash before the ring names the key leaves a file that is never used; it may be deleted.
        """
        seed = os.urandom(SEED_BYTES)
        public, _ = crypto_sign_seed_keypair(seed)
        store_secret(self._keys / f"{role}-{thumbprint(public)}.key", seed)
        return public

    def make_first_token_key(self) -> bytes:
        """Return the public key of `keys/token.key`, which is made if it is not there."""
        path = self._keys / FIRST_TOKEN_KEY
        store_secret(path, os.urandom(SEED_BYTES))
        return FileSigner(path, "token").public_key

    def signer(self, kid: str, role: str) -> FileSigner:
        """Return the holder of a private key.

        Raises:
            StateError: the key is not here, others may read it, or it is not the one of its name.
        """
        signer = FileSigner(self.key_file(kid, role), msgspec.convert(role, Role))
        if signer.kid != kid:
            raise StateError(
                f"{self.key_file(kid, role)} does not hold the key {kid} of the key ring",
                next_step="Restore keys/ from a backup that was made with --with-keys.",
            )
        return signer

    def key_file(self, kid: str, role: str) -> Path:
        """Return where the private key is, or would be."""
        path = self._keys / f"{role}-{kid}.key"
        first = self._keys / FIRST_TOKEN_KEY
        return first if role == "token" and not path.exists() and first.exists() else path

    def destroy(self, kid: str) -> bool:
        """Delete a private key for good; False if it is not here."""
        for path in self._named(kid):
            try:
                path.unlink()
                _sync(self._keys)
            except OSError as error:
                raise StateError(
                    f"the private key {path} cannot be deleted: {error.strerror}",
                    next_step="Give the data folder to the user that runs Verismo.",
                ) from error
            return True
        return False

    def _named(self, kid: str) -> list[Path]:
        files = sorted(self._keys.glob(f"*-{kid}.key"))
        found = [path for path in files if _KEY_NAME.fullmatch(path.name)]
        first = self._keys / FIRST_TOKEN_KEY
        if not found and first.exists():
            self._first_kid = self._first_kid or FileSigner(first, "token").kid
            found = [first] if self._first_kid == kid else []
        return found

    def _path(self, version: int) -> Path:
        return self._folder / f"{version:08d}.json"


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise StateError(
            f"the key ring's {path} cannot be read: {error.strerror}",
            next_step="Run this as the user that runs Verismo, who owns the data folder.",
        ) from error


def _read(path: Path, version: int) -> RingVersion:
    try:
        stored = msgspec.json.decode(path.read_bytes(), type=_Stored)
        statement = base64url.decode(stored.statement)
        jws = stored.jws.encode("ascii")
        if stored.version != version:
            raise StateError(f"{path} holds version {stored.version}", next_step=_RESTORE)
    except (OSError, msgspec.MsgspecError, base64url.NotBase64, UnicodeError) as error:
        raise StateError(
            f"the key ring's {path} cannot be read: {error}", next_step=_RESTORE
        ) from error
    return RingVersion(version, statement, jws, stored.written_ms)


_RESTORE = "Bring the file back from a backup; every backup holds the key ring."


def _taken(version: int) -> StateError:
    return StateError(
        f"version {version} of the key ring cannot be written now: another process was first",
        next_step="Look at `verismo keys list` and run the command again if it is still needed.",
    )


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
