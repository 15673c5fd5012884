"""Vectors about the key ring: when a key counted, and rings that are not believed."""

from collections.abc import Callable, Iterator, Sequence

import msgspec
from forge import TIME_MS, TOKEN, Json, Key, Vector, header, invalid, stream, token, valid, whole
from forge_ledger import ALICE, BOB, ORIGIN, POLICY, SEEN_S, VKEY, Log, NoteKey, entry, trusting

from verismo.attest import jws
from verismo.attest.keyentry import KeyEntry
from verismo.attest.keyring import (
    NO_VERSION,
    KeyRing,
    Remembered,
    SignedRing,
    sha256_of,
    write_keyring,
)
from verismo.attest.keys import Role
from verismo.model import base64url, canonical

DAY_MS = 86_400_000
BEGUN_MS = TIME_MS - 10 * DAY_MS
SEEN_MS = SEEN_S * 1_000
EVIDENCE = Key("evidence 1", role="evidence")

Reentry = Callable[[KeyEntry], KeyEntry]


def key_entry(key: Key, role: Role, **times: int | str) -> KeyEntry:
    """Return a ring's entry for a key that was made ten days before the answer."""
    plain = KeyEntry(
        kid=key.kid,
        x=base64url.encode(key.raw),
        alg="Ed25519",
        role=role,
        created_ms=BEGUN_MS,
        not_before_ms=BEGUN_MS,
        not_after_ms=0,
        retired_ms=0,
        revoked_ms=0,
        reason="",
        emergency="",
    )
    return msgspec.structs.replace(plain, **times)


def log_entry(**times: int | str) -> KeyEntry:
    """Return the entry of the key that signs checkpoints."""
    return key_entry(Key("note log", role="log"), "log", **times)


def sign(ring: KeyRing, key: Key = EVIDENCE) -> SignedRing:
    """Sign a version."""
    statement = canonical.encode(ring)
    return SignedRing(ring, statement, token(statement, key, header(key, jws.TYPE_KEYRING)))


def history(*changes: tuple[int, Sequence[KeyEntry]]) -> list[SignedRing]:
    """Return versions with these keys, each made at its time; evidence key and link are added."""
    made: list[SignedRing] = []
    for at_ms, keys in changes:
        before = sha256_of(made[-1]) if made else NO_VERSION
        entries = (key_entry(EVIDENCE, "evidence"), *keys)
        made.append(sign(KeyRing(1, len(made) + 1, before, at_ms, entries)))
    return made


def ring(*versions: SignedRing) -> Json:
    """Return the document that a gateway serves."""
    document: Json = msgspec.json.decode(write_keyring(versions))
    return document


def revoked(at_ms: int, reason: str = "stolen") -> list[SignedRing]:
    """Return a history in which the token key is revoked."""
    plain = key_entry(TOKEN, "token")
    after = msgspec.structs.replace(plain, revoked_ms=at_ms, reason=reason)
    return history((BEGUN_MS, [plain]), (max(at_ms, BEGUN_MS + 1), [after]))


def vectors() -> Iterator[Vector]:
    """Return them all."""
    yield from _windows()
    yield from _revoked()
    yield from _streams()
    yield from _log_keys()
    yield from _refused()


def with_ring(vector: Vector, document: Json, **more: Json) -> Vector:
    """Return a vector whose verifier trusts a ring and demands no proof."""
    return trusting(vector, None, keyring=document, **more)


def _windows() -> Iterator[Vector]:
    """The key's times around the statement's, a minute of skew included."""
    skew = 60_000
    for name, shows, times in (
        ("in-force", "the key counts", {}),
        ("retired-later", "the key was retired later", {"not_after_ms": TIME_MS + DAY_MS}),
        ("end-skew", "a minute after the key's end", {"not_after_ms": TIME_MS - skew}),
        ("begin-skew", "a minute before the key counts", {"not_before_ms": TIME_MS + skew}),
    ):
        made = history((BEGUN_MS, [key_entry(TOKEN, "token", **times)]))
        yield with_ring(valid(f"ring-{name}", shows, whole()), ring(*made))
    for name, shows, times in (
        ("ended", "the key's time was over", {"not_after_ms": TIME_MS - skew - 1}),
        ("pending", "the key did not count yet", {"not_before_ms": TIME_MS + skew + 1}),
    ):
        made = history((BEGUN_MS, [key_entry(TOKEN, "token", **times)]))
        yield with_ring(invalid(f"ring-{name}", shows, whole(), 17), ring(*made))
    unknown = history((BEGUN_MS, [key_entry(Key("token 3"), "token")]))
    yield with_ring(invalid("ring-unknown", "the ring lacks the key", whole(), 17), ring(*unknown))
    other = history((BEGUN_MS, [key_entry(TOKEN, "plan")]))
    yield with_ring(invalid("ring-role", "another role in the ring", whole(), 17), ring(*other))
    entries = [key_entry(TOKEN, "token", alg="EdDSA")]
    vector = invalid("ring-algorithm", "another algorithm in the ring", whole(), 17)
    yield with_ring(vector, ring(*history((BEGUN_MS, entries))))


