"""Fail closed: what cannot be signed and stored is not served, and the gap stands on the record."""

import asyncio
import json
import logging
import sqlite3
from pathlib import Path

import pytest
from tests.support.gateway import Gateway, Setup, chat_body, running_gateway
from tests.support.waiting import until

from verismo.adapters.journal_file import Batch, commit_batch
from verismo.adapters.logs import JsonFormatter
from verismo.adapters.signer_file import FileSigner
from verismo.ports.signer import SigningFailed
from verismo.simulate.settings import SimulatorSettings

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


class Storage:
    """A commit that fails when it is told to, before or after it has really stored the batch."""

    def __init__(self, *, stored: bool) -> None:
        self.stored = stored
        self.failures = 0
        self.applies = 0

    def __call__(self, connection: sqlite3.Connection, batch: Batch) -> None:
        if not self.failures:
            commit_batch(connection, batch)
            return
        self.failures -= 1
        self.applies += 1
        if self.stored:
            commit_batch(connection, batch)
        raise sqlite3.OperationalError("disk I/O error")


class Signing:
    """Makes signers that refuse while they are told to."""

    def __init__(self) -> None:
        self.refuses = False

    def __call__(self, path: Path, role: str) -> FileSigner:
        told = self

        class Signer(FileSigner):
            def sign(self, message: bytes) -> bytes:
                if told.refuses:
                    raise SigningFailed("the key holder is away")
                return super().sign(message)

        return Signer(path, role)


def check_withheld(answer) -> None:
    """A 503 that says what failed, that nothing was served unsigned, and when to come again."""
    assert answer.status == 503
    assert not answer.is_signed
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["x-request-id"]
    problem = answer.json()
    assert problem["code"] == problem["error"]["code"] == "attestation_unavailable"
    assert "not served" in problem["detail"]
    assert "Nothing was served unsigned" in problem["next_step"]


@pytest.mark.parametrize("stored", [False, True], ids=["not-stored", "but-stored"])
async def test_answer_whose_commit_fails_is_withheld_and_the_next_one_works(tmp_path, stored):
    storage = Storage(stored=stored)
    async with running_gateway(tmp_path, Setup(commit=storage)) as gateway:
        first = await gateway.chat()
        storage.failures = 1
        withheld = await gateway.chat("words of the answer")
        check_withheld(withheld)
        assert b"choices" not in withheld.body
        assert gateway.telemetry.withheld == {"journal": 1}
        second = await gateway.chat()
        assert second.status == 200
        await gateway.proven(second)
        numbers = [first.statement.seq.n, second.statement.seq.n]
        assert numbers == [1, 3]
        kinds = [(record.kind, record.seq_n) for record in gateway.records()]
        middle = ("answer", 2) if stored else ("void", 2)
        assert kinds[:3] == [("answer", 1), middle, ("answer", 3)]
        assert gateway.telemetry.finished[1].status == 503


@pytest.mark.parametrize("stored", [False, True], ids=["not-stored", "but-stored"])
async def test_crowd_whose_commits_fail_leaves_no_silent_gap(tmp_path, stored):
    storage = Storage(stored=stored)
    async with running_gateway(tmp_path, Setup(commit=storage)) as gateway:
        storage.failures = 3
        answers = await asyncio.gather(*(gateway.chat(user=str(n)) for n in range(24)))
        for answer in answers:
            if answer.status == 200:
                await gateway.proven(answer)
            else:
                check_withheld(answer)
        withheld = sum(answer.status == 503 for answer in answers)
        assert withheld >= 1
        assert gateway.telemetry.withheld["journal"] == withheld
        storage.failures = 0
        last = await gateway.chat()
        assert last.statement.seq.n == 25


@pytest.mark.parametrize("stored", [False, True], ids=["not-stored", "but-stored"])
async def test_worker_whose_commit_fails_is_unready_until_one_succeeds_without_a_request(
    tmp_path, stored
):
    storage = Storage(stored=stored)
    async with running_gateway(tmp_path, Setup(commit=storage)) as gateway:
        storage.failures = 2
        check_withheld(await gateway.chat())
        unready = await gateway.send("GET", "/readyz", key=None)
        assert unready.status == 503
        state = unready.json()
        assert state["status"] == "unready"
        [reason] = state["reasons"]
        assert "the newest commit of journal s0 failed: disk I/O error" in reason
        assert "check the disk" in reason

        async def is_ready() -> bool:
            return (await gateway.send("GET", "/readyz", key=None)).status == 200

        await until(is_ready, 10)
        assert storage.applies == 2, "the second failure met a trial, not a request"
        await gateway.proven(await gateway.chat())


async def test_worker_that_starts_on_a_full_disk_is_unready_before_its_first_request(tmp_path):
    storage = Storage(stored=False)
    storage.failures = 1_000
    async with running_gateway(tmp_path, Setup(commit=storage)) as gateway:
        unready = await gateway.send("GET", "/readyz", key=None)
        assert unready.status == 503
        assert "disk I/O error" in unready.json()["reasons"][0]
        storage.failures = 0

        async def is_ready() -> bool:
            return (await gateway.send("GET", "/readyz", key=None)).status == 200

        await until(is_ready)
        assert (await gateway.chat()).statement.seq.n == 1


