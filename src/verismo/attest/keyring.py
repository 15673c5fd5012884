"""The key ring: every key of a gateway with the times it counted, in versions that are linked.

A version is a statement in canonical JSON with a detached JWS of type `attest-keyring+jws`. It
names the SHA-256 of the version before, holds every key of it, and is signed by a key of the role
`evidence` that was active in it; the first version is signed by an evidence key of its own. What
a version says of the past is never changed by a later one, so a verifier that remembers the newest
version it has seen can be shown neither an older ring nor another one.

The keys themselves are in `keyentry`; what changes when a key is rotated is in `succession`.

Source: notes-attest 5.6; decisions 7.
"""

from collections.abc import Sequence

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from verismo.attest import jws
from verismo.attest.keyentry import (
    FOR_EVER_MS,
    KeyEntry,
    KeyRingRefused,
    check_entry,
    check_point,
    leaves_ms,
    move,
    public_key,
    state_at,
)
from verismo.attest.keys import Jwks, Role, has_agreed_r, to_jwk
from verismo.attest.onereading import MemberTwice, check_members
from verismo.model import base64url, canonical

VERSION = 1
NO_VERSION = "0" * 64
"""`prev` of the first version: there is none before it."""
STATEMENT_BYTES_MAX = 1_048_576
"""About 2,400 keys, or 190 years of monthly rotation."""
VERSIONS_MAX = 10_000


class KeyRing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One version of the ring: what is signed.

    Args:
        v: format version, 1.
        version: counted from 1.
        prev: hex SHA-256 of the previous version's statement; 64 zeros for the first.
        iat: when it was made, Unix ms; never before the previous one's.
        keys: every key there ever was, in the order in which they came.
    """

    v: int
    version: int
    prev: str
    iat: int
    keys: tuple[KeyEntry, ...]


class SignedRing(msgspec.Struct, frozen=True):
    """A version with the bytes that were signed.

    Args:
        ring: as parsed.
        statement: the signed bytes.
        jws: the detached signature.
    """

    ring: KeyRing
    statement: bytes
    jws: str


class Remembered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a verifier keeps of the newest ring that it has seen.

    Args:
        version: its number.
        sha256: of its statement, hex; it covers every version before.
    """

    version: int
    sha256: str


def signing_key(ring: KeyRing, role: Role, now_ms: int) -> KeyEntry | None:
    """Return the key that a role signs with: the newest active one that is not about to be revoked.

    Args:
        ring: the newest version.
        role: what is to be signed.
        now_ms: Unix ms.

    Returns:
        Its entry; None if no key of the role is active.
    """
    active = [k for k in ring.keys if k.role == role and state_at(k, now_ms) == "active"]
    # Of several that begin in the same instant the last one in the ring is the newest.
    return max(reversed(active), key=lambda k: (k.revoked_ms == 0, k.not_before_ms), default=None)


def published_at(ring: KeyRing, now_ms: int, overlap_ms: int) -> tuple[KeyEntry, ...]:
    """Return the keys of the JWKS: pending, active, and retired no longer ago than the overlap.

    Args:
        ring: the newest version.
        now_ms: Unix ms; the answer may differ at every call.
        overlap_ms: how long a key stays after its retirement.
    """
    return tuple(k for k in ring.keys if leaves_ms(k, overlap_ms) > now_ms)


def unchanged_ms(ring: KeyRing, now_ms: int, overlap_ms: int) -> int:
    """Return for how many ms the clock alone will not change what `published_at` returns."""
    leaving = [leaves_ms(k, overlap_ms) for k in ring.keys]
    return min((at_ms for at_ms in leaving if at_ms > now_ms), default=FOR_EVER_MS) - now_ms


def jwks_of(entries: Sequence[KeyEntry]) -> bytes:
    """Return keys as a JSON Web Key Set."""
    return msgspec.json.encode(Jwks(tuple(to_jwk(public_key(entry)) for entry in entries)))


def sha256_of(version: SignedRing) -> str:
    """Return what the next version names as `prev`."""
    return canonical.digest(version.statement)


