"""A real worker under steering: it follows what it can believe, splits by it, and counts it all."""

import asyncio
import itertools
import json
import logging
import socket
import time
from collections import Counter
from contextlib import asynccontextmanager, closing

import pytest
from tests.support.gateway import (
    Gateway,
    Setup,
    configure,
    make_keys,
    running_gateway,
    serving,
)
from tests.support.steering import Steersman
from tests.support.telemetry import KeptTelemetry
from tests.support.waiting import at_best, until

from verismo.adapters.windows_sqlite import FILE_NAME, SqliteWindows
from verismo.control.windowreads import add_up
from verismo.gateway.breaker import COOL_DOWN_MS, FAILURES_MAX
from verismo.gateway.windows import WindowCounts
from verismo.model.errors import StateError
from verismo.model.steering import Rollout, drawn_arm, steering_digest
from verismo.model.window import window_fault
from verismo.simulate.record import Record
from verismo.simulate.server import running_upstream
from verismo.simulate.settings import SimulatorSettings
from verismo.wiring.firststart import prepare_data
from verismo.wiring.keys import open_rotation
from verismo.wiring.steered import WindowWriter
from verismo.wiring.worker import Parts, Worker

pytestmark = pytest.mark.slow

ALL = 1_000_000
PROPAGATION_S_MAX = 2.0
"""ADR-031: what the control plane says is followed within this."""
SPLIT = """
[operations.split]
kind = "chat"
purpose = "support"
deployments = ["chat-us"]
candidates = ["new-us"]

[operations.abroad]
kind = "chat"
purpose = "support"
deployments = ["chat-eu", "chat-us"]
candidates = ["new-us"]
"""


def rollout(weight_ppm, **more):
    fields = {"operation": "split", "tenant": "", "baseline": "chat-us", "candidate": "new-us"}
    return Rollout(**(fields | more), weight_ppm=weight_ppm)


def setup_for(url, *, region="us", edits=None, **more):
    """A gateway with a candidate at an upstream of its own, and intervals of one second."""
    return Setup(
        edits={"# window_s = 10": "window_s = 1", **(edits or {})},
        more=f"""
[providers.new]
kind = "openai"
base_url = "{url}/v1"
timeouts = {{ connect_ms = 500, first_byte_ms = 1500, total_ms = 5000 }}

[deployments.new-us]
provider = "new"
model = "gpt-4o-mini"
region = "{region}"

[tenants.NEIGHBOUR]
region = "us"
purposes = ["support"]
models = ["gpt-*"]
budget_usd_per_day = 1
""",
        files={"operations/split.toml": SPLIT},
        **more,
    )


@asynccontextmanager
async def steered_gateway(folder, *rollouts, candidate=None, record=None, **more):
    """Run a gateway that follows some rollouts from its first request on."""
    async with (
        running_upstream(candidate or SimulatorSettings(), record) as url,
        running_gateway(folder, setup_for(url, **more)) as gateway,
    ):
        with closing(Steersman(gateway.config)) as steersman:
            if rollouts:
                version = steersman.tell(*rollouts)
                await until(lambda: followed(gateway) == version)
            yield gateway, steersman


def followed(gateway):
    steering = gateway.worker.steering
    return 0 if steering is None else steering.version


def counted(gateway, operation="split"):
    """Return the windows of an operation over all intervals, and by arm and deployment."""
    with closing(SqliteWindows(gateway.config.data / FILE_NAME)) as source:
        read = source.intervals(0, 2**53)
    windows = [one for interval in read for one in interval.windows]
    return {(one.arm, one.deployment): one for one in add_up(windows) if one.operation == operation}


async def all_counted(gateway, requests, operation="split"):
    """Wait until windows of so many requests were written, and return them."""

    def is_there():
        return sum(one.requests for one in counted(gateway, operation).values()) >= requests

    await until(is_there)
    found = counted(gateway, operation)
    assert sum(one.requests for one in found.values()) == requests
    assert not any(window_fault(one) for one in found.values())
    return found


def route_hop(gateway, answer):
    [found] = [hop["attrs"] for hop in gateway.hops(answer) if hop["kind"] == "route"]
    return found


