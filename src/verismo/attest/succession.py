"""How one key follows another: when a successor is due, and what the ring's keys are then.

A successor is published before it is used, so that whoever keeps a key set meets no unknown key. It
takes over at its `not_before_ms`; its predecessor goes on counting for a short handover, because
several workers do not switch in the same instant, and is retired then. An emergency does without
the notice and says so in the ring.

Source: notes-attest 5.6; decisions 7.
"""

from collections.abc import Sequence

import msgspec

from verismo.attest.keyentry import (
    FOR_EVER_MS,
    KeyEntry,
    KeyRingRefused,
    leaves_ms,
    move,
    state_at,
)
from verismo.attest.keyring import KeyRing, signing_key
from verismo.attest.keys import KEYS_MAX, PublicKey, Role
from verismo.model import base64url
from verismo.model.units import moment_utc

DAY_MS = 86_400_000
NO_KEY = "no key of its role was in force"
SHORT_NOTICE = "the key before it ends sooner than a notice takes"
SUPERSEDED = "superseded by an emergency rotation before it was used"


class KeyRules(msgspec.Struct, frozen=True):
    """How long keys live, in ms; `[keys]` of the configuration.

    Args:
        active_ms: how long a token key signs.
        notice_ms: how long before its use a key is published, at least.
        overlap_ms: how long a retired key stays in the JWKS.
        handover_ms: how long the predecessor may still sign after a successor has taken over.
        jwks_max_age_ms: how long a key set may be kept by whoever fetched it.
    """

    active_ms: int = 30 * DAY_MS
    notice_ms: int = DAY_MS
    overlap_ms: int = 7 * DAY_MS
    handover_ms: int = 60_000
    jwks_max_age_ms: int = 300_000

    @property
    def lead_ms(self) -> int:
        """How long before its use a key is published: twice what a kept key set may be old."""
        return max(self.notice_ms, 2 * self.jwks_max_age_ms)


class Succession(msgspec.Struct, frozen=True):
    """What the next key of a role will be; its key pair is not made yet.

    Args:
        role: what it will sign.
        not_before_ms: when it takes over.
        not_after_ms: its planned end, 0 for none.
        emergency: why it comes without notice; empty if it does not.
    """

    role: Role
    not_before_ms: int
    not_after_ms: int
    emergency: str = ""


def pending_key(ring: KeyRing, role: Role, now_ms: int) -> KeyEntry | None:
    """Return the key that is published and not yet used, if there is one."""
    return next((k for k in ring.keys if k.role == role and state_at(k, now_ms) == "pending"), None)


def last_ends_ms(ring: KeyRing) -> dict[Role, int]:
    """Return when the last published key of each role ends, Unix ms; none for one without an end.

    A key that was revoked ended then. What is past is in it as well: nobody signs any more.
    """
    ends: dict[Role, int] = {}
    for entry in ring.keys:
        ends[entry.role] = max(ends.get(entry.role, 0), entry.window_end_ms)
    return {role: end_ms for role, end_ms in ends.items() if end_ms != FOR_EVER_MS}


def due(ring: KeyRing, role: Role, now_ms: int, rules: KeyRules) -> Succession | None:
    """Return the successor that the clock calls for now; None if all is well.

    It is called for two notices before the key in use ends. So whoever makes it may be down for
    one of them, and the notice is still kept.

    Args:
        ring: the newest version.
        role: of the key.
        now_ms: Unix ms.
        rules: how long keys live.
    """
    at_ms = max(now_ms, ring.iat)
    current = signing_key(ring, role, at_ms)
    if current is None:
        return emergency(role, at_ms, rules, NO_KEY)
    if current.window_end_ms == FOR_EVER_MS or pending_key(ring, role, at_ms) is not None:
        return None
    takes_over_ms = current.window_end_ms - rules.handover_ms
    if at_ms < takes_over_ms - 2 * rules.lead_ms:
        return None
    return _from(role, takes_over_ms, at_ms, rules)


def planned(ring: KeyRing, role: Role, now_ms: int, rules: KeyRules) -> Succession:
    """Return the successor that an operator asks for: published now, used after the notice.

    Raises:
        KeyRingRefused: the next key is published already.
    """
    at_ms = max(now_ms, ring.iat)
    pending = pending_key(ring, role, at_ms)
    if pending is not None:
        raise KeyRingRefused(f"the next {role} key {pending.kid} is published already")
    current = signing_key(ring, role, at_ms)
    if current is None:
        return emergency(role, at_ms, rules, NO_KEY)
    takes_over_ms = min(at_ms + rules.lead_ms, current.window_end_ms - rules.handover_ms)
    return _from(role, takes_over_ms, at_ms, rules)


