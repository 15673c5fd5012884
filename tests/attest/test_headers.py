"""Proof headers: what is written is read, and everything incomplete or malleable is refused."""

import pytest
from forge import Recipe, text_bytes
from hypothesis import given
from hypothesis import strategies as st

from verismo.attest.headers import (
    EXPOSED,
    HeadersRefused,
    content_digest,
    proof_headers,
    read_proof_headers,
    stream_headers,
)

PROV_ID = Recipe().prov_id
SALT = text_bytes("salt")
JWS = "aGVhZA..c2ln"


def as_read(pairs):
    return {name.decode(): value.decode() for name, value in pairs}


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=1, max_size=300))
def test_what_is_written_is_read(salt, statement):
    proof = read_proof_headers(as_read(proof_headers(PROV_ID, salt, statement, JWS)))
    assert (proof.prov_id, proof.salt, proof.statement, proof.jws) == (
        PROV_ID,
        salt,
        statement,
        JWS,
    )


def test_a_stream_has_no_statement_in_headers():
    proof = read_proof_headers(as_read(stream_headers(PROV_ID, SALT)))
    assert (proof.statement, proof.jws) == (b"", "")


def test_every_written_header_is_exposed_to_browsers():
    written = as_read(proof_headers(PROV_ID, SALT, b"{}", JWS))
    assert set(written) | {"content-digest"} <= set(EXPOSED)


def test_no_proof_header_means_no_proof():
    assert read_proof_headers({"content-type": "application/json"}) is None


def test_a_stripped_header_is_not_taken_for_an_unsigned_answer():
    written = as_read(proof_headers(PROV_ID, SALT, b"{}", JWS))
    for name in written:
        with pytest.raises(HeadersRefused):
            read_proof_headers({n: v for n, v in written.items() if n != name})


def test_a_repeated_header_is_refused():
    written = as_read(proof_headers(PROV_ID, SALT, b"{}", JWS))
    for name in ("attest-version", "attest-prov-id", "attest-salt", "attest-statement"):
        with pytest.raises(HeadersRefused):
            read_proof_headers({**written, name: f"{written[name]}, {written[name]}"})


@given(
    st.dictionaries(
        st.sampled_from(sorted(as_read(proof_headers(PROV_ID, SALT, b"{}", JWS)))),
        st.text(max_size=30),
    )
)
def test_any_text_is_read_or_refused(changed):
    written = {**as_read(proof_headers(PROV_ID, SALT, b"{}", JWS)), **changed}
    try:
        proof = read_proof_headers(written)
    except HeadersRefused:
        return
    assert len(proof.salt) == 32
    assert proof.prov_id == PROV_ID


def test_content_digest_is_that_of_rfc_9530():
    body = b'{"hello": "world"}'
    expected = b"sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"
    assert content_digest(body) == expected