async def chats(gateway, count, **members):
    """Send chats, sixteen at a time."""
    answers = []
    for at in range(0, count, 16):
        some = range(at, min(at + 16, count))
        answers += await asyncio.gather(
            *(gateway.chat(f"Hello {one}", model="split", **members) for one in some)
        )
    return answers


async def test_requests_are_split_by_weight_and_each_prov_id_draws_its_arm_again(tmp_path):
    async with steered_gateway(tmp_path, rollout(300_000)) as (gateway, steersman):
        answers = await chats(gateway, 320)
        assert {one.status for one in answers} == {200}
        arms = Counter()
        for answer in answers:
            hop = route_hop(gateway, answer)
            arm = drawn_arm(answer.prov_id, hop["weight_ppm"])
            assert (hop["arm"], hop["weight_ppm"]) == (arm, 300_000)
            [only] = gateway.tries(answer)
            assert only["deployment"] == hop["assigned"]
            assert (arm == "candidate") == (only["deployment"] == "new-us")
            arms[arm] += 1
        # 96 are expected with a standard deviation of 8.2: six of them either way.
        assert 46 <= arms["candidate"] <= 146
        windows = await all_counted(gateway, 320)
        assert windows.keys() == {("baseline", "chat-us"), ("candidate", "new-us")}
        for window in windows.values():
            assert window.requests == window.latency.total == arms[window.arm]
            assert (window.errors, window.refused, window.tenant) == (0, 0, "TENANT_001")
        costs = [json.loads(gateway.record_of(one).statement)["cost_usd_micros"] for one in answers]
        assert sum(one.cost_usd_micros for one in windows.values()) == sum(costs)
        await gateway.proven(answers[0])
        plans = {json.loads(gateway.record_of(one).statement)["plan"] for one in answers}
        assert plans == {steering_digest(steersman.newest())}


async def test_a_gateway_without_steering_sends_everything_to_the_baseline(tmp_path):
    async with steered_gateway(tmp_path) as (gateway, _):
        answers = await chats(gateway, 8)
        assert {gateway.tries(one)[0]["deployment"] for one in answers} == {"chat-us"}
        assert route_hop(gateway, answers[0]) == {"arm": "baseline", "candidates": 1}
        windows = await all_counted(gateway, 8)
        assert windows.keys() == {("unsplit", "chat-us")}


async def test_what_is_published_is_followed_within_two_seconds(tmp_path):
    async with steered_gateway(tmp_path, rollout(0)) as (gateway, steersman):
        weights = itertools.count(100_000, 100_000)

        async def took_s():
            steersman.tell(rollout(next(weights)))
            digest = steering_digest(steersman.newest())
            began_s = time.monotonic()

            async def is_followed():
                answer = await gateway.chat(model="split")
                return json.loads(gateway.record_of(answer).statement)["plan"] == digest

            await until(is_followed)
            return time.monotonic() - began_s

        assert await at_best(took_s, PROPAGATION_S_MAX) <= PROPAGATION_S_MAX


async def test_what_cannot_be_believed_is_refused_once_aloud_and_the_last_good_is_kept(
    tmp_path, caplog
):
    good = rollout(200_000)
    async with steered_gateway(tmp_path, good) as (gateway, steersman):
        evil = (rollout(ALL),)
        stranger = (rollout(ALL, candidate="embedding-us"),)
        attacks = [
            ("not of this key", {}, {"forged": True}),
            ("role token, not plan", {}, {"role": "token"}),
            ("format 2 is not known", {"v": 2}, {}),
            ("another configuration", {"base": "0" * 64}, {}),
            ("is of 'mallory'", {"iss": "mallory"}, {}),
            ("not later than 1", {"version": 1}, {}),
            ("and says 90", {"version": 90}, {}),
            ("is of another plan", {"rollouts": stranger}, {}),
        ]
        for cause, said, how in attacks:
            caplog.clear()
            steersman.put(steersman.steering(**({"rollouts": evil} | said)), **how)
            await until(lambda: len(refusals(caplog)) == 1)
            assert cause in refusals(caplog)[0]
            assert gateway.worker.steering.version == 1
            assert gateway.worker.steering.rollouts == (good,)
        caplog.clear()
        version = steersman.tell(rollout(400_000))
        await until(lambda: followed(gateway) == version)
        assert refusals(caplog) == []


