"""What is published of the keys is computed from the clock of each request."""

import pytest
from tests.support.keyring import DAY_MS, RULES, START_MS, MemoryStore, begun, entry_of, tokens

from verismo.attest import jws
from verismo.attest.headers import ProofHeaders
from verismo.attest.keyring import check_history, read_keyring
from verismo.attest.keys import read_jwks
from verismo.attest.verify import Expectation
from verismo.gateway.published import PublishedKeys
from verismo.model.traffic import Reply


def headers(reply: Reply) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in reply.headers}


@pytest.fixture
def rotated():
    """Return the keys of a ring with one rotation, and both its token keys."""
    rotation, store = begun()
    rotation.rotate("token", START_MS)
    return PublishedKeys(RULES, rotation.history()), rotation, *tokens(rotation), store


def test_key_set_changes_between_two_requests_without_anybody_telling(rotated):
    """Source: notes-attest 6.9, a cached body that kept a retired key for a month."""
    published, _, first, second, _ = rotated
    gone_ms = first.end_ms + RULES.overlap_ms
    assert {first.kid, second.kid} <= read_jwks(published.jwks(gone_ms - 1).body).keys()
    after = read_jwks(published.jwks(gone_ms).body)
    assert first.kid not in after
    assert second.kid in after


@pytest.mark.parametrize(("before_ms", "kept_s"), [(DAY_MS, 300), (120_500, 120), (900, 0)])
def test_key_set_may_be_kept_no_longer_than_it_stays_the_same(rotated, before_ms, kept_s):
    published, _, first, *_ = rotated
    reply = published.jwks(first.end_ms + RULES.overlap_ms - before_ms)
    assert headers(reply) == {
        "content-type": "application/jwk-set+json",
        "cache-control": f"public, max-age={kept_s}",
        "access-control-allow-origin": "*",
    }


def test_ring_is_served_whole_and_as_it_is_now(rotated):
    published, rotation, *_ = rotated
    seen = check_history(None, read_keyring(published.keyring().body))
    rotation.rotate("evidence", START_MS + DAY_MS)
    published.swap(rotation.history())
    reply = published.keyring()
    assert check_history(seen, read_keyring(reply.body)).version == 3
    assert headers(reply)["cache-control"] == "no-cache"


def test_old_answers_are_checked_here_with_retired_keys_but_not_with_revoked_ones(rotated):
    published, rotation, first, second, store = rotated
    rotation.revoke(second.kid, START_MS + DAY_MS // 2, "it leaked")
    assert entry_of(rotation, first.kid).revoked_ms == 0
    published.swap(rotation.history())
    assert (key_check(published, store, first.kid), key_check(published, store, second.kid)) == (
        "pass",
        "fail",
    )


def key_check(published: PublishedKeys, store: MemoryStore, kid: str) -> str:
    """Return how check 3, the key, ends for a token of a key."""
    protected = jws.protected_header(kid, jws.TYPE_STATEMENT)
    signature = store.keys[kid].sign(jws.signing_input(protected, b"{}"))
    proof = ProofHeaders("", b"", b"{}", jws.detached(protected, signature))
    report = published.verifier.answer(proof, None, None, Expectation())
    return next(check.outcome for check in report.checks if check.number == 3)
