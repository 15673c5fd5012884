"""The text of a key: spelling, parsing, hashing, and when a key is in force."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.model.apikey import (
    RANDOM_BYTES,
    is_in_force,
    key_matches,
    key_sha256,
    new_api_key,
    parse_api_key,
)
from verismo.model.ids import KeyId, TenantId
from verismo.model.tenant import ApiKey

randoms = st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES)
KEY = new_api_key(bytes(range(RANDOM_BYTES)))


@given(randoms, st.sampled_from(["vk", "va"]))
def test_new_key_parses_back_to_itself(random, prefix):
    key = new_api_key(random, prefix)
    assert parse_api_key(key.text, prefix) == key
    assert key.text == f"{prefix}_{key.id}_{key.text.rsplit('_', 1)[1]}"
    assert len(key.id) == 10
    assert len(key.text) == 57


@given(randoms)
def test_key_is_one_word_for_a_double_click(random):
    assert new_api_key(random).text.replace("_", "").isalnum()


@given(randoms, randoms)
def test_different_secrets_give_different_texts(one, other):
    same_secret = one[:32] == other[:32]
    secrets = {new_api_key(random).text.rsplit("_", 1)[1] for random in (one, other)}
    assert len(secrets) == (1 if same_secret else 2)


def test_largest_secret_fits_its_digits():
    key = new_api_key(b"\xff" * RANDOM_BYTES)
    assert parse_api_key(key.text) == key


@pytest.mark.parametrize("size", [0, 38, 40])
def test_wrong_amount_of_randomness_is_our_mistake(size):
    with pytest.raises(ValueError, match="39 random bytes"):
        new_api_key(bytes(size))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "vk_",
        KEY.text[:-1],
        KEY.text + "0",
        KEY.text.upper(),
        "va" + KEY.text[2:],
        KEY.text.replace("_", "-"),
        KEY.text[:-1] + "-",
        KEY.text[:-1] + "é",
        KEY.text[:-1] + "\n",
        KEY.text[:-1] + "_",
        KEY.text[:3] + "1" + KEY.text[4:],
        "vk_" + KEY.id + "a_" + "0" * 42,
    ],
)
def test_text_that_is_not_spelled_like_a_key_is_no_key(text):
    assert parse_api_key(text) is None


@given(st.text(max_size=70))
def test_any_text_is_parsed_without_an_error(text):
    assert parse_api_key(text) is None


def test_administrators_key_is_no_tenants_key():
    admin = new_api_key(bytes(RANDOM_BYTES), "va")
    assert parse_api_key(admin.text) is None
    assert parse_api_key(admin.text, "va") == admin


def test_hash_is_over_the_whole_text():
    assert key_sha256(KEY) == hashlib.sha256(KEY.text.encode()).hexdigest()


def test_only_the_same_key_matches_a_hash():
    other = new_api_key(b"\1" * RANDOM_BYTES)
    assert key_matches(KEY, key_sha256(KEY))
    assert not key_matches(other, key_sha256(KEY))
    assert not key_matches(KEY, "")


def test_secret_of_another_key_under_this_id_does_not_match():
    other = new_api_key(b"\1" * RANDOM_BYTES)
    spliced = parse_api_key(f"vk_{KEY.id}_{other.text.rsplit('_', 1)[1]}")
    assert spliced is not None
    assert not key_matches(spliced, key_sha256(KEY))


def test_repr_hides_the_secret():
    assert repr(KEY) == f"ApiKeyText(vk_{KEY.id}_...)"
    assert KEY.text not in f"{KEY} {[KEY]}"


@pytest.mark.parametrize(
    ("expires_ms", "revoked_ms", "now_ms", "in_force"),
    [
        (0, 0, 10**13, True),
        (1_000, 0, 999, True),
        (1_000, 0, 1_000, False),
        (0, 1, 999, False),
        (2_000, 500, 999, False),
    ],
)
def test_key_is_in_force_until_it_expires_or_is_revoked(expires_ms, revoked_ms, now_ms, in_force):
    key = ApiKey(KeyId("k"), TenantId("T"), "", expires_ms=expires_ms, revoked_ms=revoked_ms)
    assert is_in_force(key, now_ms) is in_force
