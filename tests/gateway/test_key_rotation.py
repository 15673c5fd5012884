"""A running gateway follows its key ring: other keys without a restart, nothing unsigned."""

import asyncio
import json
from pathlib import Path

import pytest
from tests.support.answers import proof_problems
from tests.support.gateway import Gateway, Setup, running_gateway
from tests.support.waiting import until

from verismo.attest import jws
from verismo.attest.keyentry import public_key
from verismo.attest.keyring import Remembered, check_history, read_keyring, sha256_of
from verismo.attest.keys import read_jwks
from verismo.control.rotation import Rotation
from verismo.gateway.app import JWKS_PATH, KEYRING_PATH
from verismo.wiring.keys import clock_ms, open_rotation

pytestmark = pytest.mark.slow

SOON = {"# notice_s = 86400": "notice_s = 1", "# jwks_max_age_s = 300": "jwks_max_age_s = 0"}
SWITCH_S_MAX = 10.0
"""Workers look every 0.5 s; the rest is for a machine with other work."""


def rotation_of(gateway: Gateway) -> Rotation:
    return open_rotation(gateway.config.data, gateway.config.keys)


def kids(gateway: Gateway) -> list[str]:
    return [jws.parse(one.jws.decode()).header.kid for one in gateway.records()]


def trust_ring(gateway: Gateway) -> None:
    """Verify with every key that the gateway ever had."""
    ring = rotation_of(gateway).history()[-1].ring
    gateway.public = {entry.kid: public_key(entry) for entry in ring.keys}


async def chat_until(gateway: Gateway, kid: str) -> None:
    async def signs() -> bool:
        assert (await gateway.chat()).status == 200
        return kids(gateway)[-1] == kid

    await until(signs, SWITCH_S_MAX)


async def test_planned_rotation_switches_at_its_time_and_both_keys_verify(tmp_path: Path):
    async with running_gateway(tmp_path, Setup(edits=SOON)) as gateway:
        assert (await gateway.chat()).status == 200
        made = rotation_of(gateway).rotate("token", clock_ms()).key
        assert made is not None

        async def published() -> bool:
            answer = await gateway.send("GET", JWKS_PATH, key=None)
            return made.kid in read_jwks(answer.body)

        await until(published)
        await chat_until(gateway, made.kid)
        trust_ring(gateway)
        first, *_, last = gateway.records()
        assert not proof_problems(first, gateway.public)
        assert not proof_problems(last, gateway.public)
        times = [json.loads(one.statement)["iat"] for one in gateway.records()]
        signed = list(zip(times, kids(gateway), strict=True))
        assert all(iat >= made.not_before_ms for iat, kid in signed if kid == made.kid)
        late = [iat - made.not_before_ms for iat, kid in signed if kid != made.kid]
        assert max(late) < SWITCH_S_MAX * 1_000


async def test_sequence_goes_on_without_a_gap_across_keys_under_load(tmp_path: Path):
    async with running_gateway(tmp_path) as gateway:
        assert (await gateway.chat()).status == 200, "signed with the first key"
        ends = asyncio.Event()

        async def call() -> None:
            while not ends.is_set():
                assert (await gateway.chat()).status == 200

        callers = [asyncio.create_task(call()) for _ in range(4)]
        used = []
        for reason in ("one", "two"):
            made = rotation_of(gateway).rotate("token", clock_ms(), reason).key
            assert made is not None
            used.append(made.kid)
            await until(lambda kid=made.kid: kid in kids(gateway), SWITCH_S_MAX)
        ends.set()
        await asyncio.gather(*callers)
        trust_ring(gateway)
        assert list(dict.fromkeys(kids(gateway)))[1:] == used, "never back to an older key"


async def test_stream_that_is_open_while_the_key_changes_stays_provable(tmp_path: Path):
    async with running_gateway(tmp_path) as gateway:
        streaming = asyncio.create_task(gateway.chat("[simulate: interval=150]", stream=True))
        await until(lambda: gateway.telemetry.now_in_flight == 1)
        made = rotation_of(gateway).rotate("token", clock_ms(), "while a stream is open").key
        assert made is not None
        await until(lambda: gateway.worker._keys.signer.kid == made.kid, SWITCH_S_MAX)
        assert not streaming.done(), "the stream was to last longer than the switch"
        answer = await streaming
        trust_ring(gateway)
        report = await gateway.proven(answer)
        assert report.verdict == "VERIFIED"
        assert kids(gateway)[-1] == made.kid


async def test_revoked_key_leaves_the_key_set_and_no_answer_is_lost(tmp_path: Path):
    async with running_gateway(tmp_path) as gateway:
        await gateway.chat()
        (used,) = set(kids(gateway))
        made = rotation_of(gateway).revoke(used, clock_ms(), "it leaked").key
        assert made is not None
        await chat_until(gateway, made.kid)

        async def is_gone() -> bool:
            answer = await gateway.send("GET", JWKS_PATH, key=None)
            return used not in read_jwks(answer.body)

        await until(is_gone, SWITCH_S_MAX)
        assert gateway.telemetry.withheld == {}
        trust_ring(gateway)


async def test_whole_ring_is_public_and_never_kept(tmp_path: Path):
    async with running_gateway(tmp_path) as gateway:
        one = await gateway.send("GET", KEYRING_PATH, key=None)
        assert one.headers["cache-control"] == "no-cache"
        assert one.headers["access-control-allow-origin"] == "*"
        seen = check_history(None, read_keyring(one.body))
        rotation_of(gateway).rotate("token", clock_ms())

        async def has_grown() -> bool:
            answer = await gateway.send("GET", KEYRING_PATH, key=None)
            history = read_keyring(answer.body)
            newest = check_history(seen, history)
            return newest == Remembered(2, sha256_of(history[-1]))

        await until(has_grown)
        assert (await gateway.send("POST", KEYRING_PATH, key=None)).status == 405


async def test_gateway_whose_key_ends_serves_nothing_unsigned(tmp_path: Path):
    """Nobody rotates here: the control process is not running."""
    edits = {
        "# active_s = 2592000": "active_s = 2",
        "# notice_s = 86400": "notice_s = 0",
        "# handover_s = 60": "handover_s = 1",
        "# jwks_max_age_s = 300": "jwks_max_age_s = 0",
    }
    async with running_gateway(tmp_path, Setup(edits=edits)) as gateway:

        async def is_refused() -> bool:
            return (await gateway.chat()).status == 503

        await until(is_refused, SWITCH_S_MAX)
        assert gateway.telemetry.withheld
        made = rotation_of(gateway).ensure("token", clock_ms()).key
        assert made is not None

        async def is_served() -> bool:
            return (await gateway.chat()).status == 200

        await until(is_served, SWITCH_S_MAX)
        trust_ring(gateway)