def withheld_lines(caplog: pytest.LogCaptureFixture) -> list[dict]:
    """Return the lines that say why an answer was withheld, as the log's reader gets them."""
    formatter = JsonFormatter()
    texts = [formatter.format(one) for one in caplog.records if one.message == "answer withheld"]
    return [json.loads(text) for text in texts]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
async def test_log_names_the_cause_of_a_failed_commit_and_nothing_of_the_content(
    tmp_path, caplog, streamed
):
    caplog.set_level(logging.INFO)
    storage = Storage(stored=False)
    async with running_gateway(tmp_path, Setup(commit=storage)) as gateway:
        storage.failures = 1
        check_withheld(await gateway.chat("words-of-the-prompt", stream=streamed))
    [line] = withheld_lines(caplog)
    assert line["level"] == "error"
    assert line["cause"] == "not known to be durable: disk I/O error"
    assert line["error"][0].endswith("IntegrityError")
    assert line["error"][-1] == "sqlite3.OperationalError"
    assert "test_fail_closed.py" in line["stack"][-1], "the place where the commit failed"
    assert (line["operation"], line["withheld"]) == ("support.answer", 1)
    assert line["prov_id"] == gateway.telemetry.finished[0].prov_id
    assert "words-of-the-prompt" not in caplog.text


async def test_log_says_once_a_second_why_a_crowd_is_withheld(tmp_path, caplog):
    storage = Storage(stored=False)
    async with running_gateway(tmp_path, Setup(commit=storage)) as gateway:
        storage.failures = 1_000
        began = asyncio.get_running_loop().time()
        for _ in range(3):
            answers = await asyncio.gather(*(gateway.chat(user=str(n)) for n in range(8)))
            assert {answer.status for answer in answers} == {503}
        seconds = asyncio.get_running_loop().time() - began
        storage.failures = 0
        lines = withheld_lines(caplog)
        assert 1 <= len(lines) <= 1 + seconds
        assert sum(line["withheld"] for line in lines) <= 24


async def test_log_names_a_signer_that_refuses_and_the_stream_that_it_cuts(tmp_path, caplog):
    signing = Signing()
    setup = Setup(signer=signing, simulator=SimulatorSettings(keep_requests=1))
    async with running_gateway(tmp_path, setup) as gateway:
        streaming = asyncio.create_task(cut_stream(gateway))
        await until(lambda: gateway.upstream.in_flight == 1 and storage_saw_opening(gateway))
        signing.refuses = True
        assert b"[DONE]" not in await streaming
        await until(lambda: gateway.telemetry.now_in_flight == 0)
        signing.refuses = False
    [line] = withheld_lines(caplog)
    assert line["cause"] == "the key holder is away"
    assert line["prov_id"] == gateway.telemetry.finished[-1].prov_id


@pytest.mark.parametrize("path", ["/v1/models", "/graphql"])
async def test_refusals_and_lists_are_withheld_too(tmp_path, path: str):
    storage = Storage(stored=False)
    async with running_gateway(tmp_path, Setup(commit=storage)) as gateway:
        storage.failures = 1
        if path == "/graphql":
            answer = await gateway.send("POST", path, b'{"documentId":"x"}')
            assert answer.json()["errors"][0]["extensions"]["code"] == "ATTESTATION_UNAVAILABLE"
        else:
            answer = await gateway.send("GET", path)
            check_withheld(answer)
        assert answer.status == 503
        assert gateway.telemetry.finished[0].status == 503


async def test_signer_that_refuses_withholds_and_is_counted(tmp_path):
    signing = Signing()
    async with running_gateway(tmp_path, Setup(signer=signing)) as gateway:
        signing.refuses = True
        for streamed in (False, True):
            check_withheld(await gateway.chat(stream=streamed))
        assert gateway.telemetry.withheld == {"seal": 2}
        assert gateway.records() == []
        assert gateway.budgets[0].reserved("TENANT_001") == 0
        await until(lambda: gateway.upstream.in_flight == 0)
        signing.refuses = False
        answer = await gateway.chat()
        assert answer.statement.seq.n == 1, "a number is given at signing"
        await gateway.proven(answer)


async def test_gap_that_cannot_be_signed_keeps_everything_withheld_until_it_can(tmp_path):
    """First the disk fails, then the key holder: the void of the gap cannot be made."""
    storage, signing = Storage(stored=False), Signing()
    setup = Setup(commit=storage, signer=signing)
    async with running_gateway(tmp_path, setup) as gateway:
        storage.failures = 1
        check_withheld(await gateway.chat())
        slow = asyncio.create_task(gateway.chat("[simulate: slow=50]"))
        await until(lambda: gateway.upstream.in_flight == 1)
        signing.refuses = True
        check_withheld(await slow)
        signing.refuses = False
        answer = await gateway.chat()
        await gateway.proven(answer)
        assert [record.kind for record in gateway.records()][:2] == ["void", "answer"]


