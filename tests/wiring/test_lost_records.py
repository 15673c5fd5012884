"""After a restore has lost records: rollups, the archive and the SIEM export go on."""

import json
import shutil
from contextlib import closing

import pytest
from tests.support.archived import DAY_MS, EU, TWO, US, Gateway, at, day

from verismo.adapters.siem_file import CURRENT
from verismo.attest import rollup
from verismo.attest.leaf import LeafType
from verismo.attest.parity import hour_of
from verismo.config.load import load_config
from verismo.control.rollups import Rollups
from verismo.control.siem import ExportDesk, SinkExport
from verismo.control.siemparity import compare_sink
from verismo.model.errors import StateError
from verismo.wiring.backup import back_up, restore
from verismo.wiring.ledgeradoption import adopt_ledger
from verismo.wiring.ledgertools import LedgerTools
from verismo.wiring.rollups import open_desk, open_vaulted, restore_from
from verismo.wiring.siem import SiemParts, open_parity, open_sink

pytestmark = pytest.mark.slow

FIRST, SECOND = day("2026-03-01"), day("2026-03-02")
MORNING = at("2026-03-01 09:00")
NEXT = MORNING + DAY_MS
LATER = MORNING + 2 * DAY_MS
MAIN = """\
data = "var"
issuer = "https://gateway.example"

[policy]
bundle = "policy"

[ledger]
home_region = "eu"

[siem.sinks.disk]
kind = "file"

[tenants.TENANT_001]
region = "eu"
purposes = ["support"]
"""


@pytest.fixture
async def config(tmp_path):
    """A folder restored from a backup of the first day, gone on from the log of the second."""
    root = tmp_path / "gateway"
    (root / "policy").mkdir(parents=True)
    (root / "policy" / "rules.rego").write_text("package verismo\n")
    (root / "verismo.toml").write_text(MAIN)
    config = load_config(root / "verismo.toml", {})
    gateway = Gateway(config.data, MORNING)
    await gateway.serve(3, MORNING)
    gateway.integrate(MORNING + 10_000)
    gateway.close()
    roll_up(config, NEXT)
    back_up(config.data, tmp_path / "backup", with_keys=True)
    gateway = Gateway(config.data, NEXT)
    gateway.seq_n = 3
    await gateway.serve(300, NEXT)
    await gateway.serve(2, NEXT + 500, tenant=TWO, region="us")
    gateway.integrate(NEXT + 10_000)
    gateway.close()
    await export(config)
    shutil.copytree(config.siem.sinks[0].folder, tmp_path / "received")
    shutil.copytree(config.data / "log", tmp_path / "mirror")
    for name in ("archive", "rollups"):
        shutil.copytree(config.data / name, tmp_path / name)
    shutil.rmtree(config.data)
    restore(tmp_path / "backup", config.data)
    for name in ("archive", "rollups"):
        shutil.rmtree(config.data / name, ignore_errors=True)
        shutil.copytree(tmp_path / name, config.data / name)
    adopted = adopt_ledger(config, tmp_path / "mirror", NEXT + 3_600_000).logs
    assert [(one.log, one.lost) for one in adopted] == [(EU, 300), (US, 2)]
    gateway = Gateway(config.data, NEXT + 3_700_000)
    await gateway.serve(2, NEXT + 3_700_000, slot="s7")
    gateway.integrate(NEXT + 3_800_000)
    gateway.close()
    return config


def roll_up(config, now_ms):
    with open_desk(config, now_ms) as desk:
        return Rollups(desk, open_vaulted(config.archive)).step(now_ms)


def told(config, which, log=EU):
    folder = config.data / "rollups" / log.path / which.isoformat()
    return rollup.read_rollup((folder / "rollup.dsse.json").read_bytes()).predicate


async def test_lost_records_are_counted_by_the_rollup_of_their_day(config):
    assert roll_up(config, LATER) == [(EU, SECOND), (US, SECOND)]
    found = told(config, SECOND)
    assert found.previous.day == FIRST.isoformat()
    assert found.leaves == {"answer": 2, "lost": 300}
    assert found.answers == {"allow 2xx": 2}
    assert told(config, SECOND, US).leaves == {"lost": 2}