def refusals(caplog):
    return [
        record.fields["error"]
        for record in caplog.records
        if record.levelno == logging.WARNING and "steering is refused" in str(record.fields)
    ]


async def test_what_the_thief_of_a_key_published_is_let_go_of_when_the_key_is_revoked(tmp_path):
    async with steered_gateway(tmp_path, rollout(1)) as (gateway, steersman):
        version = steersman.put(steersman.steering((rollout(ALL),)))
        await until(lambda: followed(gateway) == version)
        assert route_hop(gateway, await gateway.chat(model="split"))["arm"] == "candidate"
        rotation = open_rotation(gateway.config.data, gateway.config.keys)
        [plan] = [one for one in rotation.newest().ring.keys if one.role == "plan"]
        at_ms = time.time_ns() // 1_000_000
        rotation.revoke(plan.kid, at_ms, "stolen", at_ms)
        await until(lambda: followed(gateway) == 0)
        assert route_hop(gateway, await gateway.chat(model="split"))["arm"] == "baseline"
        with closing(Steersman(gateway.config)) as mended:
            told = mended.tell(rollout(2))
            await until(lambda: followed(gateway) == told)


async def test_an_error_of_the_candidate_is_its_arms_although_the_baseline_answers(tmp_path):
    broken = SimulatorSettings(error_ppm=ALL)
    async with steered_gateway(tmp_path, rollout(ALL), candidate=broken) as (gateway, _):
        answers = await chats(gateway, 24)
        assert {one.status for one in answers} == {200}
        last = [one["deployment"] for one in gateway.tries(answers[-1])]
        assert last == ["chat-us"], "the breaker is open, so the candidate is not asked"
        windows = await all_counted(gateway, 24)
        [window] = windows.values()
        assert (window.arm, window.deployment) == ("candidate", "new-us")
        assert (window.errors, window.latency.total) == (24, 0)


async def test_who_is_not_asked_while_another_probes_is_an_error_of_the_arm(tmp_path):
    record = Record()
    async with steered_gateway(tmp_path, rollout(ALL), record=record) as (gateway, _):
        breaker = gateway.worker.breakers.of("new-us")
        long_ago_ms = time.time_ns() // 1_000_000 - COOL_DOWN_MS
        for _ in range(FAILURES_MAX):
            breaker.failed(long_ago_ms)
        probe = asyncio.create_task(gateway.chat("[simulate: slow=300]", model="split"))
        await record.wait_until(lambda seen: seen.in_flight == 1)
        other = await gateway.chat(model="split")
        assert [one["deployment"] for one in gateway.tries(other)] == ["chat-us"]
        assert gateway.tries(await probe)[0]["deployment"] == "new-us"
        [window] = (await all_counted(gateway, 2)).values()
        assert (window.deployment, window.errors, window.latency.total) == ("new-us", 1, 1)


async def test_a_stream_that_breaks_is_an_error_and_a_whole_one_has_a_first_token(tmp_path):
    cutting = SimulatorSettings(cut_ppm=ALL)
    async with steered_gateway(tmp_path, rollout(500_000), candidate=cutting) as (gateway, _):
        answers = await chats(gateway, 24, stream=True)
        arms = Counter(drawn_arm(one.prov_id, 500_000) for one in answers)
        windows = await all_counted(gateway, 24)
        for (arm, _), window in windows.items():
            whole = arms[arm] if arm == "baseline" else 0
            assert (window.requests, window.errors) == (arms[arm], arms[arm] - whole)
            assert window.latency.total == window.first_token.total == whole


async def test_a_candidate_that_refuses_calls_does_not_look_quick(tmp_path):
    lacking = SimulatorSettings(models=("another",))
    async with steered_gateway(tmp_path, rollout(ALL), candidate=lacking) as (gateway, _):
        answers = await chats(gateway, 8)
        assert {one.status for one in answers} == {404}
        [window] = (await all_counted(gateway, 8)).values()
        assert (window.refused, window.errors, window.latency.total) == (8, 0, 0)


