"""The key ring: linked versions, what is published of them, and every way to falsify a history."""

import json

import msgspec
import pytest
from tests.support.keyring import (
    DAY_MS,
    HOUR_MS,
    RULES,
    START_MS,
    MemoryStore,
    SeedSigner,
    begun,
    entry_of,
    newest,
    tokens,
)

from verismo.attest import jws
from verismo.attest.keyentry import KeyRingRefused, state_at
from verismo.attest.keyring import (
    NO_VERSION,
    VERSIONS_MAX,
    KeyRing,
    Remembered,
    SignedRing,
    check_history,
    extend,
    jwks_of,
    published_at,
    read_keyring,
    read_version,
    sha256_of,
    signing_key,
    unchanged_ms,
    write_keyring,
)
from verismo.attest.keys import read_jwks
from verismo.model import base64url, canonical

NEXT_MS = START_MS + DAY_MS


@pytest.fixture(scope="module")
def rotated():
    """A ring of four versions: first keys, a rotation, a new evidence key, a revocation."""
    rotation, store = begun()
    rotation.rotate("token", START_MS + HOUR_MS)
    rotation.rotate("evidence", START_MS + 2 * HOUR_MS)
    rotation.revoke(tokens(rotation)[0].kid, START_MS + 30 * DAY_MS, "it leaked")
    return rotation, store


def sign(store: MemoryStore, ring: KeyRing, kid: str, typ=jws.TYPE_KEYRING) -> SignedRing:
    statement = canonical.encode(ring)
    protected = jws.protected_header(kid, typ)
    signature = store.keys[kid].sign(jws.signing_input(protected, statement))
    return read_version(statement, jws.detached(protected, signature))


def evidence(before: SignedRing, iat_ms: int) -> str:
    """Return the key that signs what follows a version at a time."""
    return signing_key(before.ring, "evidence", iat_ms).kid


def altered(rotated, **changes) -> tuple[SignedRing, ...]:
    """A history whose last version was changed, and signed anew by the right key."""
    rotation, store = rotated
    *before, last = rotation.history()
    ring = msgspec.structs.replace(last.ring, **changes)
    iat_ms = max(ring.iat, before[-1].ring.iat)
    return (*before, sign(store, ring, evidence(before[-1], iat_ms)))


def changed_key(rotated, position: int, **changes) -> tuple[SignedRing, ...]:
    keys = list(newest(rotated[0]).ring.keys)
    keys[position] = msgspec.structs.replace(keys[position], **changes)
    return altered(rotated, keys=tuple(keys))


def test_honest_history_is_believed_and_remembered(rotated):
    history = rotated[0].history()
    assert [one.ring.version for one in history] == [1, 2, 3, 4]
    assert check_history(None, history) == Remembered(4, sha256_of(history[-1]))


def test_longer_history_is_believed_after_each_shorter_one(rotated):
    history = rotated[0].history()
    seen = None
    for length in range(1, len(history) + 1):
        seen = check_history(seen, history[:length])
    assert check_history(seen, history) == seen


def test_first_version_has_a_key_for_every_role_and_no_two_alike():
    rotation, _ = begun()
    keys = newest(rotation).ring.keys
    assert [k.role for k in keys] == ["token", "evidence", "log", "rollup", "plan"]
    assert {state_at(k, START_MS) for k in keys} == {"active"}
    assert len({k.kid for k in keys}) == 5
    assert newest(rotation).ring.prev == NO_VERSION


@pytest.mark.parametrize("version", [0, -1, -(2**63)])
def test_a_memory_of_a_version_that_no_ring_has_is_refused(rotated, version):
    history = rotated[0].history()
    seen = Remembered(version, sha256_of(history[0]))
    with pytest.raises(KeyRingRefused, match="which no ring has"):
        check_history(seen, history)


def test_rollback_to_an_older_ring_is_refused(rotated):
    history = rotated[0].history()
    seen = check_history(None, history)
    with pytest.raises(KeyRingRefused, match="rollback: version 3 is offered, but 4 was seen"):
        check_history(seen, history[:3])


