"""The loop of the control process: it rolls up, uploads, says what waits, and survives failures."""

import logging
import shutil

import pytest
from click.testing import CliRunner
from tests.support.archived import DAY_MS, EU, US, Gateway, at, day

from verismo.adapters.archive_folder import FolderArchive
from verismo.adapters.contradictions_file import ContradictionsFile
from verismo.adapters.restoration import LEDGER_MARKER
from verismo.cli.main import cli
from verismo.config.load import load_config
from verismo.control import dayfiles
from verismo.model.ids import TenantId
from verismo.ports.ledger import LedgerForked
from verismo.ports.witness import Contradictions
from verismo.wiring.backup import back_up
from verismo.wiring.rollups import RollupLoop, restore_from, siem_report
from verismo.wiring.vault import make_data_keys, record_erasure

pytestmark = pytest.mark.slow
MORNING = at("2026-11-01 09:00")
"""Weeks before or after today's clock: the days in between are rolled up too."""
MAIN = """\
data = "var"
issuer = "https://gateway.example"
[policy]
bundle = "policy"
[archive]
folder = "kept"
[tenants.TENANT_001]
region = "eu"
purposes = ["support"]
"""


@pytest.fixture
async def config(tmp_path, monkeypatch):
    gateway = Gateway(tmp_path / "var", MORNING)
    await gateway.serve(3, MORNING)
    await gateway.serve(2, MORNING + 10, region="us")
    gateway.integrate(MORNING + 10_000)
    gateway.close()
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "rules.rego").write_text("package verismo\n")
    (tmp_path / "verismo.toml").write_text(MAIN)
    # Two days later, at noon: the clock of the process is the one thing that a test must set.
    monkeypatch.setattr("verismo.wiring.rollups.clock_ms", lambda: MORNING + 2 * DAY_MS)
    return load_config(tmp_path / "verismo.toml")


async def told(loop) -> str:
    return "".join(await loop.expose())


async def test_round_rolls_up_and_uploads_every_day_that_is_over(config):
    loop = RollupLoop(config)
    await loop.round()
    archive = FolderArchive(config.root / "kept")
    days = {dayfiles.read_place(name).day for name in archive.names(dayfiles.ROOT)}
    assert days == {day("2026-11-01"), day("2026-11-02")}
    logs = {dayfiles.read_place(name).log for name in archive.names(dayfiles.ROOT)}
    assert logs == {EU, US}
    assert 'verismo_archive_waiting_days{region="eu",year="2026"} 0' in await told(loop)
    await loop.close()


async def test_failure_is_logged_once_counted_and_made_good_by_a_later_round(config, caplog):
    loop = RollupLoop(config)
    (config.root / "kept").write_bytes(b"a file where the archive should be")
    with caplog.at_level(logging.ERROR, "verismo.rollups"):
        await loop.round()
        await loop.round()
    [record] = caplog.records
    assert "cannot be used" in record.fields["error"]
    assert "repeat the command" in record.fields["next"]
    text = await told(loop)
    assert "verismo_archive_failures_total{} 2" in text
    assert 'verismo_archive_waiting_days{region="eu",year="2026"} 2' in text
    (config.root / "kept").unlink()
    await loop.round()
    text = await told(loop)
    assert 'verismo_archive_waiting_days{region="eu",year="2026"} 0' in text
    assert 'verismo_archive_waiting_days{region="us",year="2026"} 0' in text
    await loop.close()


@pytest.mark.parametrize("stopped_by", ["a quorum", "a restore"])
async def test_ledger_that_is_stopped_is_neither_rolled_up_nor_uploaded(config, caplog, stopped_by):
    marker = config.data / LEDGER_MARKER
    if stopped_by == "a quorum":
        ContradictionsFile(config.data).keep(Contradictions(stops=True))
    else:
        marker.touch()
    loop = RollupLoop(config)
    with caplog.at_level(logging.ERROR, "verismo.rollups"):
        await loop.round()
    [record] = caplog.records
    assert ("restored" if marker.exists() else "quorum of witnesses") in record.fields["error"]
    assert not (config.root / "kept").exists()
    assert not (config.data / "rollups").exists()
    for command in (["rollup", "--day", "2026-11-01"], ["archive"]):
        outcome = CliRunner().invoke(cli, ["ledger", *command, "-c", str(config.path)])
        assert isinstance(outcome.exception, LedgerForked)
    assert not (config.data / "rollups").exists()
    ContradictionsFile(config.data).keep(Contradictions())
    marker.unlink(missing_ok=True)
    await loop.round()
    assert (config.data / "rollups").exists()
    await loop.close()


async def test_ledger_that_has_not_begun_is_left_alone(tmp_path, config):
    (tmp_path / "var" / "ledger.db").unlink()
    loop = RollupLoop(config)
    await loop.round()
    assert not (tmp_path / "var" / "ledger.db").exists()
    assert not (config.root / "kept").exists()
    await loop.close()


async def test_backup_of_the_first_hour_opens_what_is_archived_of_that_day(
    config, tmp_path, monkeypatch, caplog
):
    """Its keys are there before the first rollup; a key of that night would not be in it."""
    monkeypatch.setattr("verismo.wiring.rollups.clock_ms", lambda: MORNING + 60_000)
    shutil.rmtree(config.data / "keys" / "tenants", ignore_errors=True)
    loop = RollupLoop(config)
    await loop.round()
    back_up(config.data, tmp_path / "copy", with_keys=True)
    monkeypatch.setattr("verismo.wiring.rollups.clock_ms", lambda: MORNING + 2 * DAY_MS)
    await loop.round()
    await loop.close()
    keys = tmp_path / "copy" / "keys" / "tenants"
    assert {path.name for path in keys.iterdir()} >= {"TENANT_001.key", "~gateway.key"}
    restored = restore_from(FolderArchive(config.root / "kept"), tmp_path / "restored", keys)
    assert [one.sealed_files for one in restored.logs] == [0, 0], "each file opened"


async def test_no_data_key_is_made_for_a_tenant_that_was_erased(config):
    key = config.data / "keys" / "tenants" / "TENANT_001.key"
    key.unlink(missing_ok=True)
    record_erasure(config.data, TenantId("TENANT_001"), MORNING)
    assert TenantId("TENANT_001") not in make_data_keys(config)
    assert not key.exists()


async def test_loop_that_is_closed_begins_nothing(config):
    loop = RollupLoop(config)
    await loop.close()
    with pytest.raises(RuntimeError):
        await loop.round()


async def test_nothing_is_said_of_an_export_that_there_is_not(config):
    assert siem_report(config, "gateway.example/log/eu/2026", day("2026-11-01")) is None
