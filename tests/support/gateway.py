"""The real gateway in the test's event loop: its own composition, on a socket, before a simulator.

Only the provider is simulated. When the block ends, everything that must hold for any run is
checked: each identified request left one terminal record, every record verifies, the sequence has
no silent gap, and nothing is left in flight or reserved.
"""

import asyncio
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import msgspec
from tests.support.answers import Answer, answer_from, proof_problems
from tests.support.telemetry import KeptTelemetry
from tests.support.waiting import until

from verismo.adapters.budget_leased import LeasedBudget
from verismo.adapters.journal_file import Commit, commit_batch
from verismo.adapters.journal_reader import SqliteJournalReader
from verismo.adapters.journal_sqlite import SqliteJournal
from verismo.adapters.signer_file import FileSigner
from verismo.attest.keys import PublicKey, read_jwks
from verismo.config.load import load_config
from verismo.config.scaffold import recipe_for, scaffold
from verismo.config.schema import Config
from verismo.gateway.app import JWKS_PATH
from verismo.model.apikey import RANDOM_BYTES, key_sha256, new_api_key
from verismo.model.ids import KeyId, TenantId
from verismo.model.tenant import ApiKey
from verismo.ports.journal import Record as JournalRecord
from verismo.simulate.record import Record
from verismo.simulate.server import running_upstream
from verismo.simulate.settings import SimulatorSettings
from verismo.wiring.firststart import prepare_data
from verismo.wiring.state import open_directory
from verismo.wiring.worker import Parts, Worker

CHAT = "support.answer"
TENANTS = ("TENANT_001", "TENANT_002", "TENANT_003")
SETTLE_S_MAX = 30.0


class Setup(msgspec.Struct, frozen=True):
    """How a gateway for a test departs from the samples of `verismo init`.

    Args:
        edits: texts of verismo.toml and what stands in their place.
        more: text at the end of verismo.toml.
        files: further files of the configuration folder, by relative path.
        environ: environment variables, such as a provider's credential.
        simulator: of the upstream.
        commit: the journal's storage step.
        signer: made from the key's file and role.
        checked: whether the invariants are checked at the end.
    """

    edits: dict[str, str] = {}
    more: str = ""
    files: dict[str, str] = {}
    environ: dict[str, str] = {}
    simulator: SimulatorSettings = SimulatorSettings(keep_requests=50)
    commit: Commit = commit_batch
    signer: Callable[[Path, str], FileSigner] = FileSigner
    checked: bool = True


