"""Rotates and revokes keys: reads the ring, asks `attest.succession`, writes the next version.

The round of the control process, the command line and the first start all end in `_write`. Any
number of them may run: a version can be written once, and whoever comes second is told so.
"""

import logging
import threading
from collections.abc import Sequence

import msgspec

from verismo.attest import jws, succession
from verismo.attest.keyentry import KeyEntry, KeyRingRefused
from verismo.attest.keyring import (
    KeyRing,
    Remembered,
    SignedRing,
    check_history,
    check_step,
    extend,
    read_version,
    sha256_of,
    signing_key,
)
from verismo.attest.keys import PublicKey, Role, import_key
from verismo.attest.succession import KeyRules, Succession
from verismo.model import canonical
from verismo.model.errors import StateError
from verismo.ports.keyring import KeyRingStore, RingVersion
from verismo.ports.signer import SigningFailed

GATEWAY_ROLES: tuple[Role, ...] = ("token", "evidence", "log", "rollup", "plan")
"""The roles that a gateway has from its first start; others get a key when they are asked for."""
PINNED_ROLES: frozenset[Role] = frozenset({"log", "witness"})
"""Verifiers and witnesses pin these keys by name, so they are revoked, never rotated."""
EFFECT_MS = 2_000
"""A revocation without a time counts from here on: four of the rounds in which workers look, so
that none still signs with the key when it does."""

log = logging.getLogger("verismo.keys")


class Outcome(msgspec.Struct, frozen=True):
    """What a command or a round did.

    Args:
        version: the newest version of the ring, whether or not it was made now.
        changed: whether it was made now.
        key: the key that was made; None if none was.
    """

    version: int
    changed: bool
    key: KeyEntry | None = None


class RingHistory:
    """The checked history of a store; each version is checked once. Any thread may call.

    Args:
        store: see `ports.keyring.KeyRingStore`.
    """

    def __init__(self, store: KeyRingStore) -> None:
        self._store = store
        self._known: list[SignedRing] = []
        self._checked: list[RingVersion] = []
        self._lock = threading.Lock()

    def read(self) -> tuple[SignedRing, ...]:
        """Return every version from the first; empty before there is one.

        Raises:
            StateError: a version is damaged, forged or not linked to the one before.
        """
        with self._lock:
            self._check()
            return tuple(self._known)

    def versions(self) -> Sequence[RingVersion]:
        """Return every version as it is stored; see `read`."""
        with self._lock:
            self._check()
            return tuple(self._checked)

    def _check(self) -> None:
        for version in self._store.versions()[len(self._known) :]:
            try:
                offered = read_version(version.statement, version.jws.decode("ascii"))
                check_step(self._known[-1] if self._known else None, offered)
            except (KeyRingRefused, UnicodeDecodeError) as error:
                raise StateError(
                    f"version {version.version} of the key ring cannot be believed: {error}",
                    next_step="Bring keyring/ back from a backup, and look for who changed it.",
                ) from error
            self._known.append(offered)
            self._checked.append(version)


