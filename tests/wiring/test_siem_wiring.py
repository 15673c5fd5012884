"""The composition of the SIEM export: each kind of sink, its read-back, metrics, and bad days."""

import asyncio
from contextlib import closing

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tests.support.archived import Gateway, at
from tests.support.waiting import until

from verismo.adapters.secret_file import make_secret
from verismo.adapters.siem_file import FileSink, FileSinkReader
from verismo.adapters.siem_http import HttpSink, HttpSinkReader
from verismo.adapters.siem_sqlite import FILE_NAME, SqliteSiemStore
from verismo.adapters.siem_syslog import SyslogSink
from verismo.attest.rollup import SiemCounters
from verismo.config.load import load_config
from verismo.control.siem import event_list, siem_counters
from verismo.model.decision import Subject
from verismo.wiring.handles import handle_secret_file
from verismo.wiring.rounds import Rounds
from verismo.wiring.siem import (
    SiemLoop,
    SiemParts,
    open_sink,
    open_sink_reader,
)

NOON = at("2026-11-20 12:00")
CONFIG = """\
issuer = "https://gateway.example:8443/base"
[tenants]
[siem]
interval_ms = 10
"""
DISK = '[siem.sinks.disk]\nkind = "file"\n'
SOC = '[siem.sinks.soc]\nkind = "syslog"\naddress = "127.0.0.1:9"\n'
WEB = '[siem.sinks.web]\nkind = "http"\nurl = "http://127.0.0.1:9/"\ntoken_env = "T"\n'


@pytest.fixture
def configured(tmp_path):
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "main.rego").write_text("package verismo\n")

    def load(text):
        (tmp_path / "verismo.toml").write_text(CONFIG + text)
        return load_config(tmp_path / "verismo.toml", {"T": "secret-token"})

    return load


@pytest.fixture
async def loop_of():
    """Run the export of a configuration until the test ends."""
    failures, opened = [], []
    rounds = Rounds(lambda: failures.append("stopped"))

    def begin(config):
        opened.append(SiemLoop(config))
        opened[-1].begin(rounds)
        return opened[-1]

    yield begin
    rounds.end()
    for one in opened:
        await one.close()
    rounds.check()
    assert failures == []


async def figures(loop):
    text = "".join([*await loop.expose(), "# EOF\n"])
    return {
        (sample.name, sample.labels["sink"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_each_kind_of_sink_has_its_adapter_and_its_way_back(configured):
    config = configured(
        DISK + SOC + 'received_file = "r.log"\n' + WEB + 'query_url = "http://127.0.0.1:9/q"\n'
    )
    disk, soc, web = config.siem.sinks
    kinds = [type(open_sink(config, sink)) for sink in (disk, soc, web)]
    assert kinds == [FileSink, SyslogSink, HttpSink]
    readers = [type(open_sink_reader(sink)) for sink in (disk, soc, web)]
    assert readers == [FileSinkReader, FileSinkReader, HttpSinkReader]


def test_sinks_that_cannot_be_read_back_have_no_reader(configured):
    config = configured(SOC + WEB)
    assert [open_sink_reader(sink) for sink in config.siem.sinks] == [None, None]


def test_syslog_is_sent_in_the_name_of_the_issuers_host(configured):
    config = configured(SOC)
    assert open_sink(config, config.siem.sinks[0])._settings.hostname == "gateway.example"


def test_token_reaches_the_adapter_and_no_text(configured):
    config = configured(WEB)
    settings = open_sink(config, config.siem.sinks[0])._settings
    assert settings.token == "secret-token"
    assert "secret-token" not in repr(settings)


@pytest.mark.slow
async def test_export_shows_how_it_stands_and_counts_for_the_rollup(configured, loop_of, tmp_path):
    gateway = Gateway(tmp_path / "var", at("2026-11-20 00:00"))
    await gateway.serve(9, NOON)
    gateway.integrate(NOON + 1_000)
    gateway.store.close()
    gateway.reader.close()
    config = configured(DISK + SOC)
    loop = loop_of(config)

    async def is_sent():
        found = await figures(loop)
        # The cursor moves before the batch is counted.
        sent = found["verismo_siem_events_total", "disk"] > 0
        return sent and found.get(("verismo_siem_waiting", "disk")) == 0

    await until(is_sent, 20)

    async def is_down():
        return (await figures(loop))["verismo_siem_up", "soc"] == 0

    await until(is_down, 20)
    found = await figures(loop)
    size = found["verismo_siem_events_total", "disk"]
    assert size > 9
    assert found["verismo_siem_waiting", "soc"] == size
    assert found["verismo_siem_lag_seconds", "soc"] > 0
    assert found["verismo_siem_lag_seconds", "disk"] == 0
    assert found["verismo_siem_dead_letters", "disk"] == 0
    assert ("verismo_siem_parity_checked_seconds", "disk") in found
    assert ("verismo_siem_parity_checked_seconds", "soc") not in found
    store = SqliteSiemStore(config.data / FILE_NAME)
    [disk] = siem_counters(store, "gateway.example:8443/base/log/eu/2026")
    assert disk == SiemCounters("disk", int(size), 0, int(size))
    store.close()


@pytest.mark.slow
async def test_store_that_cannot_be_opened_is_waited_for_and_ends_nothing(
    configured, loop_of, tmp_path
):
    blocked = tmp_path / "var" / FILE_NAME
    blocked.mkdir(parents=True)
    loop = loop_of(configured(DISK))
    await until(lambda: loop._parts is None)
    found = await figures(loop)
    assert found["verismo_siem_up", "disk"] == 0
    assert ("verismo_siem_waiting", "disk") not in found
    blocked.rmdir()

    async def is_up():
        return (await figures(loop))["verismo_siem_up", "disk"] == 1

    await until(is_up, 20)


async def test_process_that_ends_at_once_closes_what_is_open(configured, loop_of):
    loop = loop_of(configured(DISK))
    await until(lambda: loop._parts is not None)
    await asyncio.wait_for(loop.expose(), 5)


async def test_event_of_a_tenants_decision_is_the_same_whatever_keys_a_machine_has(
    configured, tmp_path
):
    config = configured(DISK)
    gateway = Gateway(config.data, at("2026-11-20 00:00"))
    gateway.decide(1, NOON, Subject(tenant="TENANT_001"))
    gateway.integrate(NOON + 1_000)
    gateway.close()
    make_secret(handle_secret_file(config.data))
    found = events(config)
    assert not any(b"TENANT_001" in one for one in found)
    handle_secret_file(config.data).unlink()
    assert events(config) == found
    make_secret(handle_secret_file(config.data))
    assert events(config) == found


def events(config):
    """Return the bytes of every event, made again from the ledger."""
    with closing(SiemParts(config)) as parts:
        [name] = parts.leaves.logs()
        return [one.data for one in event_list(name, parts.leaves.read(name, -1, 100))]