@pytest.mark.parametrize("stored", [False, True], ids=["not-stored", "but-stored"])
async def test_stream_whose_opening_fails_is_a_503_and_the_provider_is_let_go(tmp_path, stored):
    storage = Storage(stored=stored)
    async with running_gateway(tmp_path, Setup(commit=storage)) as gateway:
        storage.failures = 1
        withheld = await gateway.chat("[simulate: stall=2]", stream=True)
        check_withheld(withheld)
        assert gateway.telemetry.withheld == {"open_stream": 1}
        await until(lambda: gateway.upstream.in_flight == 0)
        assert gateway.budgets[0].reserved("TENANT_001") == 0
        await gateway.proven(await gateway.chat(stream=True))
    async with running_gateway(tmp_path) as gateway:
        records = gateway.records()
        if stored:
            ends = [json.loads(r.graph)["nodes"][-1]["attrs"].get("end") for r in records]
            assert "gateway_lost" in ends, "an opening on disk gets its terminal record"


async def cut_stream(gateway: Gateway, order: str = "tokens=40, interval=5") -> bytes:
    """Send a chat as a stream on a raw socket and return everything up to the end."""
    body = chat_body(f"[simulate: {order}]", stream=True)
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        f"authorization: Bearer {gateway.keys['TENANT_001']}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return await gateway.raw(head.encode() + body)


@pytest.mark.parametrize("fault", ["not-stored", "but-stored", "signer"])
async def test_stream_whose_end_fails_is_cut_without_final_statement_and_done(tmp_path, fault):
    storage, signing = Storage(stored=fault == "but-stored"), Signing()
    setup = Setup(commit=storage, signer=signing, simulator=SimulatorSettings(keep_requests=1))
    async with running_gateway(tmp_path, setup) as gateway:
        streaming = asyncio.create_task(cut_stream(gateway))
        await until(lambda: gateway.upstream.in_flight == 1 and storage_saw_opening(gateway))
        if fault == "signer":
            signing.refuses = True
        else:
            storage.failures = 1
        seen = await streaming
        assert b"HTTP/1.1 200 " in seen
        assert b"chat.completion.chunk" in seen
        assert b"[DONE]" not in seen
        assert not seen.endswith(b"0\r\n\r\n"), "the end of the body is not spoken"
        await until(lambda: gateway.telemetry.now_in_flight == 0)
        signing.refuses = False
        assert gateway.telemetry.finished[-1].code == "attestation_unavailable"
        assert gateway.telemetry.withheld["seal" if fault == "signer" else "journal"] >= 1
        await gateway.proven(await gateway.chat())
    async with running_gateway(tmp_path) as gateway:
        terminal = [r for r in gateway.records() if b'"mode":"sse"' in r.statement]
        assert len(terminal) == 1, "the restart closes what was left open, once"


async def test_stream_whose_second_head_fails_is_cut_after_its_first(tmp_path):
    gate, signing, loop = asyncio.Event(), Signing(), asyncio.get_running_loop()
    commits: list[Batch] = []

    def held(connection: sqlite3.Connection, batch: Batch) -> None:
        if not batch.is_trial:
            commits.append(batch)
            asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(10)
        commit_batch(connection, batch)

    setup = Setup(commit=held, signer=signing)
    async with running_gateway(tmp_path, setup) as gateway:
        streaming = asyncio.create_task(cut_stream(gateway, "tokens=60, stall=40"))
        await until(lambda: len(commits) == 1)
        signing.refuses = True
        gate.set()
        seen = await streaming
        assert b"HTTP/1.1 200 " in seen
        assert seen.count(b": attest ") == 1
        assert not seen.endswith(b"0\r\n\r\n"), "the end of the body is not spoken"
        await until(lambda: gateway.telemetry.now_in_flight == 0)
        await until(lambda: gateway.upstream.in_flight == 0)
        assert gateway.telemetry.finished[-1].code == "attestation_unavailable"
        signing.refuses = False
        await gateway.proven(await gateway.chat())
    async with running_gateway(tmp_path) as gateway:
        terminal = [r for r in gateway.records() if b'"mode":"sse"' in r.statement]
        assert len(terminal) == 1, "the restart closes what was left open, once"


def storage_saw_opening(gateway: Gateway) -> bool:
    """Say whether the stream's opening is in the journal's file."""
    path = gateway.config.data / "journal" / "s0.db"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        return bool(connection.execute("SELECT COUNT(*) FROM stream").fetchone()[0])


async def test_nothing_of_an_answer_leaves_before_its_record_is_durable(tmp_path):
    """The commit is held back; as long as it is, the client must not have a byte."""
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()

    def held(connection: sqlite3.Connection, batch: Batch) -> None:
        if not batch.is_trial:
            asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(10)
        commit_batch(connection, batch)

    async with running_gateway(tmp_path, Setup(commit=held)) as gateway:
        asked = asyncio.create_task(gateway.chat())
        await until(lambda: gateway.upstream.answers == 1)
        done, _ = await asyncio.wait({asked}, timeout=0.1)
        assert not done
        gate.set()
        assert (await asked).status == 200
