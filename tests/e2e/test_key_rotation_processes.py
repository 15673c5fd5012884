"""Keys change while `verismo serve` runs: by its control process and by the command line."""

import asyncio
import sys
from pathlib import Path

import pytest
from tests.support.gateway import Setup
from tests.support.process import Serving, serving_process
from tests.support.waiting import until

from verismo.adapters.journal_reader import SqliteJournalReader
from verismo.attest import jws
from verismo.attest.keyentry import KeyEntry, public_key
from verismo.attest.keyring import KeyRing, check_history
from verismo.attest.statement import read_statement
from verismo.model.ids import is_prov_id
from verismo.simulate.record import Record
from verismo.simulate.server import running_upstream
from verismo.simulate.settings import SimulatorSettings
from verismo.wiring.keys import open_rotation

pytestmark = pytest.mark.slow

WORKERS = 2
SWITCH_S_MAX = 45.0
SHORT_LIVES = {
    "# active_s = 2592000": "active_s = 18",
    "# notice_s = 86400": "notice_s = 3",
    "# handover_s = 60": "handover_s = 2",
    "# jwks_max_age_s = 300": "jwks_max_age_s = 1",
}


def ring_of(serving: Serving) -> KeyRing:
    history = open_rotation(serving.config.data, serving.config.keys).history()
    check_history(None, history)
    return history[-1].ring


def signed(serving: Serving, slot: str) -> list[tuple[str, int]]:
    """Return kid and `iat` of every answer of a slot."""
    reader = SqliteJournalReader(serving.config.data)
    try:
        records = reader.scan(slot, 0, 10_000)
    finally:
        reader.close()
    answers = [one for one in records if one.kind == "answer" and is_prov_id(one.prov_id)]
    return [
        (jws.parse(one.jws.decode()).header.kid, read_statement(one.statement).iat)
        for one in answers
    ]


def check_windows(serving: Serving) -> None:
    """No worker ever signed with a key outside of its window, and every record verifies."""
    ring = ring_of(serving)
    entries = {entry.kid: entry for entry in ring.keys}
    serving.public = {kid: public_key(entry) for kid, entry in entries.items()}
    for slot in ("s0", "s1"):
        for kid, iat in signed(serving, slot):
            entry = entries[kid]
            assert entry.not_before_ms <= iat <= entry.window_end_ms
        serving.records(slot)


async def verismo(serving: Serving, *words: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "verismo", *words, "--config", str(serving.config.path)),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def chat_until_all_sign_with(serving: Serving, kid: str) -> None:
    """Ask on fresh connections, which the kernel shares out, until both workers use a key."""

    async def all_do() -> bool:
        answers = await asyncio.gather(*(serving.chat("Hello") for _ in range(16)))
        assert {answer.status for answer in answers} == {200}
        last = [signed(serving, f"s{index}")[-1:] for index in range(WORKERS)]
        return all(one and one[0][0] == kid for one in last)

    await until(all_do, SWITCH_S_MAX)


async def test_all_workers_follow_a_rotation_and_a_revocation_without_a_restart(tmp_path: Path):
    async with (
        running_upstream(SimulatorSettings(), Record()) as url,
        serving_process(tmp_path, url, Setup(), WORKERS) as serving,
    ):
        pids = [serving.worker_pid(f"s{index}") for index in range(WORKERS)]
        await verismo(serving, "keys", "rotate", "--emergency", "--reason", "a test", "--yes")
        second = ring_of(serving).keys[-1]
        await chat_until_all_sign_with(serving, second.kid)
        await verismo(serving, "keys", "revoke", second.kid, "--reason", "it leaked", "--yes")
        third = ring_of(serving).keys[-1]
        assert third.role == "token"
        await chat_until_all_sign_with(serving, third.kid)
        assert [serving.worker_pid(f"s{index}") for index in range(WORKERS)] == pids
        check_windows(serving)


async def test_control_process_rotates_by_itself_and_no_request_is_refused(tmp_path: Path):
    async with (
        running_upstream(SimulatorSettings(), Record()) as url,
        serving_process(tmp_path, url, Setup(edits=SHORT_LIVES), WORKERS) as serving,
    ):

        def tokens() -> list[KeyEntry]:
            return [entry for entry in ring_of(serving).keys if entry.role == "token"]

        async def has_rotated() -> bool:
            assert (await serving.chat("Hello")).status == 200
            return len(tokens()) == 2

        await until(has_rotated, SWITCH_S_MAX)
        await chat_until_all_sign_with(serving, tokens()[1].kid)
        assert tokens()[1].emergency == ""
        check_windows(serving)
