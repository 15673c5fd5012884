"""`verismo serve` with an act over HTTP: gateways follow it, and `kill -9` of the control process
loses nothing of it.
"""

import asyncio
import os
import signal
import socket
import sys
import time
from contextlib import closing

import httpx2
import pytest
from tests.support.gateway import Setup
from tests.support.process import serving_process
from tests.support.waiting import until

from verismo.adapters.adapt_file import FILE_NAME, AdaptFile
from verismo.adapters.decisions_sqlite import SqliteDecisions, SqliteSteering
from verismo.adapters.keyring_files import KeyRingFiles
from verismo.attest.controlrecord import check_follows, open_record
from verismo.attest.steeringdoc import open_steering
from verismo.control.rollouts import RULES
from verismo.control.rotation import RingHistory
from verismo.model.apikey import RANDOM_BYTES, key_sha256, new_api_key
from verismo.model.steering import steering_digest
from verismo.ports.admins import AdminKey
from verismo.simulate.server import running_upstream
from verismo.simulate.settings import SimulatorSettings
from verismo.wiring.state import open_state

pytestmark = pytest.mark.slow

WAIT_S_MAX = 30.0
FOLLOWED_S_MAX = 2.0
"""What ADR-031 promises on one machine."""
OPERATION = """\
[operations."support.answer"]
kind = "chat"
purpose = "support"
deployments = ["chat-us", "chat-eu"]
candidates = ["chat-ap"]
"""
SUBJECT = {"operation": "support.answer", "baseline": "chat-us", "candidate": "chat-ap"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Controlled:
    """The control side of a served data folder."""

    def __init__(self, serving, port):
        self.serving = serving
        self.data = serving.config.data
        self.url = f"http://127.0.0.1:{port}"
        key = new_api_key(os.urandom(RANDOM_BYTES), "va")
        with open_state(self.data) as state:
            state.admins.add_admin_key(AdminKey(key.id, "ops", "admin", key_sha256(key), 1))
        self.headers = {"authorization": f"Bearer {key.text}"}

    async def act(self, verb, **fields):
        body = {
            "controller": "canary",
            "verb": verb,
            "subject": SUBJECT,
            "reason": "a test of the loop",
            **fields,
        }
        url = f"{self.url}/v1/acts"
        return await self.serving.client.post(url, json=body, headers=self.headers)

    async def newest(self):
        params = {"rule": list(RULES), **SUBJECT}
        url = f"{self.url}/v1/decisions/newest"
        return await self.serving.client.get(url, params=params, headers=self.headers)

    async def is_up(self):
        try:
            return (await self.newest()).status_code == 200
        except httpx2.HTTPError:
            return False

    def holder(self):
        with closing(AdaptFile(self.data / FILE_NAME, read_only=True)) as file:
            return file.holder(time.time_ns() // 1_000_000)

    def keys(self):
        return RingHistory(KeyRingFiles(self.data)).read()[-1].ring.keys

    def steering(self):
        with closing(AdaptFile(self.data / FILE_NAME, read_only=True)) as file:
            row = SqliteSteering(file).newest()
        return open_steering(row.statement, row.jws, self.keys())

    def records(self):
        """Return the records, each checked and linked to the one before it."""
        with closing(AdaptFile(self.data / FILE_NAME, read_only=True)) as file:
            rows = SqliteDecisions(file).rows(0, 10_000)
        previous, found, keys = None, [], self.keys()
        for row in rows:
            found.append(open_record(row.statement, row.jws, keys))
            check_follows(previous, found[-1])
            previous = row.statement
        return found

    async def is_followed(self):
        answer = await self.serving.chat("Hello")
        return answer.statement.plan == steering_digest(self.steering())


async def test_an_act_is_followed_and_outlives_the_control_process(tmp_path):
    port = free_port()
    setup = Setup(
        edits={"port = 0": f"port = {port}"},
        files={"operations/chat.toml": OPERATION},
    )
    async with (
        running_upstream(SimulatorSettings()) as url,
        serving_process(tmp_path, url, setup) as serving,
    ):
        site = Controlled(serving, port)
        before = (await serving.chat("Hello")).statement.plan
        started = await site.act("start")
        assert started.status_code == 201
        assert started.json()["steering"] == 1
        told_s = time.monotonic()
        await until(site.is_followed, WAIT_S_MAX)
        assert time.monotonic() - told_s < FOLLOWED_S_MAX
        assert (await serving.chat("Hello")).statement.plan != before

        holder = site.holder()
        os.kill(int(holder.split(":")[-2]), signal.SIGKILL)
        # Nobody decides now, and answers go on under what was told last.
        assert await site.is_followed()
        await until(site.is_up, WAIT_S_MAX)

        async def is_taken_over():
            return site.holder() not in ("", holder)

        await until(is_taken_over, WAIT_S_MAX)
        of = (await site.newest()).json()["digest"]
        stopped = await site.act("stop", of=of)
        assert stopped.status_code == 201
        await until(site.is_followed, WAIT_S_MAX)
        assert site.steering().rollouts == ()
        records = site.records()
    kinds = [one.rule for one in records if one.rule in ("canary-act", "steering")]
    assert kinds == ["canary-act", "steering", "canary-act", "steering"]
    audit = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "verismo", "ledger", "audit"),
        *("--config", str(tmp_path / "verismo.toml")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(audit.communicate(), WAIT_S_MAX)
    assert (audit.returncode, "everything fits together" in out.decode()) == (0, True), out
