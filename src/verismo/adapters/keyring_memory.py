"""The second place of the key ring: `keys/checkpoints/keyring.json`, the ring at its newest.

An old copy of `keyring/` that was put back is whole in itself, and so is a ring that is begun anew.
Only what was kept elsewhere tells either, and this is a whole ring, so that it can be brought back
from here. Backups leave it out, as they do the checkpoints beside it: in a backup it would be as
old as what it has to tell.
"""

import fcntl
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from verismo.adapters.checkpoint_file import replace_file
from verismo.adapters.keyring_files import KEYS_FOLDER, KeyRingFiles
from verismo.adapters.secret_file import give_to_owner
from verismo.attest.keyentry import KeyRingRefused
from verismo.attest.keyring import (
    SignedRing,
    read_keyring,
    read_version,
    sha256_of,
    write_keyring,
)
from verismo.model.errors import StateError
from verismo.ports.keyring import RingVersion

MEMORY_FOLDER = "checkpoints"
"""Below the keys: what is kept there tells an old copy of something else."""
MEMORY_FILE = "keyring.json"

log = logging.getLogger("verismo.keys")


class RingMemory:
    """Remembers the newest key ring, and never goes back to an older or to another one.

    Args:
        data: the data folder.
    """

    def __init__(self, data: Path) -> None:
        self.path = data / KEYS_FOLDER / MEMORY_FOLDER / MEMORY_FILE

    def read(self) -> tuple[SignedRing, ...]:
        """Return every version of the ring as it was remembered; empty for none.

        Raises:
            StateError: it cannot be read.
        """
        try:
            return read_keyring(self.path.read_bytes())
        except FileNotFoundError:
            return ()
        except (OSError, KeyRingRefused) as error:
            raise StateError(
                f"the second copy of the key ring, {self.path}, cannot be read: {error}",
                next_step="Compare `verismo keys ring` with what a verifier remembers. If it is "
                "the newest, move this file out of the way; the next start makes it again.",
            ) from error

    def keep(self, history: Sequence[SignedRing]) -> None:
        """Remember a checked history, unless a newer one is remembered.

        Raises:
            StateError: another history is remembered, or the file cannot be written.
        """
        try:
            with self._locked():
                known = self.read()
                self.refuse_other(known, history)
                if len(history) > len(known):
                    # A crash before this: the ring is newer, and the next start remembers it.
                    replace_file(self.path, write_keyring(history))
        except OSError as error:
            raise StateError(
                f"the second copy of the key ring, {self.path}, cannot be written: "
                f"{error.strerror}",
                next_step="Give the data folder to the user that runs Verismo.",
            ) from error

    def refuse_other(self, known: Sequence[SignedRing], history: Sequence[SignedRing]) -> None:
        """Refuse a ring that is not the remembered one, as far as both go.

        Args:
            known: what is remembered.
            history: the ring in use.

        Raises:
            StateError: they differ.
        """
        both = min(len(known), len(history))
        if both and sha256_of(known[both - 1]) != sha256_of(history[both - 1]):
            raise StateError(
                f"version {both} of the key ring is not the one that was in use before, which "
                f"{self.path} has",
                next_step="Stop the gateway and compare both with what a verifier remembers. If "
                "the one in use before is right, move keyring/ out of the way and run `verismo "
                f"keys ring --adopt {self.path}`. See docs/runbooks/key-rotation.md.",
            )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep two processes from replacing it at once, the one with the older ring last."""
        folder = self.path.parent
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            give_to_owner(descriptor, folder.parent)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


class RememberedRing(KeyRingFiles):
    """A key ring in files that is remembered in the second place with every version.

    Args:
        data: the data folder.
    """

    def __init__(self, data: Path) -> None:
        super().__init__(data)
        self._memory = RingMemory(data)

    def append(self, version: RingVersion) -> None:
        """Store the next version and remember it; see `KeyRingFiles.append`.

        Raises:
            StateError: it cannot be stored, or another version of that number was in use before:
                the ring here is an old copy.
        """
        known, offered = self._memory.read(), _signed(version)
        # Looked at after the memory: what another process has just made is there before it is
        # remembered, and is refused below.
        if len(self.versions()) < version.version <= len(known):
            self._memory.refuse_other(known, [*known[: version.version - 1], offered])
        super().append(version)
        self.remember()

    def remember(self) -> None:
        """Remember the ring as it is; a failure is logged, and the next version tries again."""
        try:
            self._memory.keep([_signed(one) for one in self.versions()])
        except StateError as error:
            # The ring stands. Until it is remembered, one that is older by a version would pass.
            fields = {"error": error.detail, "next": error.advice}
            log.warning("the key ring is not remembered", extra={"fields": fields})


def _signed(version: RingVersion) -> SignedRing:
    return read_version(version.statement, version.jws.decode("ascii"))
