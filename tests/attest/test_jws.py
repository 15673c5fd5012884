"""The strict JWS profile: one spelling, three members, nothing embedded."""

import pytest
from forge import OTHER, TOKEN, header, token, whole
from hypothesis import given
from hypothesis import strategies as st

from verismo.attest import jws
from verismo.attest.jws import JwsRefused, parse, parse_detached
from verismo.model import base64url

GOOD = whole()["attest-signature"]


@given(st.binary(min_size=64, max_size=64), st.sampled_from([jws.TYPE_STATEMENT, jws.TYPE_HEAD]))
def test_what_is_written_is_read(signature, typ):
    protected = jws.protected_header(TOKEN.kid, typ)
    parsed = parse_detached(jws.detached(protected, signature), typ)
    assert (parsed.header.kid, parsed.header.typ, parsed.header.alg) == (TOKEN.kid, typ, "Ed25519")
    assert (parsed.protected, parsed.signature) == (protected, signature)


def test_signing_input_is_that_of_rfc_7515():
    assert jws.signing_input("aGVhZGVy", b"payload") == b"aGVhZGVy.cGF5bG9hZA"


def test_header_has_exactly_three_members_in_one_spelling():
    text = base64url.decode(jws.protected_header("k", jws.TYPE_STATEMENT))
    assert text == b'{"alg":"Ed25519","kid":"k","typ":"attest+jws"}'


def test_a_known_header_is_taken_for_its_own_spelling_alone():
    known = {jws.protected_header(TOKEN.kid, jws.TYPE_STATEMENT): parse(GOOD).header}
    assert parse(GOOD, known) == parse(GOOD)
    other = token(b"x", TOKEN, header(typ=jws.TYPE_HEAD))
    assert parse(other, known).header.typ == jws.TYPE_HEAD
    spaced = token(b"x", TOKEN, header().replace(b",", b", "))
    with pytest.raises(JwsRefused, match="canonical"):
        parse(spaced, known)


def test_a_known_header_does_not_make_up_for_the_type():
    known = {jws.protected_header(TOKEN.kid, jws.TYPE_STATEMENT): parse(GOOD).header}
    with pytest.raises(JwsRefused, match="is for attest"):
        parse_detached(GOOD, jws.TYPE_HEAD, known)


def test_embedded_payload_is_refused():
    protected, _, signature = GOOD.split(".")
    with pytest.raises(JwsRefused, match="embedded"):
        parse(f"{protected}.e30.{signature}")


def test_a_head_signature_is_not_a_statement_signature():
    text = token(b"x", TOKEN, header(typ=jws.TYPE_HEAD))
    assert parse(text).header.typ == jws.TYPE_HEAD
    with pytest.raises(JwsRefused, match="is for attest-head"):
        parse_detached(text, jws.TYPE_STATEMENT)


@pytest.mark.parametrize(
    "member", ["crit", "b64", "jwk", "jku", "x5u", "x5c", "x5t", "cty", "zip", "epk", "iv", "a"]
)
def test_any_further_header_member_is_refused(member):
    head = header()[:-1] + f',"{member}":[]}}'.encode()
    with pytest.raises(JwsRefused):
        parse(token(b"x", TOKEN, head))


def test_duplicate_member_with_the_same_value_is_refused():
    head = header().replace(b'{"alg"', b'{"alg":"Ed25519","alg"')
    with pytest.raises(JwsRefused, match="canonical"):
        parse(token(b"x", TOKEN, head))


@pytest.mark.parametrize("alg", ["none", "HS256", "ES256", "RS256", "PS256", "Ed448", "ed25519"])
def test_another_algorithm_is_refused(alg):
    with pytest.raises(JwsRefused, match="alg"):
        parse(token(b"x", TOKEN, header(alg=alg)))


@given(st.integers(0, len(GOOD) - 1), st.characters(codec="utf-8"))
def test_no_other_spelling_means_the_same(position, character):
    text = GOOD[:position] + character + GOOD[position + 1 :]
    try:
        parsed = parse(text)
    except JwsRefused:
        return
    assert jws.detached(parsed.protected, parsed.signature) == text
    assert jws.protected_header(parsed.header.kid, parsed.header.typ, parsed.header.alg) == (
        parsed.protected
    )


@given(st.text(max_size=60) | st.text(".eyJ", max_size=30))
def test_any_text_raises_the_one_error(text):
    with pytest.raises(JwsRefused):
        parse(text)


def test_a_huge_header_is_refused_before_it_is_parsed():
    protected = "A" * 1_000_000
    with pytest.raises(JwsRefused, match="too long"):
        parse(f"{protected}..{'A' * 86}")


def test_a_million_dots_are_refused():
    with pytest.raises(JwsRefused, match="two dots"):
        parse("." * 1_000_000)


def test_keys_differ_in_kid():
    assert TOKEN.kid != OTHER.kid
