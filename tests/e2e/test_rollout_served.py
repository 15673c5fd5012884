"""A rollout as operators run it: two workers and a control process, started by an act, ended by a
broken candidate."""

import asyncio
import json
import socket
import time
from collections import Counter
from contextlib import closing

import pytest
from tests.support.gateway import Setup
from tests.support.process import serving_process
from tests.support.waiting import until

from verismo.adapters.adapt_file import FILE_NAME as ADAPT_FILE
from verismo.adapters.adapt_file import AdaptFile
from verismo.adapters.decisions_sqlite import SqliteDecisions, SqliteSteering
from verismo.adapters.windows_sqlite import FILE_NAME, SqliteWindows
from verismo.control.windowreads import add_up
from verismo.model import canonical
from verismo.model.apikey import RANDOM_BYTES, key_sha256, new_api_key
from verismo.model.steering import Steering, drawn_arm
from verismo.ports.admins import AdminKey
from verismo.simulate.server import running_upstream
from verismo.simulate.settings import SimulatorSettings
from verismo.wiring.state import open_state

pytestmark = pytest.mark.slow

HALF = 500_000
AT_ONCE = 16


def setup_for(url, control_port):
    return Setup(
        edits={"port = 0": f"port = {control_port}", "# window_s = 10": "window_s = 1"},
        more=f"""
[canary]
look_s = 1
ladder_ppm = [{HALF}, 1000000]

[providers.new]
kind = "openai"
base_url = "{url}/v1"

[deployments.new-us]
provider = "new"
model = "gpt-4o-mini"
region = "us"
""",
        files={
            "operations/split.toml": """
[operations.split]
kind = "chat"
purpose = "support"
deployments = ["chat-us"]
candidates = ["new-us"]
"""
        },
    )


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


def admin_key(data):
    key = new_api_key(bytes(RANDOM_BYTES), "va")
    with open_state(data) as state:
        admin = AdminKey(key.id, "operator-1", "operator", key_sha256(key), time.time_ns() // 10**6)
        state.admins.add_admin_key(admin)
    return key.text


async def start(serving, port):
    subject = {"tenant": "", "operation": "split", "baseline": "chat-us", "candidate": "new-us"}
    act = {"controller": "canary", "verb": "start", "subject": subject}
    act |= {"reason": "the new deployment is to be tried", "channel": "api"}
    answer = await serving.client.post(
        f"http://127.0.0.1:{port}/v1/acts",
        json=act,
        headers={"authorization": f"Bearer {admin_key(serving.config.data)}"},
    )
    assert answer.status_code in (200, 201), answer.text


async def asked(serving, count):
    some = [serving.chat(f"Hello {at}", model="split") for at in range(count)]
    return list(await asyncio.gather(*some))


async def test_two_workers_split_what_an_act_began_until_the_controller_ends_it(tmp_path):
    port = free_port()
    broken = SimulatorSettings(error_ppm=1_000_000)
    async with (
        running_upstream(broken) as new_url,
        running_upstream(SimulatorSettings()) as url,
        serving_process(tmp_path, url, setup_for(new_url, port), workers=2) as serving,
    ):
        data = serving.config.data
        reading = AdaptFile(data / ADAPT_FILE, read_only=True)
        told = SqliteSteering(reading)

        def rollouts():
            row = told.newest()
            return () if row is None else canonical.decode(row.statement, Steering).rollouts

        answers = await asked(serving, AT_ONCE)
        await start(serving, port)
        [rollout] = rollouts()
        assert (rollout.candidate, rollout.weight_ppm) == ("new-us", HALF)

        async def is_over():
            answers.extend(await asked(serving, AT_ONCE))
            return not rollouts()

        await until(is_over, 120)
        assert {one.status for one in answers} == {200}, "a fallback answers for the candidate"
        [verdict] = [
            row.verdict for row in SqliteDecisions(reading).rows(0, 1_000) if row.rule == "canary"
        ][-1:]
        assert verdict == "ROLLBACK"
        reading.close()
        with closing(SqliteWindows(data / FILE_NAME)) as source:

            def counts():
                read = source.intervals(0, 2**53)
                return add_up(window for one in read for window in one.windows)

            await until(lambda: sum(one.requests for one in counts()) == len(answers))
            windows = {one.arm: one for one in counts()}
            writers = {one.writer for one in source.written(0, 2**53)}
        assert writers == {"s0", "s1"}
        drawn = Counter()
        for slot in writers:
            for record in serving.records(slot):
                [hop] = [
                    one["attrs"]
                    for one in json.loads(record.graph)["nodes"]
                    if one["kind"] == "route"
                ]
                drawn[hop["arm"] if "weight_ppm" in hop else "unsplit"] += 1
                if "weight_ppm" in hop:
                    assert hop["arm"] == drawn_arm(record.prov_id, hop["weight_ppm"])
        assert {arm: one.requests for arm, one in windows.items()} == drawn
        assert windows["candidate"].errors == windows["candidate"].requests > 0
        assert windows["baseline"].errors == windows["unsplit"].errors == 0