def test_fork_of_the_same_length_is_refused(rotated):
    history = rotated[0].history()
    other = begun()[0]
    other.rotate("token", START_MS + HOUR_MS)
    seen = check_history(None, history[:2])
    fork = msgspec.structs.replace(history[1].ring, iat=history[1].ring.iat + 1)
    signed = sign(rotated[1], fork, evidence(history[0], fork.iat))
    check_history(None, (history[0], signed))
    with pytest.raises(KeyRingRefused, match="fork: version 2"):
        check_history(seen, (history[0], signed))


def test_ring_of_another_gateway_is_refused(rotated):
    seen = check_history(None, rotated[0].history()[:1])
    other = begun(MemoryStore("another"))[0].history()
    with pytest.raises(KeyRingRefused, match="fork"):
        check_history(seen, other)


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_version_left_out_is_seen(rotated, missing):
    history = list(rotated[0].history())
    del history[missing]
    with pytest.raises(KeyRingRefused):
        check_history(None, history)


def test_empty_history_is_refused():
    with pytest.raises(KeyRingRefused, match="empty"):
        check_history(None, ())


def test_endless_history_is_refused_before_it_is_checked(rotated):
    with pytest.raises(KeyRingRefused, match="more than 10000 versions"):
        check_history(None, rotated[0].history()[:1] * (VERSIONS_MAX + 1))


def test_versions_swapped_are_refused(rotated):
    one, two, three, four = rotated[0].history()
    with pytest.raises(KeyRingRefused, match="stands after"):
        check_history(None, (one, three, two, four))


def test_link_to_another_version_is_refused(rotated):
    with pytest.raises(KeyRingRefused, match="not linked"):
        check_history(None, altered(rotated, prev="1" * 64))


def test_ring_dated_before_the_one_before_is_refused(rotated):
    with pytest.raises(KeyRingRefused, match="older than the one before"):
        check_history(None, altered(rotated, iat=START_MS - 1))


def test_key_dropped_from_the_ring_is_seen(rotated):
    with pytest.raises(KeyRingRefused, match="drops a key"):
        check_history(None, altered(rotated, keys=newest(rotated[0]).ring.keys[:2]))


@pytest.mark.parametrize(
    "changes",
    [
        *({"created_ms": 1}, {"not_before_ms": START_MS + 1}, {"role": "plan"}),
        *({"not_after_ms": START_MS + 400 * DAY_MS}, {"alg": "EdDSA"}, {"emergency": "so"}),
    ],
)
def test_past_of_a_key_cannot_be_changed(rotated, changes):
    with pytest.raises(KeyRingRefused, match="not the one of the version before"):
        check_history(None, changed_key(rotated, 0, **changes))


def test_retirement_in_the_past_would_undo_honest_answers_and_is_refused(rotated):
    position = [k.role for k in newest(rotated[0]).ring.keys].index("log")
    with pytest.raises(KeyRingRefused, match="not in the past"):
        check_history(None, changed_key(rotated, position, retired_ms=START_MS + 1))


def test_key_that_is_not_active_cannot_be_retired(rotated):
    with pytest.raises(KeyRingRefused, match="retired cannot retire"):
        check_history(None, changed_key(rotated, 0, retired_ms=START_MS + 60 * DAY_MS))


def test_revocation_cannot_be_undone_or_put_off():
    rotation, store = begun()
    kid = tokens(rotation)[0].kid
    rotation.revoke(kid, START_MS + DAY_MS, "it leaked")
    revoked = entry_of(rotation, kid).revoked_ms
    for change in ({"revoked_ms": 0, "reason": ""}, {"revoked_ms": revoked + 1}):
        last = newest(rotation)
        keys = (msgspec.structs.replace(last.ring.keys[0], **change), *last.ring.keys[1:])
        ring = KeyRing(1, last.ring.version + 1, sha256_of(last), last.ring.iat, keys)
        forged = sign(store, ring, evidence(last, ring.iat))
        with pytest.raises(KeyRingRefused, match="not undone"):
            check_history(None, (*rotation.history(), forged))


