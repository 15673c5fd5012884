"""Runs are kept only where an agent is registered, and forgotten once they are silent."""

from pathlib import Path

import msgspec
from tests.support.gateway import Setup, configure

from verismo.adapters.runs_sqlite import FILE_NAME
from verismo.model.ids import TenantId
from verismo.model.run import BegunRun
from verismo.wiring.runs import KeptRuns

AGENT = '[operations.desk]\nkind = "agent"\npurpose = "support"\n'
TENANT, TRACE, ROOT = TenantId("TENANT_001"), "ab" * 16, "a" * 16


async def test_without_an_agent_there_is_no_store_and_nothing_to_do(tmp_path: Path):
    config = configure(tmp_path, "http://127.0.0.1:9", Setup())
    runs = KeptRuns(config)
    assert runs.store is None
    await runs.prune()
    runs.close()
    assert not (config.data / FILE_NAME).exists()


async def test_a_silent_run_is_forgotten_and_one_of_now_is_not(tmp_path: Path):
    files = {"operations/desk.toml": AGENT}
    config = configure(tmp_path, "http://127.0.0.1:9", Setup(files=files))
    limits = msgspec.structs.replace(config.limits, run_idle_ms_max=60_000)
    runs = KeptRuns(msgspec.structs.replace(config, limits=limits))
    assert runs.store is not None
    runs.store.begin(TENANT, TRACE, BegunRun(ROOT, "", "", 1_000))
    runs.store.begin(TENANT, "cd" * 16, BegunRun(ROOT, "", "", 2**52))
    await runs.prune()
    assert runs.store.standing(TENANT, TRACE, ROOT, "") == "none"
    assert runs.store.standing(TENANT, "cd" * 16, ROOT, "") == "open"
    runs.close()
