"""Rotation over a store: what each command writes, and what it leaves when something fails."""

import pytest
from tests.support.keyring import (
    DAY_MS,
    HOUR_MS,
    RULES,
    START_MS,
    MemoryStore,
    begun,
    entry_of,
    newest,
    tokens,
)

from verismo.attest.keyentry import state_at
from verismo.attest.keyring import check_history, read_keyring, signing_key, write_keyring
from verismo.attest.succession import NO_KEY
from verismo.control.rotation import EFFECT_MS, RingHistory, Rotation
from verismo.model.errors import StateError
from verismo.ports.keyring import RingVersion
from verismo.ports.signer import SigningFailed

END_MS = START_MS + RULES.active_ms


@pytest.mark.slow
def test_rounds_rotate_by_themselves_for_years():
    rotation, store = begun()
    for day in range(0, 3 * 365, 1):
        now_ms = START_MS + day * DAY_MS
        rotation.step(now_ms)
        assert signing_key(newest(rotation).ring, "token", now_ms) is not None
    assert {key.emergency for key in tokens(rotation)} == {""}
    assert 36 <= len(tokens(rotation)) <= 38
    history = rotation.history()
    assert check_history(None, history).version == len(history)
    assert read_keyring(write_keyring(history)) == history
    tokens_left = [k for k in tokens(rotation) if k.kid in store.keys]
    assert len(tokens_left) <= 3, "private keys of the past are gone"


def test_second_rotation_before_the_switch_changes_nothing():
    rotation, _ = begun()
    first = rotation.rotate("token", START_MS)
    again = rotation.rotate("token", START_MS + HOUR_MS)
    assert (first.changed, again.changed) == (True, False)
    assert (again.key, again.version) == (first.key, first.version)


def test_evidence_key_rotates_and_the_ring_stays_verifiable():
    rotation, _ = begun()
    rotation.rotate("evidence", START_MS)
    rotation.rotate("token", START_MS + 2 * DAY_MS)
    rotation.rotate("evidence", START_MS + 40 * DAY_MS, "copied")
    rotation.rotate("token", START_MS + 50 * DAY_MS)
    check_history(None, rotation.history())


@pytest.mark.parametrize("role", ["log", "witness"])
def test_pinned_keys_are_not_rotated(role):
    rotation, _ = begun()
    with pytest.raises(StateError, match="pinned"):
        rotation.rotate(role, START_MS)
    assert len(rotation.history()) == 1


def test_role_without_a_key_gets_its_first_one_at_once():
    rotation, _ = begun()
    outcome = rotation.ensure("witness", START_MS + DAY_MS)
    assert outcome.key is not None
    assert (outcome.key.role, outcome.key.emergency) == ("witness", "")
    assert state_at(outcome.key, START_MS + DAY_MS) == "active"
    assert not rotation.ensure("witness", START_MS + 2 * DAY_MS).changed


def test_gateway_that_was_off_for_months_gets_a_key_and_the_ring_says_why():
    rotation, _ = begun()
    outcome = rotation.ensure("token", START_MS + 90 * DAY_MS)
    assert outcome.key is not None
    assert outcome.key.emergency == NO_KEY


def test_revoked_key_in_use_is_replaced_in_the_same_version():
    rotation, _ = begun()
    used = tokens(rotation)[0]
    outcome = rotation.revoke(used.kid, START_MS + DAY_MS, "it leaked")
    assert outcome.version == 2
    revoked = entry_of(rotation, used.kid)
    assert revoked.revoked_ms == START_MS + DAY_MS + EFFECT_MS
    assert outcome.key is not None
    assert "it leaked" in outcome.key.emergency
    assert signing_key(newest(rotation).ring, "token", START_MS + DAY_MS) == outcome.key


def test_revoked_pending_key_leaves_the_one_in_use_alone():
    rotation, _ = begun()
    pending = rotation.rotate("token", START_MS).key
    assert pending is not None
    outcome = rotation.revoke(pending.kid, START_MS + HOUR_MS, "never mind")
    assert (outcome.changed, outcome.key) == (True, None)
    assert signing_key(newest(rotation).ring, "token", START_MS + HOUR_MS) == tokens(rotation)[0]


def test_revoked_log_key_is_replaced_at_once():
    rotation, _ = begun()
    log = next(k for k in newest(rotation).ring.keys if k.role == "log")
    outcome = rotation.revoke(log.kid, START_MS + HOUR_MS, "it leaked")
    assert outcome.key is not None
    assert outcome.key.role == "log"


