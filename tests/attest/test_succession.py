"""When a successor is due, what it may not shorten, and what it makes of the keys before it."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
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

from verismo.attest.keyentry import KeyRingRefused, state_at
from verismo.attest.keyring import signing_key
from verismo.attest.keys import KEYS_MAX, import_key
from verismo.attest.succession import (
    NO_KEY,
    SHORT_NOTICE,
    SUPERSEDED,
    KeyRules,
    due,
    emergency,
    last_ends_ms,
    new_entry,
    pending_key,
    planned,
    with_revocation,
)
from verismo.model.errors import StateError

END_MS = START_MS + RULES.active_ms
HANDOVER_MS = RULES.handover_ms


def ring_of(rotation):
    return newest(rotation).ring


def test_defaults_are_those_of_the_documentation():
    assert (RULES.active_ms, RULES.notice_ms) == (30 * DAY_MS, DAY_MS)
    assert (RULES.overlap_ms, RULES.jwks_max_age_ms) == (7 * DAY_MS, 300_000)


def test_notice_is_at_least_twice_what_a_key_set_may_be_kept():
    assert RULES.lead_ms == DAY_MS
    assert KeyRules(notice_ms=1_000, jwks_max_age_ms=300_000).lead_ms == 600_000


def test_first_token_key_may_be_used_at_once_and_is_no_emergency():
    (first,) = tokens(begun()[0])
    assert state_at(first, START_MS) == "active"
    assert (first.emergency, first.not_after_ms) == ("", END_MS)


def test_nothing_is_due_until_two_notices_before_the_end():
    ring = ring_of(begun()[0])
    begins = END_MS - HANDOVER_MS - 2 * DAY_MS
    assert due(ring, "token", begins - 1, RULES) is None
    found = due(ring, "token", begins, RULES)
    assert found is not None
    assert (found.not_before_ms, found.emergency) == (END_MS - HANDOVER_MS, "")


def test_successor_that_is_late_says_that_it_had_no_notice():
    ring = ring_of(begun()[0])
    late = END_MS - HANDOVER_MS - RULES.lead_ms + 1
    found = due(ring, "token", late, RULES)
    assert found is not None
    assert (found.not_before_ms, found.emergency) == (END_MS - HANDOVER_MS, SHORT_NOTICE)


def test_gateway_without_a_key_in_force_gets_one_at_once():
    found = due(ring_of(begun()[0]), "token", END_MS + DAY_MS, RULES)
    assert found is not None
    assert (found.not_before_ms, found.emergency) == (END_MS + DAY_MS, NO_KEY)


def test_last_end_is_that_of_the_successor_once_it_is_published():
    rotation, _ = begun()
    assert last_ends_ms(ring_of(rotation)) == {"token": END_MS}
    rotation.step(END_MS - 2 * DAY_MS)
    successor = tokens(rotation)[-1]
    assert last_ends_ms(ring_of(rotation)) == {"token": successor.not_after_ms}
    assert successor.not_after_ms > END_MS


def test_role_whose_only_key_was_revoked_has_ended():
    rotation, _ = begun()
    log_key = next(entry for entry in ring_of(rotation).keys if entry.role == "log")
    entries = with_revocation(ring_of(rotation).keys, log_key.kid, START_MS + 5, "gone", START_MS)
    ring = msgspec.structs.replace(ring_of(rotation), keys=tuple(entries))
    assert last_ends_ms(ring)["log"] == START_MS + 5


def test_one_successor_is_enough():
    rotation, _ = begun()
    rotation.step(END_MS - 2 * DAY_MS)
    assert due(ring_of(rotation), "token", END_MS - DAY_MS, RULES) is None
    with pytest.raises(KeyRingRefused, match="published already"):
        planned(ring_of(rotation), "token", END_MS - DAY_MS, RULES)


@pytest.mark.parametrize("role", ["evidence", "log", "rollup"])
def test_only_token_keys_end_by_plan(role):
    assert due(ring_of(begun()[0]), role, START_MS + 5_000 * DAY_MS, RULES) is None


def test_planned_rotation_keeps_the_notice_and_retires_the_key_before():
    rotation, _ = begun()
    at_ms = START_MS + 3 * DAY_MS
    outcome = rotation.rotate("token", at_ms)
    first, second = tokens(rotation)
    assert outcome.key == second
    assert second.not_before_ms == at_ms + DAY_MS
    assert first.retired_ms == second.not_before_ms + HANDOVER_MS
    assert (second.emergency, second.retired_ms) == ("", 0)
    assert pending_key(ring_of(rotation), "token", at_ms) == second


def test_workers_may_use_the_old_key_until_the_handover_is_over():
    rotation, _ = begun()
    rotation.rotate("token", START_MS)
    first, second = tokens(rotation)
    ring, switch_ms = ring_of(rotation), second.not_before_ms
    assert signing_key(ring, "token", switch_ms - 1) == first
    assert signing_key(ring, "token", switch_ms) == second
    states = {k: state_at(first, switch_ms + k) for k in (0, HANDOVER_MS - 1, HANDOVER_MS)}
    assert list(states.values()) == ["active", "active", "retired"]


def test_emergency_says_so_is_used_at_once_and_drops_the_key_that_was_pending():
    rotation, _ = begun()
    rotation.rotate("token", START_MS)
    rotation.rotate("token", START_MS + HOUR_MS, "the disk was copied")
    first, second, third = tokens(rotation)
    now_ms = START_MS + HOUR_MS
    assert signing_key(ring_of(rotation), "token", now_ms) == third
    assert third.emergency == "the disk was copied"
    assert (state_at(second, now_ms), second.reason) == ("revoked", SUPERSEDED)
    assert first.retired_ms == now_ms + HANDOVER_MS, "brought forward"


def test_revocation_needs_a_key_a_time_and_a_reason():
    rotation, _ = begun()
    keys = ring_of(rotation).keys
    for kid, at_ms, reason in (("no such", 5, "x"), (keys[0].kid, 0, "x"), (keys[0].kid, 5, "")):
        with pytest.raises(KeyRingRefused):
            with_revocation(keys, kid, at_ms, reason, START_MS)


def test_key_cannot_be_revoked_twice_from_a_later_time():
    rotation, _ = begun()
    kid = tokens(rotation)[0].kid
    rotation.revoke(kid, START_MS + 1, "it leaked")
    revoked = entry_of(rotation, kid)
    with pytest.raises(KeyRingRefused, match="revoked already"):
        with_revocation(ring_of(rotation).keys, kid, revoked.revoked_ms, "again", START_MS + 2)


def test_key_of_another_role_cannot_succeed():
    store = MemoryStore()
    key = import_key(store.make_key("log"), "log")
    with pytest.raises(KeyRingRefused, match="cannot succeed"):
        new_entry(emergency("token", START_MS, RULES, "x"), key, START_MS)


@pytest.mark.slow
def test_key_set_never_grows_over_what_verifiers_take():
    rotation, _ = begun()
    at_ms = START_MS
    while len(ring_of(rotation).keys) < KEYS_MAX:
        at_ms += 120_000
        rotation.rotate("token", at_ms, "again")
    with pytest.raises(StateError, match="at most 64 keys"):
        rotation.rotate("token", at_ms, "again")
    published = [k for k in ring_of(rotation).keys if not k.revoked_ms]
    assert len(published) == KEYS_MAX


@pytest.mark.slow
@given(st.lists(st.integers(1, 40 * 24), min_size=1, max_size=12))
@settings(max_examples=20, deadline=None)
def test_there_is_always_a_key_and_always_a_notice_whenever_the_rounds_come(hours):
    """Rounds at any distance: after each a key is in force; a key without notice says so."""
    rotation, _ = begun()
    now_ms = START_MS
    for pause in hours:
        now_ms += pause * HOUR_MS
        rotation.step(now_ms)
        ring = ring_of(rotation)
        assert signing_key(ring, "token", now_ms) is not None
        for key in tokens(rotation)[1:]:
            if not key.emergency:
                assert key.not_before_ms - key.created_ms >= RULES.lead_ms
    rotation.history()
