"""The OpenAI dialect, read by the openai SDK over a real connection."""

import base64
import json
import math
import struct

import httpx2
import openai
import pytest

from verismo.simulate.server import running_upstream
from verismo.simulate.settings import SimulatorSettings

HELLO = [{"role": "user", "content": "Hello there"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                "required": ["city"],
            },
        },
    }
    for name in ("weather", "traffic")
]


@pytest.fixture
async def base_url():
    async with running_upstream(SimulatorSettings()) as url:
        yield url


@pytest.fixture
async def sdk(base_url):
    async with openai.AsyncOpenAI(base_url=f"{base_url}/v1", api_key="k", max_retries=0) as client:
        yield client


@pytest.fixture
async def http(base_url):
    async with httpx2.AsyncClient(base_url=base_url) as client:
        yield client


async def test_an_answer_says_that_it_is_simulated(sdk):
    raw = await sdk.chat.completions.with_raw_response.create(model="m", messages=HELLO)
    answer = raw.parse()
    assert answer.choices[0].message.content.startswith("Simulated answer ")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.system_fingerprint == "verismo-simulator"
    assert answer.model == "m"
    assert raw.headers["x-verismo-simulator"] == "1"


async def test_usage_counts_four_octets_a_token(sdk):
    answer = await sdk.chat.completions.create(model="m", messages=HELLO)
    usage = answer.usage
    assert usage.prompt_tokens == 3
    assert usage.completion_tokens == len(answer.choices[0].message.content.encode()) // 4
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


@pytest.mark.parametrize(("ordered", "told"), [(2, 2), (99, 3)])
async def test_cached_tokens_are_counted_within_the_prompt(sdk, ordered, told):
    answer = await sdk.chat.completions.create(
        model="m", messages=HELLO, extra_headers={"x-simulate": f"cached={ordered}"}
    )
    assert answer.usage.prompt_tokens == 3
    assert answer.usage.prompt_tokens_details.cached_tokens == told


async def test_the_same_request_gets_the_same_octets_and_another_seed_others(http):
    body = {"model": "m", "messages": HELLO}
    first, second = [await http.post("/v1/chat/completions", json=body) for _ in range(2)]
    assert first.content == second.content
    async with running_upstream(SimulatorSettings(seed=2)) as other:
        third = await http.post(f"{other}/v1/chat/completions", json=body)
    assert third.content != first.content


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_a_token_limit_ends_the_answer_with_length(sdk, name):
    answer = await sdk.chat.completions.create(model="m", messages=HELLO, **{name: 6})
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 6


async def test_n_choices_differ(sdk):
    answer = await sdk.chat.completions.create(model="m", messages=HELLO, n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) == 3


async def test_a_stream_has_the_events_of_the_real_service(sdk):
    stream = await sdk.chat.completions.create(model="m", messages=HELLO, stream=True)
    chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[0].choices[0].delta.content == ""
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text.startswith("Simulated answer ")
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)
    assert len({chunk.id for chunk in chunks}) == 1


async def test_a_stream_ends_with_usage_only_if_asked(http):
    body = {"model": "m", "messages": HELLO, "stream": True, "max_tokens": 5}
    plain = (await http.post("/v1/chat/completions", json=body)).text
    asked = {**body, "stream_options": {"include_usage": True}}
    counted = (await http.post("/v1/chat/completions", json=asked)).text
    assert '"usage"' not in plain
    assert plain.endswith("data: [DONE]\n\n")
    *chunks, last, done, rest = counted.split("\n\n")
    assert all(json.loads(chunk.removeprefix("data: "))["usage"] is None for chunk in chunks)
    final = json.loads(last.removeprefix("data: "))
    assert final["choices"] == []
    assert final["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 5,
        "total_tokens": 8,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    assert (done, rest) == ("data: [DONE]", "")


async def test_each_choice_of_a_stream_has_its_own_deltas(sdk):
    texts = {0: "", 1: ""}
    stream = await sdk.chat.completions.create(model="m", messages=HELLO, stream=True, n=2)
    async for chunk in stream:
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert all(text.startswith("Simulated answer ") for text in texts.values())
    assert texts[0] != texts[1]


@pytest.mark.parametrize(
    ("content", "options", "called"),
    [
        ("please call weather", {}, ["weather"]),
        ("call traffic and call weather", {}, ["weather", "traffic"]),
        ("call traffic and call weather", {"parallel_tool_calls": False}, ["weather"]),
        ("call weather", {"tool_choice": "none"}, []),
        ("hello", {}, []),
        ("hello", {"tool_choice": "required"}, ["weather"]),
        (
            "hello",
            {"tool_choice": {"type": "function", "function": {"name": "traffic"}}},
            ["traffic"],
        ),
    ],
)
async def test_tools_are_called_when_named_or_forced(sdk, content, options, called):
    messages = [{"role": "user", "content": content}]
    answer = await sdk.chat.completions.create(model="m", messages=messages, tools=TOOLS, **options)
    message = answer.choices[0].message
    assert [call.function.name for call in message.tool_calls or []] == called
    assert answer.choices[0].finish_reason == ("tool_calls" if called else "stop")
    assert (message.content is None) == bool(called)
    for call in message.tool_calls or []:
        assert set(json.loads(call.function.arguments)) == {"city", "days"}


async def test_a_tool_result_gets_a_text(sdk):
    messages = [
        {"role": "user", "content": "call weather"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "c", "content": "sunny"},
    ]
    answer = await sdk.chat.completions.create(model="m", messages=messages, tools=TOOLS)
    assert answer.choices[0].message.content.startswith("Simulated")


async def test_streamed_arguments_join_to_those_of_a_plain_answer(sdk):
    messages = [{"role": "user", "content": "call weather, call traffic"}]
    calls: dict[int, dict[str, str]] = {}
    parts = 0
    stream = await sdk.chat.completions.create(
        model="m", messages=messages, tools=TOOLS, stream=True
    )
    async for chunk in stream:
        finish = chunk.choices[0].finish_reason
        for delta in chunk.choices[0].delta.tool_calls or []:
            parts += 1
            call = calls.setdefault(delta.index, {"arguments": ""})
            if delta.id:
                call |= {"id": delta.id, "name": delta.function.name}
            call["arguments"] += delta.function.arguments
    assert finish == "tool_calls"
    assert [call["name"] for call in calls.values()] == ["weather", "traffic"]
    assert len({call["id"] for call in calls.values()}) == 2
    assert all(set(json.loads(call["arguments"])) == {"city", "days"} for call in calls.values())
    assert parts > 4


async def test_parts_of_other_media_are_taken_and_counted(sdk):
    content = [
        {"type": "text", "text": "what is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_id": "f"}},
    ]
    answer = await sdk.chat.completions.create(
        model="m", messages=[{"role": "user", "content": content}]
    )
    assert answer.usage.prompt_tokens == 4 + 3 * 85


