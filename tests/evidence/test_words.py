"""Tokens, stems and names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.evidence.words import names, parts, related, singular, stem, tokens


@pytest.mark.parametrize(
    "family",
    [
        "sign signs signed signing signature signatures",
        "revoke revoked revoking",
        "verify verified verifies verifying verification",
        "encrypt encrypted encryption",
        "delete deleted deletes deletion",
        "erase erased erasure",
        "write wrote written",
        "keep kept keeping keeps",
        "compare compared comparing",
        "stop stopped stopping stops",
        "number numbers numbered",
        "policy policies",
        "publish published publishes",
        "use uses used using",
    ],
)
def test_forms_of_one_word_have_one_stem(family: str) -> None:
    assert len({stem(word) for word in family.split()}) == 1


@pytest.mark.parametrize(
    "pair", ["sign log", "host house", "witness with", "seal sea", "prove proxy"]
)
def test_different_words_have_different_stems(pair: str) -> None:
    first, *_, last = pair.split()
    assert stem(first) != stem(last)


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("Signed with Ed25519 and SHA-256.", ("Ed25519", "SHA-256")),
        ("It lies in `state.db` there", ("state.db",)),
        ("Set cache_ttl_s or limits.in_flight_max", ("cache_ttl_s", "limits.in_flight_max")),
        ("Debian ships it", ()),
        ("It runs on Debian's kernel", ("Debian",)),
        ("GraphQL clients", ("GraphQL",)),
        ("It MUST NOT be done", ()),
        ("a plain sentence, with-hyphens and/or slashes", ()),
        ("more than 2^63 of 4xx", ("2^63", "4xx")),
        ("the `token` role", ("token",)),
        ("RFC 7515 in API calls", ("RFC", "API")),
    ],
)
def test_names_are_what_is_spelled_like_one(sentence: str, expected: tuple[str, ...]) -> None:
    assert names(tokens(sentence)) == expected


def test_contractions_are_spelled_out() -> None:
    assert [t.lower for t in tokens("It doesn't, can't and won't; it cannot.")] == (
        ["it", "does", "not", ",", "can", "not", "and", "will", "not", ";", "it", "can", "not", "."]
    )


def test_units_are_taken_off_their_numbers() -> None:
    assert [t.text for t in tokens("500ms of 128KiB, 12-byte, 5 %")] == (
        ["500", "ms", "of", "128", "KiB", ",", "12", "-", "byte", ",", "5", "%"]
    )


def test_parts_find_a_name_in_any_spelling() -> None:
    source = parts("uses AES-256-GCM and aes_256_gcm")
    assert parts("aes 256 gcm") in source
    assert parts("AES-128-GCM") not in source
    assert parts("ES-256") not in source


def test_near_synonyms_are_related_both_ways() -> None:
    assert stem("stored") in related(stem("kept"))
    assert stem("keep") in related(stem("stored"))
    assert related("xyzzy") == {"xyzzy"}


def test_only_plurals_of_units_are_made_singular() -> None:
    assert (singular("octets"), singular("bus"), singular("ms")) == ("octet", "bus", "ms")


@given(st.text(max_size=200))
def test_any_text_can_be_read_and_no_token_is_empty(text: str) -> None:
    assert all(token.text for token in tokens(text))


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=20))
def test_a_stem_is_never_empty(word: str) -> None:
    assert stem(word)
