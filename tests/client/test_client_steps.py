"""The recorder: what is noted of an agent's steps, where it stands, and what never leaves."""

import asyncio
import hashlib
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing
from dataclasses import dataclass

import pytest
from tests.support.spancollector import KEY, collecting

from verismo.client import bound, retrieval, run, source, step, tool
from verismo.client.recorder import here, octets_of

SECRET = "the patient is called Ada"


def commit(salt: bytes, octets: bytes) -> str:
    return hashlib.sha256(b"attest/v1/source\0" + salt + octets).hexdigest()


@pytest.fixture(scope="module")
def server():
    with collecting() as collector:
        yield collector


@pytest.fixture
def collector(server):
    server.bodies.clear()
    server.headers.clear()
    server.status, server.answer = 200, b"{}"
    return server


@pytest.fixture
def agent(collector):
    return run("desk", gateway=collector.url, api_key=KEY)


@tool
def search(query: str, limit: int = 3) -> list[str]:
    return [query] * limit


@tool
async def fetch(uri: str) -> str:
    await asyncio.sleep(0)
    return search(uri)[0]


@tool(name="numbers")
def count(top: int):
    sent = yield 0
    assert sent is None
    yield from range(1, top)
    return "done"


@tool
async def letters(word: str):
    for letter in word:
        await asyncio.sleep(0)
        yield letter


@step
def plan() -> str:
    return search("a")[0]


def test_a_tool_outside_any_run_is_only_itself():
    assert search("x") == ["x"] * 3
    assert asyncio.run(fetch("y")) == "y"
    assert list(count(3)) == [0, 1, 2]
    assert here() is None
    assert source("doc:1", "text") == ""


def test_a_call_is_a_hop_with_digests_of_arguments_and_result(agent, collector):
    with agent as r:
        assert search(SECRET, limit=2) == [SECRET, SECRET]
        salt, span = r.salt, r.span_id
    hop = collector.hop("search")
    assert (hop.kind, hop.parent_span, hop.attrs["action"]) == ("tool", span, "execute_tool")
    assert hop.commit == commit(salt, f'["{SECRET}","{SECRET}"]'.encode())
    arguments = f'{{"args":["{SECRET}"],"kwargs":{{"limit":2}}}}'.encode()
    assert hop.attrs["arguments_commit"] == commit(salt, arguments)
    assert hop.attrs["octets"] == len(f'["{SECRET}","{SECRET}"]')
    assert 0 < hop.t0_ms <= hop.t1_ms
    assert (r.lost, r.refused, r.faults) == (0, 0, ())


def test_no_content_leaves_the_process(agent, collector):
    with agent as r:
        search(SECRET)
        with retrieval("files", query=SECRET) as found:
            found.source("file:1", SECRET)
        r.flush()
    assert collector.bodies
    assert all(SECRET.encode() not in body for body in collector.bodies)
    assert all(b"Ada" not in body for body in collector.bodies)


def test_the_salt_of_a_run_never_leaves_the_process(agent, collector):
    with agent as r:
        search("a")
        told = {**r.headers()}
    sent = b"".join(collector.bodies) + repr([*collector.headers, told]).encode()
    assert r.salt.hex().encode() not in sent
    assert "attest-run-salt" not in told


def test_calls_within_a_call_stand_under_it(agent, collector):
    with agent as r:
        plan()
    planned, searched = collector.hop("plan"), collector.hop("search")
    assert planned.parent_span == r.span_id
    assert searched.parent_span == planned.span_id
    assert (planned.kind, planned.attrs["action"]) == ("transform", "invoke_agent")


def test_a_tool_that_calls_itself_is_a_chain_of_steps(agent, collector):
    @tool
    def down(depth: int) -> int:
        return depth and down(depth - 1)

    with agent:
        down(3)
    by_span = {hop.span_id: hop.parent_span for hop in collector.hops}
    chain = [span for span in by_span if span not in by_span.values()]
    while chain[-1] in by_span:
        chain.append(by_span[chain[-1]])
    assert len(chain) == 5


def test_an_exception_is_passed_on_and_its_kind_is_noted(agent, collector):
    @tool
    def broken() -> None:
        raise LookupError(SECRET)

    with agent:
        with pytest.raises(LookupError, match=SECRET):
            broken()
        assert here().parent_span == ""
    assert collector.hop("broken").attrs["error"] == "LookupError"
    assert SECRET.encode() not in collector.bodies[0]


def test_the_agents_own_exception_reaches_its_caller_and_the_run_is_still_told(agent, collector):
    def work() -> None:
        with agent:
            search("a")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert len(collector.hops) == 1