class Gateway:
    """A running gateway and what a test may look at."""

    def __init__(self, config: Config, keys: dict[str, str], upstream: Record) -> None:
        self.config = config
        self.keys = keys
        self.upstream = upstream
        self.telemetry = KeptTelemetry()
        self.reader = SqliteJournalReader(config.data)
        self.budgets: list[LeasedBudget] = []
        self.journals: list[SqliteJournal] = []
        self.worker: Worker
        self.url = ""
        self.port = 0
        self.public: dict[str, PublicKey] = {}
        self.client: httpx2.AsyncClient

    async def send(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        key: str | None = "TENANT_001",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request; `key` is a tenant's name, `auditor`, a whole key, or None."""
        sent = {"accept-encoding": "identity", **(headers or {})}
        if body and "content-type" not in sent:
            sent["content-type"] = "application/json"
        if key is not None:
            sent["authorization"] = f"Bearer {self.keys.get(key, key)}"
        request = self.client.build_request(method, self.url + path, content=body, headers=sent)
        response = await self.client.send(request)
        return answer_from(request, response, body)

    async def chat(
        self, content: object = "Hello", *, key: str | None = "TENANT_001", **members: object
    ) -> Answer:
        """Send a chat of one user message with a fresh nonce."""
        nonce = os.urandom(16).hex()
        body = chat_body(content, **members)
        return await self.send(
            "POST", "/v1/chat/completions", body, key=key, headers={"attest-nonce": nonce}
        )

    async def proven(self, answer: Answer, key: str = "TENANT_001", verdict: str = "VERIFIED"):
        """Verify an answer with its graph and return its report; it must have the verdict."""
        graph = None
        if answer.prov_id and answer.status != 401:
            read = await self.send("GET", f"/v1/prov/{answer.prov_id}", key=key)
            assert read.status == 200, read.body
            graph = bytes(msgspec.json.decode(read.body, type=dict[str, msgspec.Raw])["graph"])
        report = answer.report(self.public, graph)
        found = [check for check in report.checks if check.outcome == "fail"]
        assert report.verdict == verdict, (report.verdict, found)
        return report

    def records(self, slot: str = "s0") -> list[JournalRecord]:
        """Return everything that the journal of a slot holds."""
        return list(self.reader.scan(slot, 0, 10_000))

    def count(self) -> int:
        """Return the highest number of the journal: how much has been answered so far."""
        return self.journals[-1].last_seq()

    def record_of(self, answer: Answer) -> JournalRecord:
        """Return the one record of an answer."""
        found = [one for one in self.records() if one.prov_id == answer.prov_id]
        assert len(found) == 1
        return found[0]

    def hops(self, answer: Answer) -> list[dict]:
        """Return the nodes of an answer's graph as the journal has them."""
        return json.loads(self.record_of(answer).graph)["nodes"]

    def tries(self, answer: Answer) -> list[dict]:
        """Return the facts of each try at a deployment that an answer's graph shows."""
        hops = self.hops(answer)
        return [hop["attrs"] for hop in hops if hop["kind"] in ("model", "tool")]

    def add_key(self, tenant: str, **fields: object) -> tuple[KeyId, str]:
        """Store a new API key while the gateway runs; returns its id and text."""
        directory = open_directory(self.config.data)
        return _add_key(directory, tenant, **fields)

    async def raw(self, data: bytes, *, eof: bool = False) -> bytes:
        """Send octets on a connection of their own and return all that comes until it closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            if eof:
                writer.write_eof()
            return await asyncio.wait_for(reader.read(), SETTLE_S_MAX)
        finally:
            writer.close()

    async def check(self) -> None:
        """Check what must hold for any run, once everything has settled."""
        await until(lambda: self.telemetry.now_in_flight == 0)
        records = self.records()
        check_sequence(records, self.public)
        for tenant in TENANTS:
            held = [budget.reserved(TenantId(tenant)) for budget in self.budgets]
            assert not any(held), "a reservation is left over"


@asynccontextmanager
async def running_gateway(folder: Path, setup: Setup | None = None) -> AsyncIterator[Gateway]:
    """Run a gateway while the block runs.

    Args:
        folder: for its configuration and data; a second run in the same folder is a restart.
        setup: how it departs from the samples.
    """
    setup = setup or Setup()
    record = Record(setup.simulator.keep_requests)
    async with running_upstream(setup.simulator, record) as upstream_url:
        config = configure(folder, upstream_url, setup)
        prepare_data(config.data, config.keys)
        gateway = Gateway(config, make_keys(config.data), record)
        async with serving(gateway, setup):
            yield gateway
            if setup.checked:
                await gateway.check()


@asynccontextmanager
async def serving(gateway: Gateway, setup: Setup) -> AsyncIterator[None]:
    """Run the worker of a gateway that is set up."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    gateway.port = listener.getsockname()[1]
    gateway.url = f"http://127.0.0.1:{gateway.port}"
    worker = gateway.worker = Worker(gateway.config, 0, _parts(gateway, setup))
    started = asyncio.Event()
    running = asyncio.create_task(worker.run(listener, started.set))
    try:
        await _first(started, running)
        async with httpx2.AsyncClient(timeout=30) as client:
            gateway.client = client
            jwks = await gateway.send("GET", JWKS_PATH, key=None)
            gateway.public = read_jwks(jwks.body)
            yield
    finally:
        worker.server.stop()
        await asyncio.wait_for(running, 20)
        gateway.reader.close()


def configure(folder: Path, upstream_url: str, setup: Setup) -> Config:
    """Write the configuration folder, or set the upstream's port in the one that is there."""
    path = folder / "verismo.toml"
    samples = {name: data.decode() for name, data in scaffold(recipe_for("simulator")).items()}
    for name, content in {**samples, **setup.files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    # A free control port: several of these may run at once.
    text = path.read_text().replace("# port = 8081", "port = 0")
    for old, new in setup.edits.items():
        assert old in text, f"{old!r} is not in verismo.toml"
        text = text.replace(old, new)
    path.write_text((text + setup.more).replace("http://127.0.0.1:9090", upstream_url))
    return load_config(path, setup.environ)


def make_keys(data: Path) -> dict[str, str]:
    """Make an API key for each sample tenant, and an auditor's."""
    directory = open_directory(data)
    keys = {tenant: _add_key(directory, tenant)[1] for tenant in TENANTS}
    keys["auditor"] = _add_key(directory, "TENANT_002", role="auditor")[1]
    return keys


def chat_body(content: object = "Hello", **members: object) -> bytes:
    """Return the body of a chat of one user message; `model` is the sample operation."""
    body = {"model": CHAT, "messages": [{"role": "user", "content": content}], **members}
    return json.dumps(body).encode()


def check_sequence(records: list[JournalRecord], public: Mapping[str, PublicKey]) -> None:
    """Every number is there once, as an answer or within a signed gap, and all of it verifies."""
    last = 0
    for record in records:
        if record.kind == "void":
            void = json.loads(record.statement)
            assert (void["first"], void["last"]) == (last + 1, record.seq_n)
        else:
            assert record.seq_n == last + 1, "a silent gap"
        assert not proof_problems(record, public)
        last = record.seq_n
    assert len({record.prov_id for record in records}) == len(records)


def _parts(gateway: Gateway, setup: Setup) -> Parts:
    def budget(*arguments) -> LeasedBudget:
        gateway.budgets.append(LeasedBudget(*arguments))
        return gateway.budgets[-1]

    def journal(data, slot, sign_void) -> SqliteJournal:
        gateway.journals.append(SqliteJournal(data, slot, sign_void, commit=setup.commit))
        return gateway.journals[-1]

    return Parts(
        signer=setup.signer, journal=journal, budget=budget, telemetry=lambda *_: gateway.telemetry
    )


async def _first(started: asyncio.Event, running: asyncio.Task[None]) -> None:
    waiting = asyncio.create_task(started.wait())
    await asyncio.wait({waiting, running}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if running.done():
        running.result()


def _add_key(directory, tenant: str, **fields: object) -> tuple[KeyId, str]:
    text = new_api_key(os.urandom(RANDOM_BYTES), "vk")
    key = ApiKey(
        id=text.id,
        tenant=TenantId(tenant),
        secret_sha256=key_sha256(text),
        created_ms=time.time_ns() // 1_000_000,
    )
    directory.add_api_key(msgspec.structs.replace(key, **fields))
    return text.id, text.text