def test_unknown_key_cannot_be_revoked():
    rotation, _ = begun()
    with pytest.raises(StateError, match="no key 'nothing'"):
        rotation.revoke("nothing", START_MS, "x")


def test_a_clock_that_is_a_year_ahead_destroys_no_key_that_is_in_use():
    rotation, store = begun()
    in_use = signing_key(newest(rotation).ring, "token", START_MS)
    assert in_use is not None
    for second in range(3):
        rotation.step(START_MS + 365 * DAY_MS + second * 1_000)
    assert len(tokens(rotation)) == 2, "it takes the first one to have ended long ago"
    assert in_use.kid in store.keys
    assert signing_key(newest(rotation).ring, "token", START_MS + DAY_MS) == in_use


def test_private_key_is_destroyed_only_after_its_overlap():
    rotation, store = begun()
    rotation.rotate("token", START_MS)
    first, second = (entry_of(rotation, k.kid) for k in tokens(rotation))
    over_ms = first.end_ms + RULES.overlap_ms
    rotation.step(over_ms - 1)
    assert first.kid in store.keys
    rotation.step(over_ms)
    assert first.kid not in store.keys
    assert second.kid in store.keys


def test_two_rotations_at_once_make_one_version():
    store = MemoryStore()
    one, _ = begun(store)
    two = Rotation(store, RULES)
    two.history()
    rival = store.append

    def append(version: RingVersion) -> None:
        store.append = rival
        one.rotate("token", START_MS + HOUR_MS)
        rival(version)

    store.append = append
    with pytest.raises(StateError):
        two.rotate("token", START_MS + HOUR_MS)
    assert not two.rotate("token", START_MS + HOUR_MS).changed, "the other's key is the next one"
    assert len(tokens(one)) == 2


def test_nothing_is_written_while_the_evidence_key_cannot_sign():
    rotation, store = begun()
    evidence = next(k for k in newest(rotation).ring.keys if k.role == "evidence")

    def refuse(message: bytes) -> bytes:
        raise SigningFailed("out of reach")

    store.keys[evidence.kid].sign = refuse
    with pytest.raises(StateError, match="cannot be made: out of reach"):
        rotation.rotate("token", START_MS)
    assert len(store.stored) == 1


def test_nothing_can_be_rotated_before_the_first_start():
    with pytest.raises(StateError, match="no key ring yet"):
        Rotation(MemoryStore(), RULES).step(START_MS)


def test_version_that_somebody_altered_is_not_believed():
    rotation, store = begun()
    rotation.rotate("token", START_MS)
    one, two = store.stored
    for forged in (two.statement.replace(b'"reason":""', b'"reason":"x"'), one.statement, b""):
        store.stored = [one, RingVersion(2, forged, two.jws, two.written_ms)]
        with pytest.raises(StateError, match="version 2 of the key ring cannot be believed"):
            RingHistory(store).read()


def test_what_was_checked_once_is_not_checked_again():
    rotation, store = begun()
    before = rotation.history()
    store.stored[0] = RingVersion(1, b"no ring", b"", 0)
    assert rotation.history() == before


def test_log_of_a_round_names_the_key_and_no_secret(caplog):
    rotation, store = begun()
    caplog.set_level("INFO", "verismo.keys")
    rotation.step(END_MS - DAY_MS - RULES.handover_ms)
    (record,) = caplog.records
    assert record.fields["kid"] == tokens(rotation)[-1].kid
    assert record.levelname == "INFO"
    assert store.keys


def test_restored_old_ring_takes_in_what_was_published_since():
    rotation, store = begun()
    rotation.rotate("token", START_MS)
    rotation.rotate("token", START_MS + HOUR_MS, "an emergency")
    published = rotation.history()
    restored = MemoryStore()
    restored.stored, restored.keys = store.stored[:1], store.keys
    old = Rotation(restored, RULES)
    assert old.adopt(published, START_MS + DAY_MS).changed
    assert old.history() == published
    assert not old.adopt(published, START_MS + DAY_MS).changed


def test_ring_that_is_not_a_longer_one_of_ours_is_not_adopted():
    rotation, store = begun()
    rotation.rotate("token", START_MS)
    stored = list(store.stored)
    other, _ = begun(MemoryStore("another"))
    other.rotate("token", START_MS)
    for offered in (other.history(), rotation.history()[:1], ()):
        with pytest.raises(StateError, match="cannot be adopted"):
            rotation.adopt(offered, START_MS)
    assert store.stored == stored