def _revoked() -> Iterator[Vector]:
    """An answer by a revoked key needs a witness that saw it before the revocation."""
    witnesses = ((ALICE, SEEN_S), (BOB, SEEN_S))
    proof = Log(entry(whole()), witnesses=witnesses).proof()
    one = Log(entry(whole()), witnesses=witnesses[:1]).proof()
    late = Log(entry(whole()), witnesses=(witnesses[0], (BOB, SEEN_S + 3_600))).proof()
    for name, shows, at_ms, given in (
        ("after-witnesses", "witnessed before its key was revoked", SEEN_MS + 1_000, proof),
        ("long-after", "witnessed long before its key was revoked", SEEN_MS + DAY_MS, late),
    ):
        vector = valid(f"ring-revoked-{name}", shows, whole())
        yield trusting(vector, given, VKEY, policy=POLICY, keyring=ring(*revoked(at_ms)))
    for name, shows, at_ms, given in (
        ("same-second", "witnessed in the second of the revocation", SEEN_MS + 999, proof),
        ("before-witnesses", "witnessed after the revocation", SEEN_MS - 500, proof),
        ("before-quorum", "one witness before the revocation, one after", SEEN_MS + 9_000, late),
    ):
        vector = invalid(f"ring-revoked-{name}", shows, whole(), 17)
        yield trusting(vector, given, VKEY, policy=POLICY, keyring=ring(*revoked(at_ms)))
    later = ring(*revoked(TIME_MS + DAY_MS))
    vector = invalid("ring-revoked-no-proof", "no proof that it is older", whole(), 17)
    yield with_ring(vector, later)
    vector = invalid("ring-revoked-no-policy", "a proof that nobody witnessed", whole(), 17)
    yield trusting(vector, proof, VKEY, keyring=later)
    vector = invalid("ring-revoked-no-quorum", "a quorum is missed", whole(), 16, 17)
    yield trusting(vector, one, VKEY, policy=POLICY, keyring=later)
    vector = invalid("ring-revoked-not-included", "the proof of another index", whole(), 15, 17)
    moved = proof.replace("index 137\n", "index 136\n")
    yield trusting(vector, moved, VKEY, policy=POLICY, keyring=later)
    before = ring(*revoked(TIME_MS - DAY_MS))
    vector = invalid("ring-revoked-before", "signed after the revocation", whole(), 17)
    yield trusting(vector, proof, VKEY, policy=POLICY, keyring=before)


def _streams() -> Iterator[Vector]:
    made = stream()
    cut = made.case(made.blocks[:4])
    plain = ring(*history((BEGUN_MS, [key_entry(TOKEN, "token")])))
    shows = "a prefix by a key in force"
    vector = Vector("ring-stream-cut", shows, cut, "VERIFIED_PREFIX", (12,), 2)
    yield with_ring(vector, plain)
    cut = made.case(made.blocks[:4])
    shows = "a prefix by a revoked key: no ledger holds its head"
    vector = Vector("ring-stream-cut-revoked", shows, cut, "INVALID", (12, 17), 0)
    yield with_ring(vector, ring(*revoked(TIME_MS + DAY_MS)))
    case = made.case()
    vector = invalid("ring-stream-revoked", "a whole stream by a revoked key", case, 17, events=0)
    yield with_ring(vector, ring(*revoked(TIME_MS + DAY_MS)))