async def test_who_may_not_go_to_the_candidate_is_no_part_of_the_rollout(tmp_path):
    async with steered_gateway(tmp_path, rollout(ALL), region="eu") as (gateway, _):
        answers = await chats(gateway, 8)
        assert {gateway.tries(one)[0]["deployment"] for one in answers} == {"chat-us"}
        assert "weight_ppm" not in route_hop(gateway, answers[0])
        assert (await all_counted(gateway, 8)).keys() == {("unsplit", "chat-us")}


async def test_who_may_not_go_to_the_baseline_is_no_part_of_the_rollout(tmp_path):
    abroad = rollout(ALL, operation="abroad", baseline="chat-eu")
    async with steered_gateway(tmp_path, abroad) as (gateway, _):
        answer = await gateway.chat(model="abroad")
        assert [one["deployment"] for one in gateway.tries(answer)] == ["chat-us"]
        assert (await all_counted(gateway, 1, "abroad")).keys() == {("unsplit", "chat-us")}


async def test_a_rollout_of_one_tenant_leaves_the_others_alone(tmp_path):
    mine = rollout(ALL, tenant="TENANT_001")
    async with steered_gateway(tmp_path, mine) as (gateway, _):
        answer = await gateway.chat(model="split")
        assert gateway.tries(answer)[0]["deployment"] == "new-us"
        _, key = gateway.add_key("NEIGHBOUR")
        await until(lambda: is_known(gateway, key))
        other = await gateway.chat(model="split", key=key)
        assert [one["deployment"] for one in gateway.tries(other)] == ["chat-us"]
        assert (await all_counted(gateway, 2)).keys() == {
            ("candidate", "new-us"),
            ("unsplit", "chat-us"),
        }


async def is_known(gateway, key):
    return (await gateway.send("GET", "/v1/models", key=key)).status == 200


async def test_a_candidate_is_never_fallen_back_to(tmp_path):
    broken = SimulatorSettings(error_ppm=ALL, keep_requests=1)
    async with steered_gateway(tmp_path, rollout(1), simulator=broken) as (gateway, _):
        answers = await chats(gateway, 4)
        assert {one["deployment"] for answer in answers for one in gateway.tries(answer)} == {
            "chat-us"
        }
        [window] = (await all_counted(gateway, 4)).values()
        assert (window.arm, window.errors) == ("baseline", 4)


async def test_cache_hits_and_refusals_before_the_choice_are_not_counted(tmp_path):
    cached = {"[tenants.TENANT_001]\n": "[tenants.TENANT_001]\ncache_ttl_s = 600\n"}
    async with steered_gateway(tmp_path, rollout(ALL), edits=cached) as (gateway, steersman):
        await gateway.chat(model="split")
        for _ in range(3):
            hit = await gateway.chat(model="split")
            assert json.loads(gateway.record_of(hit).statement)["cache"] == "hit"
        twice = b'{"model":"split","model":"split","messages":[]}'
        refused = await gateway.send("POST", "/v1/chat/completions", twice)
        assert (refused.status, refused.json()["code"]) == (400, "duplicate_member")
        await gateway.chat("another", model="split")
        assert (await all_counted(gateway, 2)).keys() == {("candidate", "new-us")}
        version = steersman.tell(rollout(0))
        await until(lambda: followed(gateway) == version)
        after = await gateway.chat(model="split")
        assert gateway.tries(after)[0]["deployment"] == "chat-us", "a kept answer outlived it"


async def test_a_client_that_leaves_counts_with_the_time_it_waited(tmp_path):
    async with steered_gateway(tmp_path, rollout(1)) as (gateway, _):
        leaving = asyncio.create_task(gateway.chat("[simulate: slow=1500]", model="split"))
        await until(lambda: gateway.telemetry.now_in_flight == 1)
        leaving.cancel()
        [window] = (await all_counted(gateway, 1)).values()
        assert (window.arm, window.errors, window.latency.total) == ("baseline", 0, 1)


