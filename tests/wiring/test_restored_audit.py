"""What a real gateway has answered and archived is restored so that the whole audit passes."""

import time

import msgspec
import pytest
from tests.support.archived import DAY_MS
from tests.support.gateway import running_gateway

from verismo.adapters.archive_folder import FolderArchive
from verismo.wiring.ledger import LedgerLoop
from verismo.wiring.ledgertools import LedgerTools
from verismo.wiring.rollups import RollupLoop, restore_from

pytestmark = pytest.mark.slow


async def test_restored_ledger_passes_the_audit_of_everything(tmp_path, monkeypatch):
    async with running_gateway(tmp_path) as gateway:
        config = gateway.config
        for number in range(3):
            await gateway.chat(f"question {number}")
        ledger = LedgerLoop(config)
        await ledger.round()
        await ledger.close()
    tomorrow_ms = time.time_ns() // 1_000_000 + DAY_MS + 600_000
    monkeypatch.setattr("verismo.wiring.rollups.clock_ms", lambda: tomorrow_ms)
    rollups = RollupLoop(config)
    await rollups.round()
    assert "verismo_archive_failures_total{} 0" in "".join(await rollups.expose())
    await rollups.close()
    restored = tmp_path / "restored"
    found = restore_from(FolderArchive(config.archive.folder), restored, config.data)
    assert sum(one.records for one in found.logs) >= 3
    tools = LedgerTools(msgspec.structs.replace(config, data=restored))
    assert list(tools.audit(lambda _: None)) == []
    tools.close()
