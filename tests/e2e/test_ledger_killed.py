"""`kill -9` of the control process, again and again under load: nothing acknowledged is missing."""

import asyncio
import contextlib
import json
import os
import signal
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.gateway import Setup
from tests.support.process import serving_process
from tests.support.waiting import until

from verismo.attest.leaf import LeafType, leaf_entry
from verismo.attest.tlogproof import read_proof, verify_proof
from verismo.model.errors import ProofPending, StateError
from verismo.model.ledger import LogId, year_of
from verismo.simulate.record import Record
from verismo.simulate.server import running_upstream
from verismo.simulate.settings import SimulatorSettings
from verismo.wiring.ledgertools import LedgerTools

pytestmark = pytest.mark.slow
KILLS = 3
"""The supervisor waits twice as long after each."""
PACE_S = 0.02
HURRIED = "[ledger]\ntile_interval_ms = 10\ncheckpoint_interval_ms = 10"
"""More steps, so that more of them are hit."""


def control_pid(parent):
    """Return the process id of the control process, 0 while there is none."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            status = (entry / "status").read_text()
            command = (entry / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if f"PPid:\t{parent}\n" in status and b"control-process" in command:
            return int(entry.name)
    return 0


def sizes(tools):
    try:
        return [one.published_size or 0 for one in tools.status(0).logs]
    except StateError:
        return []


async def test_a_control_process_killed_again_and_again_loses_no_acknowledged_answer(tmp_path):
    answers = []
    async with (
        running_upstream(SimulatorSettings(), Record(10)) as upstream,
        serving_process(tmp_path, upstream, Setup(edits={"[ledger]": HURRIED})) as serving,
    ):
        ends = asyncio.Event()

        async def ask():
            while not ends.is_set():
                answers.append(await serving.chat("hello"))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ends.wait(), PACE_S)

        asking = [asyncio.create_task(ask()) for _ in range(2)]
        tools = LedgerTools(serving.config)
        for _ in range(KILLS):
            # Once it has published something new it is in the middle of its work.
            before = sum(sizes(tools))
            await until(lambda before=before: sum(sizes(tools)) > before, 20.0)
            os.kill(control_pid(serving.process.pid), signal.SIGKILL)
        ends.set()
        await asyncio.gather(*asking)
        tools.close()

        with closing(LedgerTools(serving.config)) as after:

            async def all_proven():
                try:
                    after.proof(answers[-1].prov_id)
                except ProofPending:
                    return False
                return after.status(0).delay_ms == 0

            await until(all_proven, 30.0)
            check(serving, after, answers)


def check(serving, tools, answers):
    """Every answer that a client has got has a proof that verifies, and the audit is clean."""
    assert len(answers) > 50
    records = {record.prov_id: record for record in serving.records()}
    for answer in answers:
        record = records[answer.prov_id]
        log = LogId("us", year_of(json.loads(record.statement)["iat"]))
        entry = leaf_entry(LeafType.ANSWER, record.statement, record.jws)
        verify_proof(read_proof(tools.proof(answer.prov_id)), entry, tools.log_key(log))
    assert list(tools.audit(lambda _: None)) == []
