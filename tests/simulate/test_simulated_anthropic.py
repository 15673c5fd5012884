"""The Anthropic dialect over a real connection."""

import json

import httpx2
import pytest

from verismo.simulate.server import running_upstream
from verismo.simulate.settings import SimulatorSettings

HEADERS = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
HELLO = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello you"}]}
TOOLS = [
    {
        "name": name,
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
    }
    for name in ("weather", "traffic")
]


@pytest.fixture
async def http():
    async with (
        running_upstream(SimulatorSettings()) as url,
        httpx2.AsyncClient(base_url=url, headers=HEADERS) as client,
    ):
        yield client


def events_of(text: str) -> list[dict]:
    """Read the events and check that each is named by its type."""
    events = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    return events


def asking(content: str, **options) -> dict:
    return {**HELLO, "messages": [{"role": "user", "content": content}], "tools": TOOLS, **options}


async def test_an_answer_says_that_it_is_simulated(http):
    answer = await http.post("/v1/messages", json=HELLO)
    message = answer.json()
    assert answer.headers["x-verismo-simulator"] == "1"
    assert (message["type"], message["role"], message["model"]) == ("message", "assistant", "m")
    assert message["content"][0]["type"] == "text"
    assert message["content"][0]["text"].startswith("Simulated answer ")
    assert message["stop_reason"] == "end_turn"
    tokens = len(message["content"][0]["text"].encode()) // 4
    assert message["usage"]["input_tokens"] == 3
    assert message["usage"]["output_tokens"] == tokens


@pytest.mark.parametrize(("ordered", "told"), [(2, 2), (99, 3)])
async def test_cached_tokens_are_counted_beside_the_input(http, ordered, told):
    headers = {"x-simulate": f"cached={ordered}"}
    message = (await http.post("/v1/messages", json=HELLO, headers=headers)).json()
    assert message["usage"]["cache_read_input_tokens"] == told
    assert message["usage"]["input_tokens"] == 3 - told


async def test_a_token_limit_ends_the_answer(http):
    message = (await http.post("/v1/messages", json={**HELLO, "max_tokens": 4})).json()
    assert message["content"] == [{"type": "text", "text": "Simulated answer"}]
    assert message["stop_reason"] == "max_tokens"


async def test_a_stream_has_the_events_of_the_real_service(http):
    body = {**HELLO, "stream": True, "max_tokens": 6}
    answer = await http.post("/v1/messages", json=body)
    events = events_of(answer.text)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_start",
        "ping",
        *["content_block_delta"] * 6,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[0]["message"]["content"] == []
    assert events[0]["message"]["stop_reason"] is None
    assert events[0]["message"]["usage"]["output_tokens"] == 1
    text = "".join(event["delta"]["text"] for event in events[3:9])
    assert text.startswith("Simulated answer ")
    assert events[-2]["delta"] == {"stop_reason": "max_tokens", "stop_sequence": None}
    assert events[-2]["usage"] == {"output_tokens": 6}


@pytest.mark.parametrize(
    ("content", "choice", "blocks"),
    [
        ("call weather", {"type": "auto"}, ["text", "weather"]),
        ("call weather, call traffic", {"type": "auto"}, ["text", "weather", "traffic"]),
        (
            "call weather, call traffic",
            {"type": "auto", "disable_parallel_tool_use": True},
            ["text", "weather"],
        ),
        ("hello", {"type": "any"}, ["weather"]),
        ("hello", {"type": "tool", "name": "traffic"}, ["traffic"]),
        ("call weather", {"type": "none"}, ["text"]),
    ],
)
async def test_tools_are_used_when_named_or_forced(http, content, choice, blocks):
    message = (await http.post("/v1/messages", json=asking(content, tool_choice=choice))).json()
    assert [block.get("name", block["type"]) for block in message["content"]] == blocks
    used = [block for block in message["content"] if block["type"] == "tool_use"]
    assert message["stop_reason"] == ("tool_use" if used else "end_turn")
    assert all(set(block["input"]) == {"city"} for block in used)
    assert len({block["id"] for block in used}) == len(used)


async def test_streamed_inputs_join_to_json(http):
    answer = await http.post("/v1/messages", json=asking("call weather", stream=True))
    events = events_of(answer.text)
    starts = [event for event in events if event["type"] == "content_block_start"]
    assert [start["index"] for start in starts] == [0, 1]
    assert starts[1]["content_block"]["type"] == "tool_use"
    assert starts[1]["content_block"]["input"] == {}
    parts = [
        event["delta"]["partial_json"]
        for event in events
        if event["type"] == "content_block_delta" and event["index"] == 1
    ]
    assert parts[0] == ""
    assert len(parts) > 2
    assert set(json.loads("".join(parts))) == {"city"}
    assert events[-2]["delta"]["stop_reason"] == "tool_use"


async def test_blocks_and_system_are_counted(http):
    body = {
        **HELLO,
        "system": [{"type": "text", "text": "abcd"}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "abcd"},
                    {"type": "image", "source": {"type": "base64", "data": "AAAA"}},
                    {"type": "tool_result", "tool_use_id": "t", "content": "abcd"},
                ],
            }
        ],
    }
    message = (await http.post("/v1/messages", json=body)).json()
    assert message["usage"]["input_tokens"] == 3 + 85


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"x-api-key": "wrong"}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"x-api-key": "right"}, 200),
        ({"authorization": "Bearer right"}, 200),
    ],
)
async def test_only_the_right_credential_gets_an_answer(headers, status):
    headers = {"anthropic-version": "2023-06-01", **headers}
    async with (
        running_upstream(SimulatorSettings(api_key="right")) as url,
        httpx2.AsyncClient(base_url=url, headers=headers) as client,
    ):
        answer = await client.post("/v1/messages", json=HELLO)
    assert answer.status_code == status
    if status == 401:
        assert answer.json()["error"]["type"] == "authentication_error"


async def test_a_missing_credential_is_401_even_if_any_would_do(http):
    del http.headers["x-api-key"]
    assert (await http.post("/v1/messages", json=HELLO)).status_code == 401


async def test_the_version_header_is_required(http):
    del http.headers["anthropic-version"]
    answer = await http.post("/v1/messages", json=HELLO)
    assert answer.status_code == 400
    assert "anthropic-version" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "change",
    [
        {"max_tokens": 0},
        {"max_tokens": "many"},
        {"messages": []},
        {"messages": [{"role": "system", "content": "no"}]},
        {"tool_choice": {"type": "any"}},
        {"tool_choice": {"type": "tool", "name": "absent"}},
    ],
)
async def test_a_wrong_request_is_a_400_in_anthropics_shape(http, change):
    answer = await http.post("/v1/messages", json={**HELLO, **change})
    assert answer.status_code == 400
    body = answer.json()
    assert body["type"] == "error"
    assert body["error"]["type"] == "invalid_request_error"
    assert body["error"]["message"]


async def test_max_tokens_is_required(http):
    body = {name: value for name, value in HELLO.items() if name != "max_tokens"}
    answer = await http.post("/v1/messages", json=body)
    assert answer.status_code == 400
    assert "max_tokens" in answer.json()["error"]["message"]


async def test_an_unknown_model_is_404_and_another_method_405(http):
    async with running_upstream(SimulatorSettings(models=("other",))) as url:
        missing = await http.post(f"{url}/v1/messages", json=HELLO)
    assert (missing.status_code, missing.json()["error"]["type"]) == (404, "not_found_error")
    assert (await http.get("/v1/messages")).status_code == 405