def emergency(role: Role, now_ms: int, rules: KeyRules, reason: str) -> Succession:
    """Return a successor that takes over at once, and the reason that the ring will give."""
    return Succession(role, now_ms, _planned_end_ms(role, now_ms, rules), reason)


def new_entry(succession: Succession, key: PublicKey, created_ms: int) -> KeyEntry:
    """Return the entry of a key that was just made.

    Raises:
        KeyRingRefused: the key is of another role.
    """
    if key.role != succession.role:
        raise KeyRingRefused(f"a {key.role} key cannot succeed a {succession.role} key")
    return KeyEntry(
        kid=key.kid,
        x=base64url.encode(key.raw),
        alg=key.alg,
        role=key.role,
        created_ms=created_ms,
        not_before_ms=succession.not_before_ms,
        not_after_ms=succession.not_after_ms,
        retired_ms=0,
        revoked_ms=0,
        reason="",
        emergency=succession.emergency,
    )


def with_successor(
    keys: Sequence[KeyEntry],
    succession: Succession,
    key: PublicKey,
    now_ms: int,
    rules: KeyRules,
) -> tuple[KeyEntry, ...]:
    """Return the ring's keys with a new one, those before it retired after the handover.

    Args:
        keys: of the newest version.
        succession: what the new key is for, and when.
        key: the new public key.
        now_ms: Unix ms, not before the newest version's `iat`.
        rules: how long keys live.

    Raises:
        KeyRingRefused: the key is of another role, or the JWKS would be too long for verifiers.
    """
    retired_ms = succession.not_before_ms + rules.handover_ms
    changed = [_stepped_back(k, succession, retired_ms, now_ms) for k in keys]
    changed.append(new_entry(succession, key, now_ms))
    if sum(leaves_ms(k, rules.overlap_ms) > now_ms for k in changed) > KEYS_MAX:
        raise KeyRingRefused(f"verifiers take at most {KEYS_MAX} keys; wait until old ones leave")
    return tuple(changed)


def with_revocation(
    keys: Sequence[KeyEntry], kid: str, revoked_ms: int, reason: str, now_ms: int
) -> tuple[KeyEntry, ...]:
    """Return the ring's keys with one revoked, or its revocation set earlier.

    Args:
        keys: of the newest version.
        kid: which one.
        revoked_ms: from when on it may have been in other hands, Unix ms; at least 1.
        reason: for whoever reads the ring; not empty.
        now_ms: Unix ms.

    Raises:
        KeyRingRefused: there is no such key, or it is revoked from an earlier time already.
    """
    entry = next((k for k in keys if k.kid == kid), None)
    if entry is None:
        raise KeyRingRefused(f"there is no key {kid[:64]!r} in the ring")
    if not reason or revoked_ms < 1:
        raise KeyRingRefused("a revocation needs a reason and a time")
    if not entry.revoked_ms:
        move(state_at(entry, now_ms), "revoke")
    elif revoked_ms >= entry.revoked_ms:
        raise KeyRingRefused(f"the key {kid} is revoked already, at {moment_utc(entry.revoked_ms)}")
    revoked = msgspec.structs.replace(entry, revoked_ms=revoked_ms, reason=reason)
    return tuple(revoked if k.kid == kid else k for k in keys)


def _from(role: Role, takes_over_ms: int, now_ms: int, rules: KeyRules) -> Succession:
    """Keep the notice if there is time for it, else say that there was none."""
    if takes_over_ms >= now_ms + rules.lead_ms:
        return Succession(role, takes_over_ms, _planned_end_ms(role, takes_over_ms, rules))
    return emergency(role, max(takes_over_ms, now_ms), rules, SHORT_NOTICE)


def _planned_end_ms(role: Role, begins_ms: int, rules: KeyRules) -> int:
    """Only token keys end by plan: verifiers keep the others for years, or pin them."""
    return begins_ms + rules.active_ms if role == "token" else 0


def _stepped_back(
    entry: KeyEntry, succession: Succession, retired_ms: int, now_ms: int
) -> KeyEntry:
    """Make way for a successor: retire what signs, drop what an emergency makes doubtful."""
    if entry.role != succession.role or entry.revoked_ms:
        return entry
    state = state_at(entry, now_ms)
    if state == "active" and retired_ms < entry.end_ms:
        return msgspec.structs.replace(entry, retired_ms=retired_ms)
    if state == "pending" and succession.emergency:
        return msgspec.structs.replace(entry, revoked_ms=now_ms, reason=SUPERSEDED)
    return entry
