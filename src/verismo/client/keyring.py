"""The keys that answers are verified with: pinned, or fetched and renewed. No I/O.

A set that shows an unknown key is fetched again once within the cooldown: a rotation is noticed
without waiting for the set to age, and a forger cannot turn clients against the gateway.
"""

import re

from verismo.attest.keys import KeyRefused, PublicKey, read_jwks
from verismo.attest.verify import Verifier
from verismo.client.errors import KeysUnavailable
from verismo.client.settings import FetchedKeys
from verismo.client.site import require_private
from verismo.model.errors import ConfigError

DOCUMENT_BYTES_MAX = 262_144
"""A key set over this is refused: a key takes 200 bytes, a gateway publishes a handful."""

_MAX_AGE = re.compile(r"(?:\A|[,\s])max-age=(\d{1,9})(?:\Z|[,\s])")


class KeyRing:
    """The key set in use. The caller sees to it that one renewal runs at a time.

    Args:
        source: pinned bytes, or how to fetch.
        own_url: where the gateway publishes its set.

    Raises:
        ConfigError: the pinned set cannot be used, or would be fetched without TLS.
    """

    def __init__(self, source: bytes | FetchedKeys, own_url: str) -> None:
        self._fetched = source if isinstance(source, FetchedKeys) else None
        self._keys: dict[str, PublicKey] = {}
        self._verifier = Verifier({})
        self._document = b""
        self._fetched_ms = self._expires_ms = 0
        self._tried_ms: int | None = None
        self.url = own_url
        if isinstance(source, FetchedKeys):
            self.url = source.url or own_url
            require_private(self.url)
            return
        try:
            self._use(source)
        except KeyRefused as error:
            raise ConfigError(
                f"the pinned key set cannot be used: {error}",
                next_step="Fetch it again from the gateway and compare it by another way.",
            ) from error

    @property
    def verifier(self) -> Verifier:
        """A verifier with the keys in use."""
        return self._verifier

    @property
    def document(self) -> bytes:
        """The key set in use, as it was given or fetched."""
        return self._document

    def is_due(self, now_ms: int) -> bool:
        """Say whether a set must be fetched before anything is sent."""
        if self._fetched is None:
            return False
        return not self._keys or not self._fetched_ms <= now_ms < self._expires_ms

    def knows(self, kid: str) -> bool:
        """Say whether a key is in the set; a pinned set is never renewed, so it knows all."""
        return self._fetched is None or kid in self._keys

    def may_renew(self, now_ms: int) -> bool:
        """Say whether an unknown key may have the set fetched now; counts as the try."""
        if self._fetched is None:
            return False
        tried = self._tried_ms
        if tried is not None and tried <= now_ms < tried + self._fetched.cooldown_ms:
            return False
        self._tried_ms = now_ms
        return True

    def store(self, status: int, cache_control: str, document: bytes, now_ms: int) -> None:
        """Take a fetched set into use.

        Args:
            status: of the answer.
            cache_control: the header's value; empty if there was none.
            document: the body.
            now_ms: when it was asked for, Unix ms.

        Raises:
            KeysUnavailable: not a usable key set; the one in use stays.
        """
        if self._fetched is None:
            return
        if status != 200:
            raise KeysUnavailable(f"{self.url} answers {status}")
        try:
            self._use(document)
        except KeyRefused as error:
            raise KeysUnavailable(f"{self.url}: {error}") from error
        stated = _MAX_AGE.search(cache_control.lower())
        age_ms = int(stated[1]) * 1_000 if stated else self._fetched.age_ms
        self._fetched_ms = now_ms
        self._expires_ms = now_ms + min(age_ms, self._fetched.age_ms_max)

    def _use(self, document: bytes) -> None:
        keys = read_jwks(document)
        if not keys:
            raise KeyRefused("the key set holds no Ed25519 key")
        self._keys, self._verifier, self._document = keys, Verifier(keys), document