def test_revocation_may_be_set_earlier_when_more_is_known():
    rotation, _ = begun()
    kid = tokens(rotation)[0].kid
    rotation.revoke(kid, START_MS + DAY_MS, "it leaked")
    rotation.revoke(kid, START_MS + 2 * DAY_MS, "it leaked earlier", START_MS + HOUR_MS)
    assert entry_of(rotation, kid).revoked_ms == START_MS + HOUR_MS
    check_history(None, rotation.history())


def test_new_key_cannot_come_with_a_past(rotated):
    rotation, store = rotated
    last = newest(rotation)
    made = msgspec.structs.replace(last.ring.keys[-1], kid="", x="")
    signer = SeedSigner(b"\x07" * 32)
    from_now = last.ring.iat
    for change in (
        {"not_before_ms": from_now - 1, "created_ms": 0},
        {"not_before_ms": from_now, "retired_ms": from_now + 5},
        {"not_before_ms": from_now, "revoked_ms": from_now + 5, "reason": "x"},
    ):
        key = msgspec.structs.replace(
            made,
            kid=signer.kid,
            x=base64url.encode(signer.public_key),
            not_after_ms=0,
            **{"retired_ms": 0, **change},
        )
        ring = KeyRing(1, 5, sha256_of(last), from_now, (*last.ring.keys, key))
        with pytest.raises(KeyRingRefused, match="a past"):
            check_history(None, (*rotation.history(), sign(store, ring, evidence(last, ring.iat))))


def test_ring_signed_by_a_key_of_another_role_is_refused(rotated):
    rotation, store = rotated
    *before, last = rotation.history()
    for role in ("token", "log", "rollup"):
        kid = next(k.kid for k in last.ring.keys if k.role == role)
        with pytest.raises(KeyRingRefused, match="not signed by an evidence key"):
            check_history(None, (*before, sign(store, last.ring, kid)))


def test_ring_signed_by_an_evidence_key_that_it_brings_itself_is_refused(rotated):
    rotation, store = rotated
    *before, last = rotation.history()[:3]
    brought = last.ring.keys[-1]
    assert brought.role == "evidence"
    with pytest.raises(KeyRingRefused, match="version before"):
        check_history(None, (*before, sign(store, last.ring, brought.kid)))


def test_ring_signed_by_a_retired_evidence_key_is_refused(rotated):
    rotation, store = rotated
    *before, last = rotation.history()
    first = next(k for k in last.ring.keys if k.role == "evidence")
    assert state_at(first, last.ring.iat) == "retired"
    with pytest.raises(KeyRingRefused, match="not active"):
        check_history(None, (*before, sign(store, last.ring, first.kid)))


@pytest.mark.parametrize("typ", [jws.TYPE_STATEMENT, jws.TYPE_VOID])
def test_signature_made_for_another_purpose_is_refused(rotated, typ):
    rotation, store = rotated
    *before, last = rotation.history()
    kid = evidence(before[-1], last.ring.iat)
    with pytest.raises(KeyRingRefused, match="not signed as a key ring"):
        check_history(None, (*before, sign(store, last.ring, kid, typ)))


def test_signature_over_other_bytes_is_refused(rotated):
    *before, last = rotated[0].history()
    forged = msgspec.structs.replace(last, jws=before[-1].jws)
    with pytest.raises(KeyRingRefused):
        check_history(None, (*before, forged))


def test_signature_of_the_right_key_over_another_version_is_refused(rotated):
    rotation, store = rotated
    *before, last = rotation.history()
    kid = evidence(before[-1], last.ring.iat)
    other = msgspec.structs.replace(last.ring, iat=last.ring.iat + 1)
    forged = msgspec.structs.replace(last, jws=sign(store, other, kid).jws)
    with pytest.raises(KeyRingRefused, match="not of its key"):
        check_history(None, (*before, forged))


def test_low_order_r_is_refused(rotated):
    *before, last = rotated[0].history()
    protected = last.jws.split(".")[0]
    forged = msgspec.structs.replace(last, jws=jws.detached(protected, b"\x01" + bytes(63)))
    with pytest.raises(KeyRingRefused, match="disagree"):
        check_history(None, (*before, forged))


def test_unsigned_first_version_is_refused(rotated):
    first = msgspec.structs.replace(rotated[0].history()[0], jws="")
    with pytest.raises(KeyRingRefused, match="not signed"):
        check_history(None, (first,))