class Rotation:
    """Everything that changes a gateway's key ring.

    Args:
        store: where ring and private keys are.
        rules: how long keys live.
    """

    def __init__(self, store: KeyRingStore, rules: KeyRules) -> None:
        self._store = store
        self._rules = rules
        self._history = RingHistory(store)
        self._gone: set[str] = set()

    def newest(self) -> SignedRing | None:
        """Return the newest version; None before the first start.

        Raises:
            StateError: the ring is damaged.
        """
        return next(reversed(self.history()), None)

    def history(self) -> tuple[SignedRing, ...]:
        """Return every version from the first; empty before the first start.

        Raises:
            StateError: the ring is damaged.
        """
        return self._history.read()

    def begin(self, token: PublicKey, since_ms: int, now_ms: int) -> Outcome:
        """Make the first version: the token key that is there, and a key for every other role.

        Args:
            token: the first token key; it may be used at once.
            since_ms: when it began to sign, Unix ms; `now_ms` for a new one.
            now_ms: Unix ms.
        """
        keys: list[KeyEntry] = []
        for role in GATEWAY_ROLES:
            key = token if role == "token" else import_key(self._store.make_key(role), role)
            planned = succession.emergency(role, now_ms, self._rules, "")
            begins_ms = since_ms if role == "token" else now_ms
            planned = msgspec.structs.replace(planned, not_before_ms=begins_ms)
            keys.append(succession.new_entry(planned, key, begins_ms))
        ring = self._write(None, keys, now_ms)
        return Outcome(ring.version, True, ring.keys[0])

    def ensure(self, role: Role, now_ms: int) -> Outcome:
        """Give a role a key that may be used at once, if it has none in force."""
        last = self._required()
        if signing_key(last.ring, role, max(now_ms, last.ring.iat)) is not None:
            return Outcome(last.ring.version, False)
        is_first = all(entry.role != role for entry in last.ring.keys)
        reason = "" if is_first else succession.NO_KEY
        planned = succession.emergency(role, max(now_ms, last.ring.iat), self._rules, reason)
        return self._succeed(last, last.ring.keys, planned, now_ms)

    def step(self, now_ms: int) -> Outcome:
        """Do what the clock calls for: publish the next token key, delete keys of the past.

        Raises:
            StateError: the ring cannot be read or written now; the next round tries again.
        """
        last = self._required()
        self._destroy_past(last.ring, now_ms)
        planned = succession.due(last.ring, "token", now_ms, self._rules)
        if planned is None:
            return Outcome(last.ring.version, False)
        outcome = self._succeed(last, last.ring.keys, planned, now_ms)
        level = logging.WARNING if planned.emergency else logging.INFO
        fields = {
            "version": outcome.version,
            "kid": "" if outcome.key is None else outcome.key.kid,
            "begins_ms": planned.not_before_ms,
            "emergency": planned.emergency,
        }
        log.log(level, "the next token key", extra={"fields": fields})
        return outcome

    def adopt(self, offered: Sequence[SignedRing], now_ms: int) -> Outcome:
        """Take in versions that were published and are missing here, as after a restored backup.

        Args:
            offered: a whole history, such as a verifier has kept it.
            now_ms: Unix ms.

        Raises:
            StateError: the history is not a longer one of this ring; nothing was changed.
        """
        known = self.history()
        try:
            seen = Remembered(len(known), sha256_of(known[-1])) if known else None
            check_history(seen, offered)
        except KeyRingRefused as error:
            raise StateError(
                f"this key ring cannot be adopted: {error}",
                next_step="Nothing was changed. Ask verifiers for the newest keyring.json.",
            ) from error
        for one in offered[len(known) :]:
            jws_bytes = one.jws.encode("ascii")
            self._store.append(RingVersion(one.ring.version, one.statement, jws_bytes, now_ms))
        return Outcome(offered[-1].ring.version, len(offered) > len(known))

    def rotate(self, role: Role, now_ms: int, emergency: str = "") -> Outcome:
        """Publish the next key of a role; what is published already is left as it is.

        Args:
            role: `token`, `evidence`, `rollup` or `plan`.
            now_ms: Unix ms.
            emergency: the reason to use the new key at once; empty keeps the notice.

        Raises:
            StateError: keys of this role are not rotated, or the ring cannot be written.
        """
        if role in PINNED_ROLES:
            raise StateError(
                f"{role} keys are pinned by verifiers and are not rotated",
                next_step="If one may have leaked, revoke it: docs/runbooks/key-compromise.md.",
            )
        last = self._required()
        at_ms = max(now_ms, last.ring.iat)
        if emergency:
            planned = succession.emergency(role, at_ms, self._rules, emergency)
            return self._succeed(last, last.ring.keys, planned, now_ms)
        pending = succession.pending_key(last.ring, role, at_ms)
        if pending is not None:
            return Outcome(last.ring.version, False, pending)
        if all(entry.role != role for entry in last.ring.keys):
            return self.ensure(role, now_ms)
        planned = succession.planned(last.ring, role, now_ms, self._rules)
        return self._succeed(last, last.ring.keys, planned, now_ms)

    def revoke(self, kid: str, now_ms: int, reason: str, at_ms: int | None = None) -> Outcome:
        """Revoke a key, and replace it at once, in the same version, if it is in use.

        Args:
            kid: the key.
            now_ms: Unix ms.
            reason: for whoever reads the ring.
            at_ms: from when on it may have been in other hands; None for two seconds from now,
                when no worker uses it any more.

        Raises:
            StateError: there is no such key, it is revoked already, or the ring cannot be written.
        """
        last = self._required()
        begins_ms = max(now_ms, last.ring.iat)
        effect_ms = begins_ms + EFFECT_MS if at_ms is None else at_ms
        try:
            keys = succession.with_revocation(last.ring.keys, kid, effect_ms, reason, begins_ms)
        except KeyRingRefused as error:
            raise StateError(
                f"the key cannot be revoked: {error}",
                next_step="`verismo keys list` shows every key and its state.",
            ) from error
        role = next(entry.role for entry in keys if entry.kid == kid)
        used = signing_key(last.ring, role, begins_ms)
        if used is not None and used.kid != kid:
            ring = self._write(last, keys, now_ms)
            return Outcome(ring.version, True)
        why = f"the key before it was revoked: {reason}"
        planned = succession.emergency(role, begins_ms, self._rules, why)
        return self._succeed(last, keys, planned, now_ms)

    def _required(self) -> SignedRing:
        last = self.newest()
        if last is None:
            raise StateError(
                "there is no key ring yet",
                next_step="`verismo serve` makes it at its first start, `verismo keys rotate` too.",
            )
        return last

    def _succeed(
        self, last: SignedRing, keys: Sequence[KeyEntry], planned: Succession, now_ms: int
    ) -> Outcome:
        at_ms = max(now_ms, last.ring.iat)
        # A crash after this leaves a private key that no ring names: it is never used.
        key = import_key(self._store.make_key(planned.role), planned.role)
        try:
            changed = succession.with_successor(keys, planned, key, at_ms, self._rules)
        except KeyRingRefused as error:
            self._store.destroy(key.kid)
            raise StateError(f"the next {planned.role} key cannot be added: {error}") from error
        ring = self._write(last, changed, now_ms)
        return Outcome(ring.version, True, ring.keys[-1])

    def _write(self, last: SignedRing | None, keys: Sequence[KeyEntry], now_ms: int) -> KeyRing:
        """Sign and store the next version. A crash before `append` has changed nothing."""
        try:
            ring = extend(last, keys, now_ms)
            evidence = signing_key(ring if last is None else last.ring, "evidence", ring.iat)
            if evidence is None:
                raise KeyRingRefused("no evidence key is in force to sign it")
            statement = canonical.encode(ring)
            protected = jws.protected_header(evidence.kid, jws.TYPE_KEYRING, evidence.alg)
            signer = self._store.signer(evidence.kid, "evidence")
            signature = jws.detached(
                protected, signer.sign(jws.signing_input(protected, statement))
            )
            check_step(last, read_version(statement, signature))
        except (KeyRingRefused, SigningFailed) as error:
            raise StateError(
                f"the next version of the key ring cannot be made: {error}",
                next_step="Nothing was changed. `verismo keys ring` shows the ring as it is.",
            ) from error
        self._store.append(RingVersion(ring.version, statement, signature.encode("ascii"), now_ms))
        return ring

    def _destroy_past(self, ring: KeyRing, now_ms: int) -> None:
        """Delete private keys that nothing will sign with again: nobody can steal them then.

        Not before their successor has signed for as long as they stay in the JWKS. A clock that is
        off by years would else delete the key in use in the same moment that it makes another one.
        """
        for entry in ring.keys:
            over_ms = now_ms - self._rules.overlap_ms
            if entry.kid in self._gone or entry.window_end_ms > over_ms:
                continue
            if not any(_succeeds(one, entry) and one.not_before_ms <= over_ms for one in ring.keys):
                continue
            if self._store.destroy(entry.kid):
                fields = {"kid": entry.kid, "role": entry.role}
                log.info("private key deleted", extra={"fields": fields})
            self._gone.add(entry.kid)


def _succeeds(later: KeyEntry, entry: KeyEntry) -> bool:
    return later.role == entry.role and later.window_end_ms > entry.window_end_ms