async def test_embeddings_are_the_same_numbers_as_floats_and_as_base64(http):
    body = {"model": "e", "input": ["one", "two"], "dimensions": 12}
    floats = (await http.post("/v1/embeddings", json=body)).json()
    packed = (await http.post("/v1/embeddings", json={**body, "encoding_format": "base64"})).json()
    for number, text in zip(floats["data"], packed["data"], strict=True):
        octets = base64.b64decode(text["embedding"])
        assert len(octets) == 4 * 12
        assert list(struct.unpack("<12f", octets)) == number["embedding"]
    assert floats["usage"] == {"prompt_tokens": 2, "total_tokens": 2}


@pytest.mark.parametrize("options", [{}, {"encoding_format": "float"}])
async def test_the_sdk_reads_unit_vectors_that_depend_on_the_text_alone(sdk, options):
    answer = await sdk.embeddings.create(model="e", input=["one", "two"], **options)
    again = await sdk.embeddings.create(model="e", input="two")
    first, second = (item.embedding for item in answer.data)
    assert len(first) == 256
    assert first != second
    assert list(again.data[0].embedding) == pytest.approx(list(second))
    assert math.fsum(x * x for x in first) == pytest.approx(1, abs=1e-5)


async def test_tokens_as_input_count_one_by_one(sdk):
    one = await sdk.embeddings.create(model="e", input=[1, 2, 3])
    two = await sdk.embeddings.create(model="e", input=[[1, 2, 3], [4]])
    assert (len(one.data), one.usage.prompt_tokens) == (1, 3)
    assert (len(two.data), two.usage.prompt_tokens) == (2, 4)
    assert list(two.data[0].embedding) == list(one.data[0].embedding)


@pytest.mark.parametrize(
    "body",
    [
        {"input": []},
        {"input": ""},
        {"input": [1, "a"]},
        {"input": ["a"] * 2_049},
        {"input": "a", "dimensions": 0},
        {"input": "a", "encoding_format": "hex"},
    ],
)
async def test_an_impossible_embedding_request_is_a_400(http, body):
    answer = await http.post("/v1/embeddings", json={"model": "e", **body})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_models_are_listed_and_unknown_ones_are_404():
    settings = SimulatorSettings(models=("small", "large"))
    async with (
        running_upstream(settings) as url,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as sdk,
    ):
        assert [model.id async for model in sdk.models.list()] == ["small", "large"]
        assert (await sdk.models.retrieve("large")).id == "large"
        with pytest.raises(openai.NotFoundError) as chat:
            await sdk.chat.completions.create(model="none", messages=HELLO)
        assert (chat.value.code, chat.value.param) == ("model_not_found", "model")
        with pytest.raises(openai.NotFoundError):
            await sdk.embeddings.create(model="none", input="a")
        with pytest.raises(openai.NotFoundError):
            await sdk.models.retrieve("none")


async def test_a_wrong_credential_is_401():
    async with running_upstream(SimulatorSettings(api_key="right")) as url:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="no", max_retries=0) as sdk:
            with pytest.raises(openai.AuthenticationError):
                await sdk.chat.completions.create(model="m", messages=HELLO)
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="right") as sdk:
            assert await sdk.chat.completions.create(model="m", messages=HELLO)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b'{"model":"m"}', None),
        (b'{"model":"m","messages":[{"role":"nobody"}]}', None),
        (b'{"model":"m","messages":[{"role":"user","content":"\xff"}]}', None),
        (b'{"model":"m","messages":[]}', "messages"),
        (b'{"model":"m","messages":[{"role":"user"}],"n":0}', "n"),
        (b'{"model":"m","messages":[{"role":"user"}],"n":129}', "n"),
        (b'{"model":"m","messages":[{"role":"user"}],"max_tokens":0}', "max_tokens"),
        (b'{"model":"m","messages":[{"role":"user"}],"tool_choice":"required"}', "tool_choice"),
    ],
)
async def test_a_wrong_request_is_a_400_in_openais_shape(http, body, param):
    answer = await http.post("/v1/chat/completions", content=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"]) == ("invalid_request_error", param)


async def test_a_forced_tool_that_is_not_given_is_a_400(sdk):
    choice = {"type": "function", "function": {"name": "absent"}}
    with pytest.raises(openai.BadRequestError):
        await sdk.chat.completions.create(
            model="m", messages=HELLO, tools=TOOLS, tool_choice=choice
        )


async def test_other_methods_are_405(http):
    assert (await http.get("/v1/chat/completions")).status_code == 405
    assert (await http.post("/v1/models")).status_code == 405