async def test_what_is_in_flight_is_busy_for_as_long_as_it_takes(tmp_path):
    async with steered_gateway(tmp_path) as (gateway, _):
        began_s = time.monotonic()
        await asyncio.gather(
            *(gateway.chat(f"[simulate: slow=300] {at}", model="split") for at in range(4))
        )
        took_ms = (time.monotonic() - began_s) * 1_000
        await all_counted(gateway, 4)
        with closing(SqliteWindows(gateway.config.data / FILE_NAME)) as source:
            loads = [load for one in source.intervals(0, 2**53) for load in one.loads]
        assert {load.deployment for load in loads} == {"chat-us"}
        assert sum(load.requests for load in loads) == 4
        assert 4 * 300 <= sum(load.busy_ms for load in loads) <= 4 * took_ms + len(loads)


async def test_a_stream_is_in_flight_until_its_end_and_no_longer(tmp_path):
    async with steered_gateway(tmp_path) as (gateway, _):
        await chats(gateway, 3, stream=True)
        await all_counted(gateway, 3)
        with closing(SqliteWindows(gateway.config.data / FILE_NAME)) as source:
            last_ms = max(one.end_ms for one in source.intervals(0, 2**53) if one.windows)
            await until(lambda: len(source.written(last_ms, 2**53)) > 0)
            loads = [load for one in source.intervals(0, last_ms) for load in one.loads]
            assert sum(load.requests for load in loads) == 3
            assert [one.loads for one in source.intervals(last_ms, 2**53)] == [()]


async def test_offers_are_written_for_each_route(tmp_path):
    async with steered_gateway(tmp_path) as (gateway, _):
        answers = await chats(gateway, 5)
        hops = [hop for one in answers for hop in gateway.hops(one) if hop["kind"] == "budget"]
        await all_counted(gateway, 5)
        with closing(SqliteWindows(gateway.config.data / FILE_NAME)) as source:
            spends = [one for interval in source.intervals(0, 2**53) for one in interval.spends]
        assert {(one.tenant, one.operation) for one in spends} == {("TENANT_001", "split")}
        offered = sum(one.offered_usd_micros for one in spends)
        assert offered == sum(hop["attrs"]["reserved_usd_micros"] for hop in hops) > 0


