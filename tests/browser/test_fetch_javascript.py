"""`verifyingFetch` in Node against a real gateway, with an attacker between the two."""

import asyncio
import json
from pathlib import Path

import pytest
import pytest_asyncio
from forge import OTHER
from tests.support.gateway import CHAT, JWKS_PATH, Gateway, Setup, running_gateway
from tests.support.verifyjs import ROOT, needs_node, node_path

from verismo.simulate.settings import SimulatorSettings

pytestmark = [needs_node, pytest.mark.slow]

CALLS = ROOT / "tests" / "browser" / "fetch_calls.mjs"
ASK = {"model": CHAT, "messages": [{"role": "user", "content": "Hello"}]}
ASK_STREAM = {**ASK, "stream": True}
NODE_S_MAX = 60.0

Called = dict[str, object]


@pytest_asyncio.fixture
async def gateway(tmp_path: Path):
    simulator = SimulatorSettings(keep_requests=50, answer_tokens=40, interval_ms=20)
    async with running_gateway(tmp_path, Setup(simulator=simulator)) as running:
        yield running


async def call(gateway: Gateway, *calls: dict[str, object]) -> list[Called]:
    """Have Node make calls, and return what its caller got."""
    node = node_path()
    assert node is not None
    jwks = await gateway.send("GET", JWKS_PATH, key=None)
    given = {
        "url": gateway.url,
        "key": gateway.keys["TENANT_001"],
        "jwks": jwks.body.decode(),
        "calls": calls,
    }
    process = await asyncio.create_subprocess_exec(
        *(node, str(CALLS), json.dumps(given)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(NODE_S_MAX):
        output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return [json.loads(line) for line in output.splitlines()]


async def test_json_and_streams_of_a_gateway_are_verified(gateway):
    fetched = {"keys": {}, "issuer": "verismo"}
    whole, stream, refusal = await call(
        gateway,
        {"body": ASK, "settings": fetched},
        {"body": ASK_STREAM},
        {"body": {**ASK, "model": 5}, "settings": {"policy": "strict"}},
    )
    assert (whole["verdict"], whole["events"], whole["told"]) == ("VERIFIED", None, ["VERIFIED"])
    assert json.loads(whole["text"])["choices"]
    assert whole["url"] == f"{gateway.url}/v1/chat/completions"
    assert whole["fetched"] == 1
    assert (stream["verdict"], stream["told"]) == ("VERIFIED", ["VERIFIED"])
    assert stream["text"].endswith("data: [DONE]\n\n")
    assert ": attest " not in stream["text"], "only events are handed on"
    assert stream["text"].count("\n\n") == stream["events"] > 10
    assert stream["parts"] > 1, "events are handed on before the end"
    assert (refusal["status"], refusal["verdict"]) == (400, "VERIFIED")


CHANGED_ANSWERS = {
    "a flipped bit": ("flips", ASK, "AnswerInvalid", [11, 14]),
    "octets at the end": ("appends", ASK, "AnswerInvalid", [11, 14]),
    "no proof": ("strips", ASK, "AnswerUnsigned", [1]),
    "half a proof": ("stripsSalt", ASK, "AnswerInvalid", [1]),
    "a redirect": ("redirects", ASK, "AnswerInvalid", [11]),
    "the answer to another nonce": ("replays", ASK, "AnswerInvalid", [8]),
    "a stream without proof": ("strips", ASK_STREAM, "AnswerUnsigned", [1]),
    "a stream with half a proof": ("stripsSalt", ASK_STREAM, "AnswerInvalid", [1]),
}


async def test_changed_answers_are_refused(gateway):
    found = await call(
        gateway, *({"way": way, "body": body} for way, body, _, _ in CHANGED_ANSWERS.values())
    )
    for (label, (_, _, error, fails)), one in zip(CHANGED_ANSWERS.items(), found, strict=True):
        assert (one["error"], one["fails"], len(one["told"])) == (error, fails, 1), label


CHANGED_STREAMS = {
    "flips": ("AnswerInvalid", "INVALID"),
    "flipsLater": ("AnswerInvalid", "INVALID"),
    "appends": ("AnswerInvalid", "INVALID"),
    "replays": ("AnswerInvalid", "INVALID"),
    "cuts": ("StreamCut", "VERIFIED_PREFIX"),
    "breaks": ("StreamCut", "VERIFIED_PREFIX"),
}


async def test_changed_streams_are_refused_after_their_proven_events(gateway):
    ways = ["nobody", *CHANGED_STREAMS]
    good, *found = await call(gateway, *({"body": ASK_STREAM, "way": way} for way in ways))
    shape = [line.split(":")[0] for line in good["text"].splitlines()]
    for (way, (error, verdict)), one in zip(CHANGED_STREAMS.items(), found, strict=True):
        assert (one["broken"], one["told"]) == (error, [verdict]), way
        proven = [line.split(":")[0] for line in one["text"].splitlines()]
        assert proven == shape[: len(proven)], way
        assert one["text"].count("\n\n") == one["events"], way


async def test_report_policy_hands_everything_on_and_tells_the_verdict(gateway):
    settings = {"policy": "report"}
    found = await call(
        gateway,
        {"body": ASK, "way": "flips", "settings": settings},
        {"body": ASK, "way": "strips", "settings": settings},
        {"body": ASK_STREAM, "way": "cuts", "settings": settings},
        {"body": ASK_STREAM, "way": "flipsLater", "settings": settings},
    )
    verdicts = ["INVALID", "UNSIGNED", "VERIFIED_PREFIX", "INVALID"]
    assert [one["verdict"] for one in found] == verdicts
    assert [one["told"] for one in found] == [[verdict] for verdict in verdicts]
    assert all(one["text"] for one in found)
    assert found[3]["text"].endswith("data: [DONE]\n\n")


async def test_nothing_is_sent_without_keys_or_to_another_address(gateway):
    found = await call(
        gateway,
        {"body": ASK, "settings": {"keys": {}}, "foreignKeys": ['{"keys":[]}']},
        {"body": ASK, "settings": {"keys": {}}, "foreignKeys": ["redirect"]},
        {"body": ASK, "base": "http://127.0.0.1:9"},
        {"body": ASK, "settings": {"keys": {"url": "http://gate.example/jwks.json"}}},
        {"body": ASK, "settings": {"policy": "loose"}},
    )
    errors = [one["error"] for one in found]
    unavailable = ["KeysUnavailable", "KeysUnavailable"]
    assert errors == [*unavailable, "ForeignAddress", "TypeError", "TypeError"]
    assert [one["sent"] for one in found] == [0, 0, 0, 0, 0]


async def test_an_unknown_key_has_the_set_fetched_again_once_within_the_cooldown(gateway):
    foreign = json.dumps({"keys": [OTHER.jwk]})
    report = {"keys": {}, "policy": "report"}
    rotated, stubborn, pinned = await call(
        gateway,
        {"body": ASK_STREAM, "settings": {"keys": {}}, "foreignKeys": [foreign]},
        {"body": ASK, "settings": report, "foreignKeys": [foreign] * 9, "times": 3},
        {"body": ASK, "settings": {"keys": foreign, "policy": "report"}},
    )
    assert (rotated["verdict"], rotated["fetched"]) == ("VERIFIED", 2)
    assert (stubborn["told"], stubborn["fetched"]) == (["INVALID"] * 3, 2)
    assert (pinned["told"], pinned["fetched"]) == (["INVALID"], 0)


async def test_reads_pass_unverified_and_another_issuer_is_refused(gateway):
    read, foreign = await call(
        gateway,
        {"path": "/healthz", "method": "GET"},
        {"body": ASK, "settings": {"issuer": "https://other.example"}},
    )
    assert (read["status"], read.get("verdict"), read["told"]) == (200, None, [])
    assert (foreign["error"], foreign["fails"]) == ("AnswerInvalid", [7])
