"""A key's state by the clock, the legal moves, and what a signature by it proves."""

import itertools
from typing import get_args

import msgspec
import pytest
from forge_tokens import FIELD, LOW_ORDER, add_points
from hypothesis import given
from hypothesis import strategies as st
from tests.support.keyring import SeedSigner

from verismo.attest.keyentry import (
    FOR_EVER_MS,
    SKEW_MS,
    TRANSITIONS,
    IllegalMove,
    KeyEntry,
    KeyMove,
    KeyRingRefused,
    KeyState,
    check_entry,
    check_point,
    judge_key,
    leaves_ms,
    move,
    public_key,
    state_at,
)
from verismo.attest.keys import thumbprint
from verismo.model import base64url

SIGNER = SeedSigner(bytes(32))
ENTRY = KeyEntry(
    kid=SIGNER.kid,
    x=base64url.encode(SIGNER.public_key),
    alg="Ed25519",
    role="token",
    created_ms=1_000,
    not_before_ms=1_000_000,
    not_after_ms=2_000_000,
    retired_ms=0,
    revoked_ms=0,
    reason="",
    emergency="",
)


def entry(**changes) -> KeyEntry:
    return msgspec.structs.replace(ENTRY, **changes)


@pytest.mark.parametrize(
    ("now_ms", "state"),
    [
        *((0, "pending"), (999_999, "pending"), (1_000_000, "active"), (1_999_999, "active")),
        *((2_000_000, "retired"), (FOR_EVER_MS, "retired")),
    ],
)
def test_state_follows_from_the_clock(now_ms, state):
    assert state_at(ENTRY, now_ms) == state


@pytest.mark.parametrize("revoked_ms", [1, 999_999, 1_500_000, 3_000_000])
def test_revocation_stands_from_its_time_on_whatever_the_state_was(revoked_ms):
    revoked = entry(revoked_ms=revoked_ms, reason="lost")
    assert state_at(revoked, revoked_ms - 1) == state_at(ENTRY, revoked_ms - 1)
    assert {state_at(revoked, now) for now in (revoked_ms, FOR_EVER_MS)} == {"revoked"}


def test_retirement_by_a_successor_comes_before_the_planned_end():
    retired = entry(retired_ms=1_500_000)
    assert [state_at(retired, now) for now in (1_499_999, 1_500_000)] == ["active", "retired"]


def test_role_without_a_planned_end_stays_active():
    assert state_at(entry(not_after_ms=0), FOR_EVER_MS - 1) == "active"


@pytest.mark.parametrize("state", get_args(KeyState))
@pytest.mark.parametrize("event", get_args(KeyMove))
def test_moves_outside_the_table_are_illegal(state, event):
    if (state, event) in TRANSITIONS:
        assert move(state, event) == TRANSITIONS[state, event]
    else:
        with pytest.raises(IllegalMove, match=f"{state} cannot {event}"):
            move(state, event)


def test_no_way_in_the_table_leads_back():
    order = get_args(KeyState)
    assert all(order.index(start) < order.index(end) for (start, _), end in TRANSITIONS.items())


times = st.integers(0, 3_000_000)


@given(times, times, times, st.lists(times, min_size=2, max_size=6))
def test_states_never_go_back_as_time_goes_on(begins, lasts, revoked, moments):
    key = entry(
        created_ms=0,
        not_before_ms=begins,
        not_after_ms=begins + lasts + 1,
        revoked_ms=revoked,
        reason="lost" if revoked else "",
    )
    order = get_args(KeyState)
    seen = [order.index(state_at(key, now)) for now in sorted(moments)]
    assert all(a <= b for a, b in itertools.pairwise(seen))


def test_signature_within_the_window_and_the_skew_is_good():
    for iat in (1_000_000 - SKEW_MS, 1_000_000, 1_999_999, 2_000_000 + SKEW_MS):
        assert judge_key(ENTRY, iat, None) == ""


def test_signature_dated_before_its_key_is_refused():
    assert "before its key counts" in judge_key(ENTRY, 999_999 - SKEW_MS, None)


def test_signature_dated_after_the_end_of_its_key_is_refused_even_with_a_witness():
    assert "after its key's end" in judge_key(ENTRY, 2_000_001 + SKEW_MS, 1_500_000)


REVOKED = entry(revoked_ms=1_500_000, reason="laptop stolen")


def test_backdated_token_of_a_stolen_key_is_refused_without_a_witness():
    assert "no witness" in judge_key(REVOKED, 1_200_000, None)
    assert "laptop stolen" in judge_key(REVOKED, 1_200_000, None)


@pytest.mark.parametrize("witnessed_ms", [1_500_000, 1_500_001, 9_000_000])
def test_backdated_token_witnessed_after_the_revocation_is_refused(witnessed_ms):
    assert "witnessed only" in judge_key(REVOKED, 1_200_000, witnessed_ms)


def test_token_witnessed_before_the_revocation_stands():
    assert judge_key(REVOKED, 1_200_000, 1_499_999) == ""


def test_token_dated_after_the_revocation_is_refused_whatever_a_witness_says():
    assert judge_key(REVOKED, 1_500_001 + SKEW_MS, 1_400_000) != ""


@pytest.mark.parametrize(
    "changes",
    [
        *({"created_ms": -1}, {"revoked_ms": -1, "reason": "x"}, {"created_ms": 1_000_001}),
        *({"not_after_ms": 1_000_000}, {"retired_ms": 999_999}, {"reason": "x"}),
        {"revoked_ms": 5},
    ],
)
def test_entry_that_contradicts_itself_is_refused(changes):
    check_entry(ENTRY)
    with pytest.raises(KeyRingRefused):
        check_entry(entry(**changes))


def with_point(raw: bytes) -> KeyEntry:
    return entry(kid=thumbprint(raw), x=base64url.encode(raw))


@pytest.mark.parametrize("name", LOW_ORDER)
def test_low_order_point_is_refused_in_a_ring(name):
    with pytest.raises(KeyRingRefused, match="must not be used"):
        check_point(with_point(LOW_ORDER[name]))


@pytest.mark.parametrize("low", ["minus-one", "zero", "eighth-a", "eighth-b"])
def test_mixed_order_point_is_refused_in_a_ring(low):
    with pytest.raises(KeyRingRefused, match="mixed order"):
        check_point(with_point(add_points(SIGNER.public_key, LOW_ORDER[low])))


@pytest.mark.parametrize("excess", [0, 1, 18])
def test_non_canonical_point_is_refused_in_a_ring(excess):
    with pytest.raises(KeyRingRefused, match="canonical"):
        check_point(with_point((FIELD + excess).to_bytes(32, "little")))


@pytest.mark.parametrize("changes", [{"kid": "A" * 43}, {"x": "AAAA"}, {"x": "not base64!"}])
def test_point_that_is_not_that_of_its_kid_is_refused(changes):
    with pytest.raises(KeyRingRefused):
        check_point(entry(**changes))


def test_public_key_of_an_entry_is_the_one_that_signs():
    check_point(ENTRY)
    assert public_key(ENTRY).raw == SIGNER.public_key


def test_retired_key_leaves_the_set_after_the_overlap_and_a_revoked_one_at_once():
    assert leaves_ms(ENTRY, 500) == 2_000_500
    assert leaves_ms(REVOKED, 500) == 1_500_000
    assert leaves_ms(entry(not_after_ms=0), 500) == FOR_EVER_MS