def read_version(statement: bytes, signature: str) -> SignedRing:
    """Parse one version strictly; `check_history` says whether it may be believed.

    Raises:
        KeyRingRefused: too long, not canonical, another format version, or an entry that
            contradicts itself.
    """
    if len(statement) > STATEMENT_BYTES_MAX:
        raise KeyRingRefused(f"the key ring is longer than {STATEMENT_BYTES_MAX} bytes")
    try:
        ring = canonical.decode(statement, KeyRing)
    except canonical.NotCanonical as error:
        raise KeyRingRefused(f"not a key ring: {error}") from error
    if ring.v != VERSION:
        raise KeyRingRefused(f"key ring format {ring.v} is not known here; update the verifier")
    if ring.version < 1 or ring.iat < 0:
        raise KeyRingRefused("the version or the time of the key ring is negative")
    kids = {entry.kid for entry in ring.keys}
    if len(kids) != len(ring.keys):
        raise KeyRingRefused("one key stands twice in the ring: no key may have two roles")
    for entry in ring.keys:
        check_entry(entry)
    return SignedRing(ring, statement, signature)


def extend(last: SignedRing | None, keys: Sequence[KeyEntry], now_ms: int) -> KeyRing:
    """Return the next version with these keys; it still has to be signed.

    Args:
        last: the newest version; None makes the first one.
        keys: every key of it, changed or not, and new ones after them.
        now_ms: Unix ms; a clock that has gone back does not make the history go back.

    Raises:
        KeyRingRefused: the keys change what is past, or are too many.
    """
    ring = KeyRing(
        v=VERSION,
        version=1 if last is None else last.ring.version + 1,
        prev=NO_VERSION if last is None else sha256_of(last),
        iat=now_ms if last is None else max(now_ms, last.ring.iat),
        keys=tuple(keys),
    )
    read_version(canonical.encode(ring), "")
    check_growth(last, ring)
    return ring


def check_history(seen: Remembered | None, offered: Sequence[SignedRing]) -> Remembered:
    """Check a whole history against itself and against what was seen before.

    Args:
        seen: the newest version seen so far; None at the first meeting, when the history's own
            first version has to be believed.
        offered: every version from the first.

    Returns:
        What to remember from now on. Store it before anything is believed by this ring.

    Raises:
        KeyRingRefused: a version is missing, unsigned, not linked or changes the past; the
            history is older than `seen` (rollback), or is another one (fork). Believe none of it,
            keep what you have, and ask the gateway's operator by another way.
    """
    if not offered:
        raise KeyRingRefused("an empty history: a gateway has a ring from its first start")
    if len(offered) > VERSIONS_MAX:
        raise KeyRingRefused(f"a history of more than {VERSIONS_MAX} versions")
    previous: SignedRing | None = None
    for version in offered:
        check_step(previous, version)
        previous = version
    newest = Remembered(offered[-1].ring.version, sha256_of(offered[-1]))
    if seen is None:
        return newest
    if seen.version < 1:
        raise KeyRingRefused(f"what was remembered names version {seen.version}, which no ring has")
    if newest.version < seen.version:
        raise KeyRingRefused(
            f"rollback: version {newest.version} is offered, but {seen.version} was seen"
        )
    if sha256_of(offered[seen.version - 1]) != seen.sha256:
        raise KeyRingRefused(f"fork: version {seen.version} is not the one that was seen")
    return newest


def check_step(previous: SignedRing | None, offered: SignedRing) -> None:
    """Check that a version follows from the one before, and that it is signed by a key of that.

    Raises:
        KeyRingRefused: it does not, or is not.
    """
    check_growth(previous, offered.ring)
    trusted = offered.ring if previous is None else previous.ring
    _check_signature(trusted, offered)


def check_growth(previous: SignedRing | None, ring: KeyRing) -> None:
    """Check that a version adds to the one before and changes nothing that is past.

    Args:
        previous: None for the first version.
        ring: the next version, signed or about to be.

    Raises:
        KeyRingRefused: says what was changed.
    """
    if previous is None:
        if ring.version != 1 or ring.prev != NO_VERSION:
            raise KeyRingRefused("the history does not begin with version 1")
        for entry in ring.keys:
            check_point(entry)
        return
    before = previous.ring.keys
    _check_link(previous, ring)
    for was, entry in zip(before, ring.keys, strict=False):
        _check_change(was, entry, ring.iat)
    for entry in ring.keys[len(before) :]:
        check_point(entry)
        if entry.not_before_ms < ring.iat or entry.retired_ms or entry.revoked_ms:
            raise KeyRingRefused(f"version {ring.version} gives the new key {entry.kid} a past")