def test_history_that_begins_in_the_middle_is_refused(rotated):
    with pytest.raises(KeyRingRefused, match="does not begin"):
        check_history(None, rotated[0].history()[1:])


@pytest.mark.parametrize(
    "text",
    [b"", b"{}", b"[]", b'{"v":2}', b" " + b'{"iat":0,"keys":[],"prev":"","v":1,"version":1}'],
)
def test_what_is_not_a_ring_is_refused(text):
    with pytest.raises(KeyRingRefused):
        read_version(text, "")


@pytest.mark.parametrize("changes", [{"v": 2}, {"version": 0}, {"iat": -1}, {"version": -5}])
def test_ring_of_another_format_or_without_a_place_is_refused(rotated, changes):
    ring = msgspec.structs.replace(newest(rotated[0]).ring, **changes)
    with pytest.raises(KeyRingRefused):
        read_version(canonical.encode(ring), "")


def test_one_key_in_two_roles_is_refused(rotated):
    ring = newest(rotated[0]).ring
    twice = msgspec.structs.replace(ring.keys[0], role="log")
    ring = msgspec.structs.replace(ring, keys=(*ring.keys, twice))
    with pytest.raises(KeyRingRefused, match="two roles"):
        read_version(canonical.encode(ring), "")


def test_ring_over_the_limit_is_refused():
    with pytest.raises(KeyRingRefused, match="longer"):
        read_version(bytes(1_048_577), "")


def test_document_brings_back_the_same_history(rotated):
    history = rotated[0].history()
    assert read_keyring(write_keyring(history)) == history


@pytest.mark.parametrize(
    "document",
    [
        *(b"", b"[]", b'{"v":1}', b'{"v":2,"versions":[]}', b"\xff", b'{"v":1,"versions":[{}]}'),
        b'{"v":1,"versions":[{"statement":"=","signature":""}]}',
        b'{"v":1,"v":1,"versions":[]}',
    ],
)
def test_what_is_not_a_ring_document_is_refused(document):
    with pytest.raises(KeyRingRefused):
        read_keyring(document)


def test_key_set_is_computed_from_the_clock_alone():
    rotation, _ = begun()
    rotation.rotate("token", START_MS)
    first, second = tokens(rotation)
    ring, overlap = newest(rotation).ring, RULES.overlap_ms

    def published(now_ms: int) -> list[str]:
        return [k.kid for k in published_at(ring, now_ms, overlap) if k.role == "token"]

    assert published(START_MS) == [first.kid, second.kid], "a pending key is published"
    assert published(first.end_ms + overlap - 1) == [first.kid, second.kid]
    assert published(first.end_ms + overlap) == [second.kid], "not one ms past the overlap"
    assert published(second.end_ms + overlap) == []
    at_ms = first.end_ms + overlap - 1_000
    assert unchanged_ms(ring, at_ms, overlap) == 1_000
    keys = read_jwks(jwks_of(published_at(ring, START_MS, overlap)))
    assert {key.role for key in keys.values()} == {"token", "evidence", "log", "rollup", "plan"}


def test_revoked_key_is_not_published_one_moment_longer():
    rotation, _ = begun()
    kid = tokens(rotation)[0].kid
    rotation.revoke(kid, START_MS + DAY_MS, "it leaked")
    ring, revoked = newest(rotation).ring, entry_of(rotation, kid).revoked_ms
    assert kid in {k.kid for k in published_at(ring, revoked - 1, RULES.overlap_ms)}
    assert kid not in {k.kid for k in published_at(ring, revoked, RULES.overlap_ms)}


def test_published_set_has_no_private_member(rotated):
    document = jwks_of(newest(rotated[0]).ring.keys)
    assert all("d" not in key for key in json.loads(document)["keys"])


def test_clock_that_went_back_does_not_take_the_history_back():
    rotation, _ = begun()
    last = newest(rotation)
    assert extend(last, last.ring.keys, START_MS - DAY_MS).iat == START_MS


def test_version_that_changes_the_past_cannot_be_made():
    last = newest(begun()[0])
    with pytest.raises(KeyRingRefused, match="drops a key"):
        extend(last, last.ring.keys[1:], START_MS)