async def test_tasks_that_run_together_stand_under_what_started_them(collector):
    @step
    async def both(name: str) -> None:
        await asyncio.gather(fetch(f"{name}1"), fetch(f"{name}2"))

    async with run("desk", gateway=collector.url, api_key=KEY) as r:
        await asyncio.gather(both("a"), both("b"), asyncio.create_task(both("c")))
    hops = collector.hops
    steps = [hop for hop in hops if hop.kind == "transform"]
    fetched = [hop for hop in hops if hop.attrs.get("tool") == "fetch"]
    searched = [hop for hop in hops if hop.attrs.get("tool") == "search"]
    assert {hop.parent_span for hop in steps} == {r.span_id}
    for one in steps:
        assert sum(hop.parent_span == one.span_id for hop in fetched) == 2
    assert {hop.parent_span for hop in searched} == {hop.span_id for hop in fetched}


async def test_runs_side_by_side_keep_apart(collector):
    async def one(name: str) -> str:
        async with run(name, gateway=collector.url, api_key=KEY) as r:
            await fetch(name)
        return r.trace_id

    traces = await asyncio.gather(*(one(f"agent-{n}") for n in range(5)))
    assert len(set(traces)) == 5
    by_trace = {span.span_id: span.trace_id for span in collector.spans}
    assert sorted(by_trace.values()) == sorted([*traces, *traces])
    for span in collector.spans:
        assert by_trace.get(span.parent_span, span.trace_id) == span.trace_id


def test_a_thread_stands_nowhere_unless_it_is_bound(agent, collector):
    with agent as r, ThreadPoolExecutor(2) as pool:
        pool.submit(search, "unbound").result()
        pool.submit(bound(search), "bound").result()
        list(pool.map(bound(search), ["c", "d", "e"]))
        with r.active():
            assert here() is not None
    assert [hop.parent_span for hop in collector.hops] == [r.span_id] * 4


async def test_a_thread_of_asyncio_inherits_the_step(collector):
    async with run("desk", gateway=collector.url, api_key=KEY) as r:
        await asyncio.to_thread(search, "a")
    assert [hop.parent_span for hop in collector.hops] == [r.span_id]


