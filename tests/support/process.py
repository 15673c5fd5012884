"""`verismo serve` as its users run it: a process of its own with its children."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
from tests.support.answers import Answer, answer_from
from tests.support.gateway import Setup, chat_body, check_sequence, configure, make_keys
from tests.support.waiting import until

from verismo.adapters.journal_reader import SqliteJournalReader
from verismo.attest.keys import PublicKey, read_jwks
from verismo.config.schema import Config
from verismo.gateway.app import JWKS_PATH
from verismo.ports.journal import Record as JournalRecord

START_S_MAX = 30.0


class Serving:
    """A running `verismo serve`."""

    def __init__(self, config: Config, keys: dict[str, str]) -> None:
        self.config = config
        self.keys = keys
        self.url = ""
        self.process: asyncio.subprocess.Process
        self.client: httpx2.AsyncClient
        self.public: dict[str, PublicKey] = {}

    async def chat(self, content: str, *, key: str = "TENANT_001", **members: object) -> Answer:
        """Send one chat.

        Raises:
            httpx2.HTTPError: the connection broke.
        """
        body = chat_body(content, **members)
        headers = {
            "accept-encoding": "identity",
            "authorization": f"Bearer {self.keys[key]}",
            "content-type": "application/json",
        }
        url = f"{self.url}/v1/chat/completions"
        request = self.client.build_request("POST", url, content=body, headers=headers)
        return answer_from(request, await self.client.send(request), body)

    def worker_pid(self, slot: str = "s0") -> int:
        """Return the process that owns a slot."""
        return int((self.config.data / "journal" / f"{slot}.lock").read_text())

    def kill_worker(self, slot: str = "s0") -> int:
        """End a worker as a power cut would; returns its pid."""
        pid = self.worker_pid(slot)
        os.kill(pid, signal.SIGKILL)
        return pid

    def records(self, slot: str = "s0") -> list[JournalRecord]:
        """Return a slot's records, after checking that they prove themselves without a gap."""
        reader = SqliteJournalReader(self.config.data)
        records = list(reader.scan(slot, 0, 10_000))
        reader.close()
        check_sequence(records, self.public)
        return records

    async def connect(self) -> None:
        """Read the key set, once somebody answers."""

        async def is_up() -> bool:
            try:
                answer = await self.client.get(self.url + JWKS_PATH)
            except httpx2.HTTPError:
                return False
            self.public = read_jwks(answer.content)
            return True

        await until(is_up, START_S_MAX)

    async def terminate(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.terminate()
        return await asyncio.wait_for(self.process.wait(), START_S_MAX)


@asynccontextmanager
async def serving_process(
    folder: Path, upstream_url: str, setup: Setup, workers: int = 1
) -> AsyncIterator[Serving]:
    """Run `verismo serve` while the block runs; what it logs goes to `folder/log`."""
    config = configure(folder, upstream_url, setup)
    serving = Serving(config, make_keys(config.data))
    with (folder / "log").open("wb") as log:
        serving.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "verismo", "serve", "--config", str(config.path)),
            *("--port", "0", "--workers", str(workers)),
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env={**os.environ, **setup.environ},
        )
    assert serving.process.stdout is not None
    try:
        async with asyncio.timeout(START_S_MAX):
            line = await serving.process.stdout.readline()
        assert line.startswith(b"base URL: "), (folder / "log").read_text()
        serving.url = line.decode().split()[-1]
        async with httpx2.AsyncClient(timeout=START_S_MAX) as serving.client:
            await serving.connect()
            yield serving
    finally:
        if serving.process.returncode is None:
            await serving.terminate()