async def test_a_worker_that_starts_anew_follows_at_once_and_counts_on(tmp_path):
    async with (
        running_upstream(SimulatorSettings()) as new_url,
        running_upstream(SimulatorSettings()) as url,
    ):
        setup = setup_for(new_url)
        config = configure(tmp_path, url, setup)
        prepare_data(config.data, config.keys)
        keys = make_keys(config.data)
        first = Gateway(config, keys, Record())
        async with serving(first, setup):
            with closing(Steersman(config)) as steersman:
                steersman.tell(rollout(ALL))
            await until(lambda: followed(first) == 1)
            await chats(first, 3)
        [before] = counted(first).values()
        assert (before.arm, before.requests) == ("candidate", 3), "none waits for its interval"
        # A part of an interval that was written is not written again: the next one counts.
        await until(lambda: time.time_ns() // 1_000_000 >= before.end_ms)
        second = Gateway(config, keys, Record())
        async with serving(second, setup):
            assert followed(second) == 1
            await chats(second, 2)
            [window] = (await all_counted(second, 5)).values()
            assert (window.arm, window.requests) == ("candidate", 5)


@asynccontextmanager
async def second_worker(gateway):
    """Run another worker of the same gateway, in the slot s1."""
    other = Gateway(gateway.config, gateway.keys, gateway.upstream)
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    other.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    other.client, other.public = gateway.client, gateway.public
    telemetry = KeptTelemetry()
    other.worker = Worker(gateway.config, 1, Parts(telemetry=lambda *_: telemetry))
    started = asyncio.Event()
    running = asyncio.create_task(other.worker.run(listener, started.set))
    try:
        await asyncio.wait_for(started.wait(), 10)
        yield other
    finally:
        other.worker.server.stop()
        await asyncio.wait_for(running, 20)
        other.reader.close()


async def test_two_workers_follow_the_same_and_their_intervals_add_up(tmp_path):
    async with (
        steered_gateway(tmp_path, rollout(500_000)) as (gateway, steersman),
        second_worker(gateway) as other,
    ):
        assert followed(other) == 1
        answers = [*(await chats(gateway, 32)), *(await chats(other, 32))]
        arms = Counter(drawn_arm(one.prov_id, 500_000) for one in answers)
        windows = await all_counted(gateway, 64)
        assert {arm: one.requests for (arm, _), one in windows.items()} == arms
        with closing(SqliteWindows(gateway.config.data / FILE_NAME)) as source:
            written = source.written(0, 2**53)
        assert {one.writer for one in written} == {"s0", "s1"}
        version = steersman.tell(rollout(100_000))
        await until(lambda: followed(gateway) == followed(other) == version)


async def test_a_worker_starts_without_steering_that_cannot_be_believed(tmp_path, caplog):
    async with running_upstream(SimulatorSettings()) as url:
        setup = setup_for(url)
        config = configure(tmp_path, url, setup)
        prepare_data(config.data, config.keys)
        with closing(Steersman(config)) as steersman:
            steersman.put(steersman.steering((rollout(ALL),)), forged=True)
        gateway = Gateway(config, make_keys(config.data), Record())
        async with serving(gateway, setup):
            assert gateway.worker.steering is None
            answer = await gateway.chat(model="split")
            assert gateway.tries(answer)[0]["deployment"] == "chat-us"
        assert "started without steering" in caplog.text


async def test_a_gateway_without_controllers_follows_and_writes_nothing(tmp_path):
    off = {"# enabled = true\n# Length of": "enabled = false\n# Length of"}
    async with running_upstream(SimulatorSettings()) as url:
        setup = setup_for(url, edits=off)
        config = configure(tmp_path, url, setup)
        prepare_data(config.data, config.keys)
        with closing(Steersman(config)) as steersman:
            steersman.tell(rollout(ALL))
        gateway = Gateway(config, make_keys(config.data), Record())
        async with serving(gateway, setup):
            answer = await gateway.chat(model="split")
            assert gateway.tries(answer)[0]["deployment"] == "chat-us"
        assert not (config.data / FILE_NAME).exists()


class Ticks:
    """A clock that a test owns."""

    def __init__(self):
        self.now_ns = 1_700_000_000_000_000_000

    def __call__(self):
        return self.now_ns


async def test_intervals_that_cannot_be_written_now_are_written_later(tmp_path):
    ticks = Ticks()
    counts = WindowCounts(1_000, (), None, ticks, ticks)
    path = tmp_path / FILE_NAME
    path.mkdir()
    with closing(SqliteWindows(path)) as sink:
        writer = WindowWriter(counts, sink, "s0")
        for _ in range(2):
            ticks.now_ns += 1_000_000_000
            with pytest.raises(StateError, match="cannot be used"):
                await writer.write()
        path.rmdir()
        await writer.write()
        assert len(sink.written(0, 2**53)) == 2


async def test_the_last_intervals_of_a_worker_do_not_keep_it_from_ending(tmp_path, caplog):
    ticks = Ticks()
    path = tmp_path / FILE_NAME
    path.mkdir()
    with closing(SqliteWindows(path)) as sink:
        await WindowWriter(WindowCounts(1_000, (), None, ticks, ticks), sink, "s0").write_rest()
    assert "the last intervals were not written" in caplog.text


async def test_an_interval_that_was_written_before_stays_and_the_next_one_follows(tmp_path, caplog):
    ticks = Ticks()
    with closing(SqliteWindows(tmp_path / FILE_NAME)) as sink:
        for _ in range(2):
            counts = WindowCounts(1_000, ("chat",), None, ticks, ticks)
            counts.offered("T", "chat", 5)
            writer = WindowWriter(counts, sink, "s0")
            await writer.write_rest()
        assert "an interval was written before" in caplog.text
        ticks.now_ns += 1_000_000_000
        await writer.write()
        read = sink.intervals(0, 2**53)
        assert [sum(one.offered_usd_micros for one in each.spends) for each in read] == [5]
        ticks.now_ns += 1_000_000_000
        await writer.write()
        assert len(sink.written(0, 2**53)) == 2
