"""A key of the ring: the times it counts, the state that follows from them, and what it may prove.

A state follows from the clock and from the entry's times. This module reads no clock.

    pending --activate--> active --retire--> retired --revoke--> revoked
       |                    |                                      ^
       +------ revoke ------+------------- revoke -----------------+

Source: notes-attest 5.6; decisions 7.
"""

from typing import Literal

import msgspec

from verismo.attest.keys import KeyRefused, PublicKey, Role, import_key
from verismo.model import base64url, canonical
from verismo.model.units import moment_utc

SKEW_MS = 60_000
"""How far the clock of a signer may be off from its key's window (notes-attest 6.16)."""
FOR_EVER_MS = canonical.MAX_INTEGER

KeyState = Literal["pending", "active", "retired", "revoked"]
KeyMove = Literal["activate", "retire", "revoke"]

TRANSITIONS: dict[tuple[KeyState, KeyMove], KeyState] = {
    ("pending", "activate"): "active",
    ("pending", "revoke"): "revoked",
    ("active", "retire"): "retired",
    ("active", "revoke"): "revoked",
    ("retired", "revoke"): "revoked",
}
"""What may happen to a key. Whatever is not here is illegal: no state is ever left backwards."""


class KeyRingRefused(ValueError):
    """The ring, or a change of it, breaks the rules of this module; it says which."""


class IllegalMove(KeyRingRefused):
    """A key cannot do this from the state that it is in."""


class KeyEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key and the times it counts. Times are Unix ms, 0 where there is none.

    Args:
        kid: RFC 7638 thumbprint.
        x: the public key, base64url.
        alg: the one algorithm name that its signatures carry.
        role: what it may sign, for life.
        created_ms: when it was made.
        not_before_ms: it signs from here on.
        not_after_ms: its planned end; 0 for a role without one.
        retired_ms: it signs no more from here on, because a successor has taken over.
        revoked_ms: what it signed from here on proves nothing, and what it signed before only
            with a witness.
        reason: why it was revoked; empty if it was not.
        emergency: why it was used without the usual notice; empty if it had that.
    """

    kid: str
    x: str
    alg: Literal["Ed25519", "EdDSA"]
    role: Role
    created_ms: int
    not_before_ms: int
    not_after_ms: int
    retired_ms: int
    revoked_ms: int
    reason: str
    emergency: str

    @property
    def end_ms(self) -> int:
        """When it stops to sign by retirement; far away if that is not set."""
        return min(self.not_after_ms or FOR_EVER_MS, self.retired_ms or FOR_EVER_MS)

    @property
    def window_end_ms(self) -> int:
        """When it stops to sign for whatever reason."""
        return min(self.end_ms, self.revoked_ms or FOR_EVER_MS)


def move(state: KeyState, event: KeyMove) -> KeyState:
    """Return the state that a key comes into.

    Raises:
        IllegalMove: the table has no such move.
    """
    target = TRANSITIONS.get((state, event))
    if target is None:
        raise IllegalMove(f"a key that is {state} cannot {event}")
    return target


def state_at(entry: KeyEntry, now_ms: int) -> KeyState:
    """Return the state of a key at a time.

    Args:
        entry: of the ring.
        now_ms: Unix ms; a time that has come counts, so a key is active at `not_before_ms`.
    """
    events: list[tuple[int, KeyMove]] = [
        (entry.not_before_ms, "activate"),
        (entry.end_ms, "retire"),
    ]
    if entry.revoked_ms:
        events = [event for event in events if event[0] < entry.revoked_ms]
        events.append((entry.revoked_ms, "revoke"))
    state: KeyState = "pending"
    for at_ms, event in events:
        if at_ms > now_ms:
            break
        state = move(state, event)
    return state


def judge_key(entry: KeyEntry, iat_ms: int, witnessed_ms: int | None) -> str:
    """Say what speaks against a signature by this key; the signature itself is checked elsewhere.

    Args:
        entry: of the newest ring that is known.
        iat_ms: when the signer says that it signed.
        witnessed_ms: time of a witness's cosignature under which the signed bytes are proven to
            be in the ledger; None without such a proof.

    Returns:
        The problem in words, empty if there is none. A time that only the signer states says
        nothing once its key may be in other hands, so a revoked key needs the witness.
    """
    if iat_ms < entry.not_before_ms - SKEW_MS:
        begins = moment_utc(entry.not_before_ms)
        return f"signed at {moment_utc(iat_ms)}, before its key counts ({begins})"
    if iat_ms > entry.window_end_ms + SKEW_MS:
        what = "its key was revoked" if entry.revoked_ms == entry.window_end_ms else "its key's end"
        return f"signed at {moment_utc(iat_ms)}, after {what} ({moment_utc(entry.window_end_ms)})"
    if not entry.revoked_ms:
        return ""
    revoked = f"its key was revoked at {moment_utc(entry.revoked_ms)} ({entry.reason})"
    if witnessed_ms is None:
        return f"{revoked}, and no witness shows that it is older"
    if witnessed_ms >= entry.revoked_ms:
        return f"{revoked}, and it was witnessed only at {moment_utc(witnessed_ms)}"
    return ""


def public_key(entry: KeyEntry) -> PublicKey:
    """Return the key of an entry that was read or checked; its point was checked then."""
    return PublicKey(entry.kid, entry.alg, entry.role, base64url.decode(entry.x))


def leaves_ms(entry: KeyEntry, overlap_ms: int) -> int:
    """Return when a key leaves the JWKS: after the overlap, or when it is revoked."""
    return min(entry.end_ms + overlap_ms, entry.revoked_ms or FOR_EVER_MS)


def check_entry(entry: KeyEntry) -> None:
    """Refuse an entry that contradicts itself.

    Raises:
        KeyRingRefused: says how.
    """
    name = f"the key {entry.kid[:64]!r}"
    times = (entry.created_ms, entry.not_before_ms, entry.not_after_ms, entry.retired_ms)
    if min(*times, entry.revoked_ms) < 0:
        raise KeyRingRefused(f"{name} has a negative time")
    if entry.not_before_ms < entry.created_ms:
        raise KeyRingRefused(f"{name} is used before it was made")
    if entry.end_ms <= entry.not_before_ms:
        raise KeyRingRefused(f"{name} ends before it begins")
    if bool(entry.revoked_ms) != bool(entry.reason):
        raise KeyRingRefused(f"{name} needs a reason if, and only if, it is revoked")


def check_point(entry: KeyEntry) -> None:
    """Check the public key itself; once for each entry, in the version that brings it.

    Raises:
        KeyRingRefused: of low or mixed order, not canonical, or not the key of its kid.
    """
    try:
        key = import_key(base64url.decode(entry.x), entry.role, entry.alg)
    except (base64url.NotBase64, KeyRefused) as error:
        raise KeyRingRefused(f"the key {entry.kid[:64]!r} must not be used: {error}") from error
    if key.kid != entry.kid:
        raise KeyRingRefused(f"the kid {entry.kid[:64]!r} is not the thumbprint of its key")