def _log_keys() -> Iterator[Vector]:
    """Where no log key is named, those of the ring count."""
    plain = [key_entry(TOKEN, "token")]
    proof = Log(entry(whole())).proof()
    vector = valid("ring-log-key", "the ring has the key of the log", whole())
    yield trusting(vector, proof, keyring=ring(*history((BEGUN_MS, [*plain, log_entry()]))))
    second = key_entry(Key("log 2", role="log"), "log")
    vector = valid("ring-log-keys", "the ring has two keys of the log", whole())
    yield trusting(vector, proof, keyring=ring(*history((BEGUN_MS, [*plain, log_entry(), second]))))
    vector = invalid("ring-log-key-other", "the ring has another key of the log", whole(), 15)
    yield trusting(vector, proof, keyring=ring(*history((BEGUN_MS, [*plain, second]))))
    gone = log_entry(revoked_ms=TIME_MS + DAY_MS, reason="stolen")
    versions = history((BEGUN_MS, [*plain, log_entry()]), (TIME_MS + DAY_MS, [*plain, gone]))
    vector = invalid("ring-log-key-revoked", "the ring's key of the log is revoked", whole(), 15)
    yield trusting(vector, proof, keyring=ring(*versions))
    impostor = Log(entry(whole()), signer=NoteKey(ORIGIN, seed_name="another log")).proof()
    vector = invalid("ring-log-key-forged", "a checkpoint by a key of nobody", whole(), 15)
    yield trusting(vector, impostor, keyring=ring(*history((BEGUN_MS, [*plain, log_entry()]))))


def _refused() -> Iterator[Vector]:
    """Rings that nothing is believed by: the answer is not looked at."""
    plain = key_entry(TOKEN, "token")
    second = key_entry(Key("token 2"), "token", created_ms=TIME_MS, not_before_ms=TIME_MS)
    made = history((BEGUN_MS, [plain]), (TIME_MS, [plain, second]))
    forked = history((BEGUN_MS, [plain]), (TIME_MS + 1, [plain]))
    remembered = _remember(made[-1])
    vector = valid("ring-remembered", "the ring that was seen before", whole())
    yield with_ring(vector, ring(*made), remembered=remembered)
    third = history((BEGUN_MS, [plain]), (TIME_MS, [plain, second]), (TIME_MS + 2, [plain, second]))
    vector = valid("ring-grown", "a newer ring than was seen before", whole())
    yield with_ring(vector, ring(*third), remembered=remembered)
    unlinked = sign(msgspec.structs.replace(made[1].ring, prev=NO_VERSION))
    undated = sign(msgspec.structs.replace(made[1].ring, iat=BEGUN_MS - 1))
    early = key_entry(Key("token 2"), "token")
    past = history((BEGUN_MS, [plain]), (TIME_MS, [plain, early]))
    dropped = history((BEGUN_MS, [plain]), (TIME_MS, []))
    longer = msgspec.structs.replace(plain, not_after_ms=TIME_MS + DAY_MS)
    stretched = history((BEGUN_MS, [plain]), (TIME_MS, [longer]))
    foreign = [made[0], sign(made[1].ring, Key("evidence 2", role="evidence"))]
    by_token = [made[0], sign(made[1].ring, TOKEN)]
    tampered = [made[0], replace_jws(made[1], made[0].jws)]
    cleared = history(
        *((one.ring.iat, one.ring.keys[1:]) for one in revoked(TIME_MS)), (TIME_MS + 9, [plain])
    )
    for name, shows, versions, seen in (
        ("rollback", "an older ring than was seen", made[:1], remembered),
        ("fork", "another ring than was seen, of the same length", forked, remembered),
        ("gap", "the first version is left out", made[1:], None),
        ("empty", "a history without versions", [], None),
        ("unlinked", "a version that is not linked to the one before", [made[0], unlinked], None),
        ("undated", "a version older than the one before", [made[0], undated], None),
        ("past", "a new key that is said to have counted before", past, None),
        ("dropped", "a version without a key of the one before", dropped, None),
        ("stretched", "a key's end that was changed later", stretched, None),
        ("foreign", "signed by an evidence key that is not in the ring", foreign, None),
        ("by-token", "signed by a token key", by_token, None),
        ("tampered", "with the signature of another version", tampered, None),
        ("unrevoked", "a revocation that was undone", cleared, None),
    ):
        vector = invalid(f"ring-refused-{name}", shows, whole(), 17)
        more: dict[str, Json] = {} if seen is None else {"remembered": seen}
        yield with_ring(vector, ring(*versions), **more)


def _remember(version: SignedRing) -> Json:
    remembered: Json = msgspec.to_builtins(Remembered(version.ring.version, sha256_of(version)))
    return remembered


def replace_jws(version: SignedRing, signature: str) -> SignedRing:
    """Return a version with another signature."""
    return msgspec.structs.replace(version, jws=signature)