async def test_archive_of_a_ledger_with_lost_records_is_restored_and_audited(config, tmp_path):
    roll_up(config, LATER)
    target = tmp_path / "restored"
    found = restore_from(open_vaulted(config.archive).archive, target, config.data)
    eu, us = found.logs
    assert (eu.days, eu.records, eu.sealed_files) == (2, told(config, FIRST).size + 2, 0)
    assert (us.days, us.size, us.records) == (1, 2, 0)
    journals = [path.name for path in (target / "journal").iterdir()]
    assert not [name for name in journals if "lost" in name], journals
    config.path.write_text(MAIN.replace('data = "var"', f'data = "{target}"'))
    with closing(LedgerTools(load_config(config.path, {}))) as tools:
        found = {one.kind for one in tools.audit(lambda _: None)}
    assert not found & {"missing", "foreign", "record", "sequence", "tile"}


async def export(config):
    """Send everything that waits to the one sink."""
    with closing(SiemParts(config)) as parts:
        sink = open_sink(config, config.siem.sinks[0])
        one = SinkExport(ExportDesk("disk", sink, parts.leaves, parts.store, lambda: LATER))
        await one.round()
        await sink.aclose()
        assert one.status.is_up


def compared(config, begin_ms, end_ms):
    """Compare the sink with the ledger in whole hours."""
    with closing(SiemParts(config)) as parts:
        desk = open_parity(config, parts, "disk", None)
        return compare_sink(desk, hour_of(begin_ms), hour_of(end_ms))


def events(config):
    lines = [
        json.loads(line)
        for path in sorted(config.siem.sinks[0].folder.iterdir())
        for line in path.read_text().splitlines()
    ]
    return {(one["metadata"]["log_name"][-7:], one["metadata"]["sequence"]): one for one in lines}


async def test_export_tells_of_lost_records_and_goes_on_with_parity(config):
    await export(config)
    found = events(config)
    assert len(found) == told_size(config) + 2
    outcome = compared(config, MORNING, LATER)
    assert outcome.is_whole
    assert (outcome.waiting, outcome.report.expected) == (0, told_size(config))
    lost = [one for one in found.values() if one["metadata"]["event_code"] == "lost"]
    assert len(lost) == 302
    assert {one["status"] for one in lost} == {"Failure"}
    assert {one["unmapped"]["leaf_kind"] for one in lost} == {LeafType.ANSWER}
    assert len({one["unmapped"]["entry"] for one in lost}) == 302
    assert all("raw_data_hash" not in one for one in lost)


def told_size(config):
    roll_up(config, LATER)
    return told(config, SECOND).size


async def test_lost_records_have_the_time_of_what_stands_before_them(config):
    await export(config)
    found = events(config)
    size = told_size(config)
    assert {found["eu/2026", index]["time"] for index in range(size - 302, size - 2)} == {
        found["eu/2026", size - 303]["time"]
    }
    # Nothing stands before those of the other log, whose name has a year.
    assert {found["us/2026", index]["time"] for index in range(2)} == {at("2026-01-01 00:00")}
    outcome = compared(config, at("2026-01-01 00:00"), at("2026-01-01 01:00"))
    assert outcome.is_whole
    assert outcome.report.matched == 2


async def test_sink_that_was_sent_the_lost_records_before_has_parity(config, tmp_path):
    await export(config)
    received = tmp_path / "received"
    shutil.copy(config.siem.sinks[0].folder / CURRENT, received / "events-later.ndjson")
    with closing(SiemParts(config)) as parts:
        desk = open_parity(config, parts, "disk", received)
        outcome = compare_sink(desk, hour_of(MORNING), hour_of(LATER))
    assert outcome.is_whole, outcome.report.foreign[:3]
    assert len(outcome.report.unproven) == 302
    assert outcome.report.expected == told_size(config)


async def test_ledger_tells_which_leaves_are_lost_without_reading_a_record(config):
    with closing(SiemParts(config)) as parts:
        for log in parts.leaves.logs():
            size = parts.leaves.size(log)
            lost = [number for number in range(size) if parts.leaves.is_lost(log, number)]
            read = [one for n in range(size) for one in parts.leaves.read(log, n - 1, 1)]
            assert lost == [one.index for one in read if one.entry] != []
            assert not any(parts.leaves.is_lost(log, number) for number in (-1, size, 10**30))
        assert not parts.leaves.is_lost("elsewhere/log/eu/2026", 0)
        shutil.rmtree(config.data / "log")
        shutil.rmtree(config.data / "journal")
        assert parts.leaves.is_lost("gateway.example/log/us/2026", 0)


async def test_lost_leaf_that_is_not_published_any_more_makes_the_export_wait(config):
    with closing(SiemParts(config)) as parts:
        bundles = config.data / "log" / "us" / "2026" / "tile" / "entries"
        for path in [one for one in bundles.rglob("*") if one.is_file()]:
            path.unlink()
        with pytest.raises(StateError, match="is missing from the published log"):
            parts.leaves.read("gateway.example/log/us/2026", -1, 10)
