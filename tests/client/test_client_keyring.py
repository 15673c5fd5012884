"""Keys: pinned ones are never renewed, fetched ones age, and an unknown key renews them once."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx2
import pytest
from asking import MODES, ask
from openai import APIConnectionError
from signing_gateway import WAIT_S, Cut, Token, jwks

from verismo.client.errors import AnswerInvalid, KeysUnavailable
from verismo.client.keyring import DOCUMENT_BYTES_MAX, KeyRing
from verismo.client.settings import FetchedKeys, Gateway
from verismo.client.transport import AsyncVerifyingTransport, VerifyingTransport
from verismo.model.errors import ConfigError

URL = "https://gate.example/.well-known/attest/jwks.json"
OLD, NEW = Token(seed=1), Token(seed=2)


def fetched(**changes) -> KeyRing:
    ring = KeyRing(FetchedKeys(**changes), URL)
    ring.store(200, "public, max-age=300", jwks(OLD), 1_000)
    return ring


def test_pinned_keys_are_there_at_once_and_never_renewed():
    ring = KeyRing(jwks(OLD), URL)
    assert not ring.is_due(10**15)
    assert ring.knows(NEW.public.kid)
    assert not ring.may_renew(0)
    ring.store(200, "", jwks(NEW), 5)
    assert ring.document == jwks(OLD)


def test_a_fetched_set_is_due_at_first_and_after_its_age():
    assert KeyRing(FetchedKeys(), URL).is_due(0)
    ring = fetched()
    assert [ring.is_due(now) for now in (1_000, 300_999, 301_000)] == [False, False, True]
    assert ring.is_due(999)  # a clock that was set back says nothing about age


@pytest.mark.parametrize(
    ("control", "age_ms"),
    [
        ("max-age=10", 10_000),
        ("Public, Max-Age=10, immutable", 10_000),
        ("", 60_000),
        ("s-maxage=9", 60_000),
        ("max-age=x", 60_000),
        ("max-age=999999", 86_400_000),
    ],
)
def test_the_age_is_what_the_answer_says_within_the_limit(control, age_ms):
    ring = KeyRing(FetchedKeys(age_ms=60_000), URL)
    ring.store(200, control, jwks(OLD), 0)
    assert not ring.is_due(age_ms - 1)
    assert ring.is_due(age_ms)


def test_an_unknown_key_renews_once_within_the_cooldown():
    ring = fetched(cooldown_ms=30_000)
    assert not ring.knows(NEW.public.kid)
    tries = [ring.may_renew(now) for now in (2_000, 2_001, 31_999, 32_000, 32_001)]
    assert tries == [True, False, False, True, False]


@pytest.mark.parametrize(
    ("status", "document"),
    [(500, jwks(OLD)), (200, b"<html>"), (200, b'{"keys":[]}'), (200, b'{"keys":[{"kty":"RSA"}]}')],
)
def test_a_set_that_cannot_be_used_leaves_the_one_in_use(status, document):
    ring = fetched()
    with pytest.raises(KeysUnavailable):
        ring.store(status, "", document, 2_000)
    assert ring.document == jwks(OLD)
    assert ring.knows(OLD.public.kid)


@pytest.mark.parametrize("pinned", [b"", b"{}", b'{"keys":[]}'])
def test_pinned_keys_that_cannot_be_used_are_refused_at_start(pinned):
    with pytest.raises(ConfigError):
        KeyRing(pinned, URL)


@pytest.mark.parametrize("url", ["http://gate.example/jwks.json", "ftp://gate.example/"])
def test_keys_are_not_fetched_without_tls(url):
    with pytest.raises(ConfigError, match="without TLS"):
        KeyRing(FetchedKeys(url=url), URL)
    with pytest.raises(ConfigError, match="without TLS"):
        VerifyingTransport(Gateway("http://gate.example", keys=FetchedKeys()))


@pytest.mark.parametrize("mode", MODES)
def test_keys_are_fetched_before_the_first_request_and_kept(mode, server, trusted):
    settings = trusted(keys=FetchedKeys())
    assert ask(mode, settings, stream=True).verdicts == ["VERIFIED"]
    assert server.jwks_reads == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_a_rotated_key_is_found_by_fetching_again(mode, stream, server, trusted):
    server.published = jwks(OLD)
    server.token = NEW
    original = server.alter

    def publish(asked, answer):
        server.published = jwks(OLD, NEW)
        return original(asked, answer)

    server.alter = publish
    seen = ask(mode, trusted(keys=FetchedKeys()), stream=stream)
    assert (seen.error, seen.verdicts) == (None, ["VERIFIED"])
    assert server.jwks_reads == 2


@pytest.mark.parametrize("mode", MODES)
def test_no_key_set_means_nothing_is_sent(mode, server, trusted):
    server.jwks_status = 503
    seen = ask(mode, trusted(keys=FetchedKeys()))
    assert type(seen.error) is KeysUnavailable
    assert (server.asked, server.jwks_reads) == ([], 1)


def test_a_key_set_without_end_is_refused(server, trusted):
    server.published = b" " * (DOCUMENT_BYTES_MAX + 1)
    assert type(ask("sync", trusted(keys=FetchedKeys())).error) is KeysUnavailable


def test_a_key_server_that_cannot_be_reached_is_a_connection_error(server, trusted):
    keys = FetchedKeys(url="http://127.0.0.1:9/jwks.json")
    seen = ask("sync", trusted(keys=keys), max_retries=0)
    assert isinstance(seen.error, APIConnectionError)
    assert isinstance(seen.error.__cause__, httpx2.ConnectError)
    assert server.asked == []


@pytest.mark.parametrize("mode", MODES)
def test_a_renewal_that_fails_refuses_the_answer_and_does_not_ask_again(mode, server, trusted):
    server.published = jwks(OLD)
    server.token = NEW

    def fail(asked, answer):
        server.jwks_status = 500
        return answer

    server.alter = fail
    seen = ask(mode, trusted(keys=FetchedKeys()))
    assert type(seen.error) is AnswerInvalid
    assert seen.failed == [3]
    assert len(server.asked) == 1


def test_many_threads_at_a_rotation_wait_for_one_renewal(server, trusted):
    gate = threading.Barrier(8)
    server.published = jwks(OLD)
    transport = VerifyingTransport(trusted(keys=FetchedKeys()))
    with httpx2.Client(transport=transport) as http:
        call = server.url + "/v1/chat/completions"
        assert http.post(call, json={"model": "m"}).status_code == 200
        server.token, server.published = NEW, jwks(NEW)

        def ask_once(_: int) -> int:
            gate.wait(WAIT_S)
            return http.post(call, json={"model": "m"}).status_code

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(ask_once, range(8))) == [200] * 8
    assert server.jwks_reads == 2


async def test_many_tasks_at_a_rotation_wait_for_one_renewal(server, trusted):
    server.published = jwks(OLD)
    transport = AsyncVerifyingTransport(trusted(keys=FetchedKeys()))
    async with httpx2.AsyncClient(transport=transport) as http, asyncio.timeout(WAIT_S):
        call = server.url + "/v1/chat/completions"
        first = await asyncio.gather(*(http.post(call, json={"model": "m"}) for _ in range(8)))
        assert server.jwks_reads == 1
        server.token, server.published = NEW, jwks(NEW)
        rotated = await asyncio.gather(*(http.post(call, json={"model": "m"}) for _ in range(8)))
    assert {answer.status_code for answer in first + rotated} == {200}
    assert server.jwks_reads == 2


def test_a_renewal_that_breaks_off_lets_the_next_one_in(server, trusted):
    def broken(asked, answer):
        return replace(answer, pieces=[Cut()], is_chunked=True)

    honest = server.answer
    server.answer = lambda asked: broken(asked, honest(asked))
    transport = VerifyingTransport(trusted(keys=FetchedKeys()))
    with httpx2.Client(transport=transport) as http:
        with pytest.raises(httpx2.RemoteProtocolError):
            http.post(server.url + "/v1/chat/completions", json={"model": "m"})
        server.answer = honest
        answer = http.post(server.url + "/v1/chat/completions", json={"model": "m"})
    assert answer.status_code == 200