def _check_link(previous: SignedRing, ring: KeyRing) -> None:
    before = previous.ring
    if ring.version != before.version + 1:
        raise KeyRingRefused(f"version {ring.version} stands after version {before.version}")
    if ring.prev != sha256_of(previous):
        raise KeyRingRefused(f"version {ring.version} is not linked to the one before")
    if ring.iat < before.iat:
        raise KeyRingRefused(f"version {ring.version} is older than the one before")
    if len(ring.keys) < len(before.keys):
        raise KeyRingRefused(f"version {ring.version} drops a key")


def _check_change(was: KeyEntry, entry: KeyEntry, iat_ms: int) -> None:
    """Allow an entry to be retired sooner than planned, or revoked; nothing else."""
    allowed = msgspec.structs.replace(
        was, retired_ms=entry.retired_ms, revoked_ms=entry.revoked_ms, reason=entry.reason
    )
    if entry != allowed:
        raise KeyRingRefused(f"the key {was.kid} is not the one of the version before")
    if entry.retired_ms != was.retired_ms:
        move(state_at(was, iat_ms), "retire")
        if not iat_ms <= entry.retired_ms < was.end_ms:
            raise KeyRingRefused(f"the key {was.kid} may be retired sooner, but not in the past")
    if (entry.revoked_ms, entry.reason) == (was.revoked_ms, was.reason):
        return
    if was.revoked_ms == 0:
        move(state_at(was, iat_ms), "revoke")
    elif not 0 < entry.revoked_ms < was.revoked_ms:
        raise KeyRingRefused(f"the revocation of {was.kid} may be set earlier, but not undone")


def _check_signature(trusted: KeyRing, offered: SignedRing) -> None:
    name = f"version {offered.ring.version}"
    try:
        parsed = jws.parse_detached(offered.jws, jws.TYPE_KEYRING)
    except jws.JwsRefused as error:
        raise KeyRingRefused(f"{name} is not signed as a key ring is: {error}") from error
    entry = next((k for k in trusted.keys if k.kid == parsed.header.kid), None)
    if entry is None or entry.role != "evidence" or entry.alg != parsed.header.alg:
        raise KeyRingRefused(f"{name} is not signed by an evidence key of the version before")
    if state_at(entry, offered.ring.iat) != "active":
        raise KeyRingRefused(f"{name} is signed by an evidence key that is not active then")
    if not has_agreed_r(parsed.signature):
        raise KeyRingRefused(f"{name} has a signature that verifiers would disagree on")
    try:
        Ed25519PublicKey.from_public_bytes(base64url.decode(entry.x)).verify(
            parsed.signature, jws.signing_input(parsed.protected, offered.statement)
        )
    except InvalidSignature as error:
        raise KeyRingRefused(f"the signature of {name} is not of its key") from error


class _StoredVersion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    statement: str
    signature: str


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    v: int
    versions: tuple[_StoredVersion, ...]


def write_keyring(history: Sequence[SignedRing]) -> bytes:
    """Return the document that `/.well-known/attest/keyring.json` serves: every version."""
    versions = (_StoredVersion(base64url.encode(one.statement), one.jws) for one in history)
    return msgspec.json.encode(_Document(VERSION, tuple(versions)))


def read_keyring(document: bytes) -> tuple[SignedRing, ...]:
    """Parse the document; believe nothing of it before `check_history` has.

    Raises:
        KeyRingRefused: not such a document, a member of it stands twice, or one of its versions is
            not a key ring.
    """
    try:
        found = msgspec.json.decode(document, type=_Document)
        check_members(document)
        if found.v != VERSION:
            raise KeyRingRefused(f"key ring document {found.v} is not known; update the verifier")
        return tuple(
            read_version(base64url.decode(one.statement), one.signature) for one in found.versions
        )
    except (
        msgspec.MsgspecError,
        UnicodeDecodeError,
        MemberTwice,
        base64url.NotBase64,
    ) as error:
        raise KeyRingRefused(f"not a key ring document: {error}") from error
