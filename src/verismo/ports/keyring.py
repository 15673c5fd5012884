"""Where the key ring is kept, and the private keys beside it."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from verismo.ports.signer import Signer


class RingVersion(msgspec.Struct, frozen=True):
    """One signed version of the key ring as it is stored.

    Every version is a leaf of type 3 of the ledger: its bytes are `statement` and `jws` as they
    stand here.

    Args:
        version: counted from 1, without a gap.
        statement: the signed bytes, canonical JSON.
        jws: the detached signature in ASCII, of type `attest-keyring+jws`.
        written_ms: when it was stored, Unix ms.
    """

    version: int
    statement: bytes
    jws: bytes
    written_ms: int


class KeyRingStore(Protocol):
    """The versions of one gateway's key ring, and its private keys.

    Durability: what `append` and `make_key` have returned from survives a power cut.
    Ordering: versions are 1, 2, 3, ...; a version is written once and never changed.
    Concurrency: any number of processes; of two that append the same version one is refused.
    No retries inside.
    """

    def versions(self) -> Sequence[RingVersion]:
        """Return every version from the first; empty before there is one.

        Raises:
            StateError: a version cannot be read or is damaged.
        """
        ...

    def append(self, version: RingVersion) -> None:
        """Store the next version.

        Raises:
            StateError: it is there already, or is not the next one, or cannot be written.
        """
        ...

    def make_key(self, role: str) -> bytes:
        """Make a private key for a role; returns its public key, 32 raw bytes.

        Raises:
            StateError: it cannot be stored.
        """
        ...

    def signer(self, kid: str, role: str) -> Signer:
        """Return the holder of a private key.

        Raises:
            StateError: the key is not here, or others may read it.
        """
        ...

    def destroy(self, kid: str) -> bool:
        """Delete a private key for good; False if it is not here."""
        ...
