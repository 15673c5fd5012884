"""What the application decides: which gateway it trusts, by which keys, and what is refused."""

import secrets
import time
from collections.abc import Callable
from typing import Literal

import msgspec

from verismo.attest.report import SKEW_MS_MAX

Action = Literal["refuse", "pass"]
"""`refuse` raises; `pass` hands the answer on. Both report it."""


class OnVerdict(msgspec.Struct, frozen=True):
    """What happens to an answer that is not VERIFIED.

    Args:
        prefix: a stream that ended early. `refuse` raises `StreamCut` after its proven events.
        invalid: something contradicts the proof. `pass` is for observing only: it implies that
            streams are released early, because unproven events are handed on anyway.
        unsigned: an answer below status 400 without a proof.
        unsigned_refusal: status 400 and above without a proof. The gateway signs no refusal from
            before identification (401, 413) and none while it fails closed (503), so these pass;
            somebody on the way can forge them and so deny service, but not answer.
        elsewhere: a request that is not for the gateway; `refuse` does not send it. A redirect or
            a mistyped base URL would else go unverified.
    """

    prefix: Action = "refuse"
    invalid: Action = "refuse"
    unsigned: Action = "refuse"
    unsigned_refusal: Action = "pass"
    elsewhere: Action = "refuse"


class FetchedKeys(msgspec.Struct, frozen=True):
    """Take the key set from the gateway: as trustworthy as the TLS connection to it.

    Args:
        url: where; empty for the gateway's own `/.well-known/attest/jwks.json`.
        cooldown_ms: an unknown key makes the set be fetched again at most this often; without it
            anybody who can answer could make every client hammer the gateway.
        age_ms: how long a set is used that does not say so itself.
        age_ms_max: how long a set is used at most, whatever it says.
    """

    url: str = ""
    cooldown_ms: int = 30_000
    age_ms: int = 300_000
    age_ms_max: int = 86_400_000


def fresh_nonce() -> str:
    """Return 32 random bytes as base64url."""
    return secrets.token_urlsafe(32)


def present_ms() -> int:
    """Return the present, Unix ms."""
    return time.time_ns() // 1_000_000


class Gateway(msgspec.Struct, frozen=True):
    """A gateway and what is demanded of its answers.

    Args:
        base_url: its address without `/v1`, such as `https://gate.example`. A path is taken for
            the place where a proxy mounts the gateway, and stripped as the proxy does.
        keys: the bytes of its key set, pinned (best), or `FetchedKeys()`. Keys are never taken
            from an answer.
        issuer: the `iss` that must stand in each statement; None accepts any.
        audience: the `aud` (the tenant's handle) that must stand there; None accepts any.
        on_verdict: what is refused.
        release: `verified` hands an event of a stream on once a signed head covers it; `early` at
            once, so that a contradiction may be found after the event was used.
        body_bytes_max: a whole answer over this is refused; the gateway's own limit by default.
        skew_ms_max: how far an answer may be dated into the future; None leaves time out.
        keeps_exchanges: keep what `recording.save_exchange` needs: each stream's octets.
        nonces: a fresh nonce for each request, base64url, at most 86 characters.
        clock_ms: the present, Unix ms.
    """

    base_url: str
    keys: bytes | FetchedKeys
    issuer: str | None = None
    audience: str | None = None
    on_verdict: OnVerdict = OnVerdict()
    release: Literal["verified", "early"] = "verified"
    body_bytes_max: int = 33_554_432
    skew_ms_max: int | None = SKEW_MS_MAX
    keeps_exchanges: bool = False
    nonces: Callable[[], str] = fresh_nonce
    clock_ms: Callable[[], int] = present_ms

    @property
    def releases_early(self) -> bool:
        """Whether events are handed on before they are proven."""
        return self.release == "early" or self.on_verdict.invalid == "pass"