def test_many_threads_lose_no_step(agent, collector):
    def work() -> None:
        for _ in range(50):
            search("a")

    with agent as r:
        threads = [threading.Thread(target=bound(work)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len({hop.span_id for hop in collector.hops}) == 400
    assert r.lost == 0


def test_a_generator_is_one_step_and_its_reader_is_not_under_it(agent, collector):
    with agent as r:
        seen = []
        for number in count(3):
            seen.append(number)
            search("between")
        assert seen == [0, 1, 2]
    told = collector.hop("numbers")
    assert told.commit == commit(r.salt, b"012")
    assert "error" not in told.attrs
    searched = [hop for hop in collector.hops if hop.attrs.get("tool") == "search"]
    assert {hop.parent_span for hop in searched} == {r.span_id}


def test_a_generator_keeps_what_it_returns_and_is_sent_and_thrown(agent, collector):
    @tool
    def echo():
        heard = []
        try:
            while True:
                try:
                    heard.append((yield len(heard)))
                except KeyError as error:
                    heard.append(str(error))
        finally:
            heard.append("closed")

    @tool
    def outer():
        return (yield from count(2))

    with agent:
        talk = echo()
        assert [next(talk), talk.send("a"), talk.throw(KeyError("k")), talk.send("b")] == [
            0,
            1,
            2,
            3,
        ]
        talk.close()
        reader = outer()
        assert list(iter(lambda: next(reader, None), None)) == [0, 1]
    assert collector.hop("echo").attrs["error"] == "GeneratorExit"
    assert collector.hop("numbers").parent_span == collector.hop("outer").span_id


async def test_an_async_generator_is_one_step_and_its_reader_is_not_under_it(collector):
    async with run("desk", gateway=collector.url, api_key=KEY) as r:
        seen = [letter async for letter in letters("abc")]
        async with aclosing(letters("xyz")) as left:
            async for _ in left:
                search("between")
                break
    assert seen == ["a", "b", "c"]
    whole, cut = (hop for hop in collector.hops if hop.attrs["tool"] == "letters")
    assert (whole.commit, whole.attrs["octets"]) == (commit(r.salt, b"abc"), 3)
    assert (cut.commit, cut.attrs["error"]) == (commit(r.salt, b"x"), "GeneratorExit")
    assert collector.hop("search").parent_span == r.span_id


async def test_steps_within_an_async_generator_stand_under_it(collector):
    @tool
    async def pages():
        for name in "ab":
            yield await fetch(name)

    async with run("desk", gateway=collector.url, api_key=KEY):
        assert [page async for page in pages()] == ["a", "b"]
    read = collector.hop("pages")
    fetched = [hop for hop in collector.hops if hop.attrs["tool"] == "fetch"]
    assert [hop.parent_span for hop in fetched] == [read.span_id] * 2


async def test_an_async_generator_outside_any_run_is_only_itself():
    async with aclosing(letters("abc")) as read:
        assert [letter async for letter in read] == ["a", "b", "c"]


async def test_a_function_stays_the_kind_of_function_that_it_was():
    assert inspect.iscoroutinefunction(fetch)
    assert inspect.isgeneratorfunction(count)
    assert inspect.isasyncgenfunction(letters)
    assert (search.__name__, inspect.signature(search).parameters.keys()) == (
        "search",
        {"query", "limit"},
    )


def test_a_cancelled_tool_says_so_and_stays_cancelled(collector):
    started = asyncio.Event()

    @tool
    async def waits() -> None:
        started.set()
        await asyncio.Event().wait()

    async def work() -> None:
        async with run("desk", gateway=collector.url, api_key=KEY):
            task = asyncio.create_task(waits())
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(work())
    assert collector.hop("waits").attrs["error"] == "CancelledError"


def test_sources_stand_with_the_step_that_they_fed(agent, collector):
    @tool
    def read(uri: str) -> str:
        source(uri, SECRET)
        return "read"

    with agent as r:
        read("file:a")
        with retrieval("index", query="q") as found:
            first = found.source("doc:1", b"\x00\x01")
            source("doc:2", {"b": 1, "a": [True]})
        alone = source("doc:3", "on its own")
    assert collector.hop("read").sources[0].uri == "file:a"
    looked = collector.hop("index")
    assert (looked.kind, looked.attrs["arguments_commit"]) == ("retrieval", commit(r.salt, b"q"))
    assert [(one.uri, one.octets) for one in looked.sources] == [("doc:1", 2), ("doc:2", 18)]
    assert looked.sources[0].commit == first == commit(r.salt, b"\x00\x01")
    assert looked.sources[1].commit == commit(r.salt, b'{"a":[true],"b":1}')
    [lone] = collector.hop("source").sources
    assert (lone.uri, lone.commit) == ("doc:3", alone)


async def test_a_retrieval_may_be_awaited(collector):
    async with run("desk", gateway=collector.url, api_key=KEY), retrieval("index") as found:
        await asyncio.gather(fetch("a"), fetch("b"))
        found.source("doc:1", "x")
    looked = collector.hop("index")
    assert [one.uri for one in looked.sources] == ["doc:1"]
    fetched = [hop for hop in collector.hops if hop.attrs.get("tool") == "fetch"]
    assert {hop.parent_span for hop in fetched} == {looked.span_id}


def test_a_retrieval_outside_any_run_notes_nothing():
    with retrieval("index", query="q") as found:
        assert found.source("doc:1", "text") == ""


class Opaque:
    """Something without any octets of its own."""


@dataclass
class Page:
    title: str


def endless() -> list[object]:
    nested: list[object] = []
    nested.append(nested)
    return nested


@pytest.mark.parametrize("value", [Opaque(), "\ud800", 1 << 70, endless(), object])
def test_a_result_without_octets_is_passed_on_and_has_no_digest(agent, collector, value):
    @tool
    def give(_: object) -> object:
        return value

    with agent:
        assert give(value) is value
    hop = collector.hop("give")
    if hop.commit:
        assert octets_of(value) is not None
    else:
        assert "octets" not in hop.attrs


@pytest.mark.parametrize(
    ("value", "octets"),
    [
        ("ä", "ä".encode()),
        (b"\xff", b"\xff"),
        (bytearray(b"a"), b"a"),
        (memoryview(b"a"), b"a"),
        (None, b"null"),
        ({"b": 1, "a": None}, b'{"a":null,"b":1}'),
        (Page("t"), b'{"title":"t"}'),
        (Opaque(), None),
        ("\ud800", None),
    ],
)
def test_what_is_digested_is_bytes_text_or_json_with_sorted_keys(value, octets):
    assert octets_of(value) == octets


def test_a_generator_that_is_dropped_leaves_the_agent_alone(agent, collector):
    with agent:
        with closing(count(5)) as numbers:
            next(numbers)
        assert here().parent_span == ""
    assert collector.hop("numbers").attrs["error"] == "GeneratorExit"
