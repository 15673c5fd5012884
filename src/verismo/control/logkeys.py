"""The log keys of a key ring, as verifier keys of logs."""

from collections.abc import Sequence
from typing import Protocol

from verismo.attest.checkpoint import open_checkpoint
from verismo.attest.keyentry import KeyEntry, KeyRingRefused, public_key
from verismo.attest.keyring import KeyRing, read_version
from verismo.attest.note import NoteRefused, VerifierKey, verifier_key
from verismo.model.errors import StateError
from verismo.model.ledger import LogId, origin_of
from verismo.ports.keyring import RingVersion


class Versions(Protocol):
    """Where the versions of a key ring are read."""

    def versions(self) -> Sequence[RingVersion]:
        """Return every version from the first."""
        ...


class LogKeys:
    """Says which log key signed what.

    Args:
        issuer: the `iss` of statements; origins begin with its host.
        ring: the versions; the newest one names every key that there ever was.
    """

    def __init__(self, issuer: str, ring: Versions) -> None:
        self._issuer = issuer
        self._versions = ring

    def ring(self) -> KeyRing | None:
        """Return the newest version, None before the first.

        Raises:
            StateError: it cannot be read.
        """
        versions = self._versions.versions()
        if not versions:
            return None
        try:
            return read_version(versions[-1].statement, versions[-1].jws.decode("ascii")).ring
        except KeyRingRefused as error:
            raise StateError(f"the key ring cannot be read: {error}") from error

    def newest(self, log: LogId) -> VerifierKey:
        """Return the verifier key of a log.

        Raises:
            StateError: the key ring names no log key.
        """
        return self._key(log, self._entries()[-1])

    def signer_of(self, log: LogId, note: bytes | None) -> VerifierKey:
        """Return the log key, of all that there were, that signed a checkpoint.

        Args:
            log: which log.
            note: its checkpoint, None for none.

        Returns:
            The one in use if none did.

        Raises:
            StateError: the key ring names no log key.
        """
        return self.entry_of(log, note)[0]

    def entry_of(self, log: LogId, note: bytes | None) -> tuple[VerifierKey, KeyEntry | None]:
        """Return the same with its entry of the ring; None for the entry if none signed it.

        Raises:
            StateError: the key ring names no log key.
        """
        for entry in reversed(self._entries()):
            key = self._key(log, entry)
            if note is not None and _is_signed(note, key):
                return key, entry
        return self.newest(log), None

    def _key(self, log: LogId, entry: KeyEntry) -> VerifierKey:
        return verifier_key(origin_of(self._issuer, log), public_key(entry).raw)

    def _entries(self) -> list[KeyEntry]:
        """Return every log key that there ever was, the one in use last."""
        ring = self.ring()
        entries = [] if ring is None else [one for one in ring.keys if one.role == "log"]
        if not entries:
            raise StateError(
                "the key ring names no log key",
                next_step="Start the gateway once with `[ledger] enabled = true`.",
            )
        return entries


def _is_signed(note: bytes, key: VerifierKey) -> bool:
    try:
        open_checkpoint(note, key)
    except NoteRefused:
        return False
    return True
