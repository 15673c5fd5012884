"""Key rings for tests, made by the real rotation over a store in memory with keys from seeds."""

import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from verismo.attest.keyentry import KeyEntry
from verismo.attest.keyring import SignedRing
from verismo.attest.keys import import_key, thumbprint
from verismo.attest.succession import KeyRules
from verismo.control.rotation import Rotation
from verismo.model.errors import StateError
from verismo.ports.keyring import RingVersion

START_MS = 1_760_000_000_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
RULES = KeyRules()


class SeedSigner:
    """A signer with a key from a text."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = self._key.public_key().public_bytes_raw()
        self.kid = thumbprint(self.public_key)

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


class MemoryStore:
    """The store of `ports.keyring` in memory; keys are the same in every run."""

    def __init__(self, name: str = "ring") -> None:
        self._name = name
        self._made = 0
        self.stored: list[RingVersion] = []
        self.keys: dict[str, SeedSigner] = {}

    def versions(self):
        return tuple(self.stored)

    def append(self, version: RingVersion) -> None:
        if version.version != len(self.stored) + 1:
            raise StateError("taken")
        self.stored.append(version)

    def make_key(self, role: str) -> bytes:
        self._made += 1
        seed = hashlib.sha256(f"{self._name} {role} {self._made}".encode()).digest()
        signer = SeedSigner(seed)
        self.keys[signer.kid] = signer
        return signer.public_key

    def signer(self, kid: str, role: str) -> SeedSigner:
        if kid not in self.keys:
            raise StateError(f"{kid} is missing")
        return self.keys[kid]

    def destroy(self, kid: str) -> bool:
        return self.keys.pop(kid, None) is not None


def begun(
    store: MemoryStore | None = None, now_ms: int = START_MS, rules: KeyRules = RULES
) -> tuple[Rotation, MemoryStore]:
    """Return a rotation whose ring has its first version, and its store."""
    store = store or MemoryStore()
    rotation = Rotation(store, rules)
    rotation.begin(import_key(store.make_key("token"), "token"), now_ms, now_ms)
    return rotation, store


def newest(rotation: Rotation) -> SignedRing:
    """Return the newest version."""
    return rotation.history()[-1]


def entry_of(rotation: Rotation, kid: str) -> KeyEntry:
    """Return a key's entry in the newest version."""
    return next(entry for entry in newest(rotation).ring.keys if entry.kid == kid)


def tokens(rotation: Rotation) -> list[KeyEntry]:
    """Return the token keys in order."""
    return [entry for entry in newest(rotation).ring.keys if entry.role == "token"]
