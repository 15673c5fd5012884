"""What a gateway publishes of its keys: the key set of the moment, and the whole key ring."""

from collections.abc import Sequence

from verismo.attest.keyentry import public_key
from verismo.attest.keyring import SignedRing, jwks_of, published_at, unchanged_ms, write_keyring
from verismo.attest.succession import KeyRules
from verismo.attest.verify import Verifier
from verismo.model.traffic import Reply

KEYRING_MEDIA = "application/vnd.verismo.keyring+json"
_OPEN = (b"access-control-allow-origin", b"*")


class PublishedKeys:
    """The newest ring that this worker has read, and what is answered from it.

    Args:
        rules: how long keys live.
        history: every version of the ring, checked; at least one.
    """

    def __init__(self, rules: KeyRules, history: Sequence[SignedRing]) -> None:
        self._rules = rules
        self.swap(history)

    def swap(self, history: Sequence[SignedRing]) -> None:
        """Take a longer history into use."""
        self._ring = history[-1].ring
        self._document = write_keyring(history)
        # Retired keys too: an answer can be checked here for as long as it is kept.
        entries = [entry for entry in self._ring.keys if not entry.revoked_ms]
        self.verifier = Verifier({entry.kid: public_key(entry) for entry in entries})

    def jwks(self, now_ms: int) -> Reply:
        """Answer the key set as it is now: what has left it is not served once more.

        Args:
            now_ms: of the request, Unix ms.
        """
        overlap_ms = self._rules.overlap_ms
        kept_ms = min(self._rules.jwks_max_age_ms, unchanged_ms(self._ring, now_ms, overlap_ms))
        return Reply(
            status=200,
            headers=[
                (b"content-type", b"application/jwk-set+json"),
                (b"cache-control", f"public, max-age={kept_ms // 1_000}".encode()),
                _OPEN,
            ],
            body=jwks_of(published_at(self._ring, now_ms, overlap_ms)),
        )

    def keyring(self) -> Reply:
        """Answer the whole history. A kept copy would look like a rollback, so none is allowed."""
        return Reply(
            status=200,
            headers=[
                (b"content-type", KEYRING_MEDIA.encode()),
                (b"cache-control", b"no-cache"),
                _OPEN,
            ],
            body=self._document,
        )
