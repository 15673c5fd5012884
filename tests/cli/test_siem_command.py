"""`verismo siem`: status, parity and dead letters over a real data folder."""

import json
import time

import pytest
from click.testing import CliRunner
from tests.support.archived import Gateway, at

from verismo.adapters.siem_file import CURRENT
from verismo.attest.parity import HOUR_MS, hour_of
from verismo.cli import siem as command
from verismo.cli.siem import siem
from verismo.config.load import load_config
from verismo.control.siem import ExportDesk, SinkExport
from verismo.ports.siem import Refusal
from verismo.wiring.siem import SiemParts, open_sink

pytestmark = pytest.mark.slow
"""Each test makes a data folder with keys, journal and ledger."""

NOON = at("2026-11-20 12:00")
HOUR = "2026-11-20T12"
CONFIG = """\
issuer = "https://gateway.example"
[tenants]
[siem.sinks.disk]
kind = "file"
[siem.sinks.soc]
kind = "syslog"
address = "127.0.0.1:9"
"""


class Fussy:
    """A sink that refuses every third event."""

    def __init__(self, sink):
        self._sink = sink

    async def send(self, events):
        bad = [n for n in range(len(events)) if n % 3 == 2]
        await self._sink.send([event for n, event in enumerate(events) if n not in bad])
        return [Refusal(n, "the collector answered 422") for n in bad]

    async def aclose(self):
        await self._sink.aclose()


@pytest.fixture
async def folder(tmp_path):
    (tmp_path / "verismo.toml").write_text(CONFIG)
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "main.rego").write_text("package verismo\n")
    gateway = Gateway(tmp_path / "var", at("2026-11-20 00:00"))
    await gateway.serve(9, NOON)
    gateway.integrate(NOON + 1_000)
    gateway.store.close()
    gateway.reader.close()
    return tmp_path


@pytest.fixture
def export(folder):
    async def run(wrap=lambda sink: sink):
        config = load_config(folder / "verismo.toml", {})
        parts, sink = SiemParts(config), wrap(open_sink(config, config.siem.sinks[0]))
        desk = ExportDesk("disk", sink, parts.leaves, parts.store, lambda: NOON)
        await SinkExport(desk).round()
        await sink.aclose()
        parts.close()

    return run


@pytest.fixture
def run(folder):
    def invoke(*arguments):
        config = ("--config", str(folder / "verismo.toml"))
        return CliRunner().invoke(siem, [*arguments, *config])

    return invoke


def events(folder):
    return folder / "var" / "siem" / "disk" / CURRENT


async def test_status_shows_what_was_sent_and_what_waits(run, export):
    before = json.loads(run("status", "--json").stdout)
    assert [(row["sink"], row["sent"]) for row in before] == [("disk", 0), ("soc", 0)]
    await export()
    disk, soc = json.loads(run("status", "--json").stdout)
    assert (disk["waiting"], disk["dead"]) == (0, 0)
    assert soc["waiting"] == disk["sent"] > 9
    text = run("status").stdout
    assert text.splitlines()[0].split() == ["SINK", "KIND", "LOG", "SENT", "WAITING", "DEAD"]


async def test_parity_of_a_sink_that_has_everything_is_exit_code_0(run, export):
    await export()
    done = run("parity", "--sink", "disk", "--hour", HOUR)
    assert done.exit_code == 0
    assert "100.0000 % of 9 records, 2026-11-20 12:00Z to 2026-11-20 13:00Z" in done.stdout


async def test_parity_names_what_is_wrong_and_is_exit_code_1(run, export, folder):
    await export()
    lines = events(folder).read_bytes().splitlines(keepends=True)
    dropped = json.loads(lines.pop(4))["metadata"]
    lines[0] = lines[0].replace(b'"severity_id":', b'"severity_id":1')
    events(folder).write_bytes(b"".join([*lines, lines[2]]))
    done = run("parity", "--sink", "disk", "--hour", HOUR)
    assert done.exit_code == 1
    assert f"missing   {dropped['uid']}  leaf {dropped['sequence']}" in done.stdout
    assert "altered " in done.stdout
    assert "duplicate" in done.stdout
    view = json.loads(run("parity", "--sink", "disk", "--hour", HOUR, "--json").stdout)
    assert not view["whole"]
    assert [one["uid"] for one in view["missing"]] == [dropped["uid"]]
    assert len(view["altered"]) == len(view["duplicate"]) == len(view["manifests"]) == 1


async def test_copies_fail_only_where_that_is_asked_for(run, export, folder):
    await export()
    lines = events(folder).read_bytes().splitlines(keepends=True)
    events(folder).write_bytes(b"".join([*lines, lines[2]]))
    wanted = ("parity", "--sink", "disk", "--hour", HOUR)
    assert run(*wanted).exit_code == 0
    assert run(*wanted, "--strict").exit_code == 1


async def test_what_a_receiver_wrote_is_read_from_a_file(run, export, folder):
    await export()
    received = folder / "received.log"
    header = b"2026-11-20T12:00:00Z gw verismo - answer - "
    lines = events(folder).read_bytes().splitlines(keepends=True)
    received.write_bytes(b"".join(header + line for line in lines))
    done = run("parity", "--sink", "disk", "--hour", HOUR, "--from", str(received))
    assert done.exit_code == 0


async def test_unsent_records_are_missing_and_said_to_wait(run):
    done = run("parity", "--sink", "disk", "--hour", HOUR, "--from", "/dev/null")
    assert done.exit_code == 1
    assert "9 of the missing were not sent yet" in done.stdout


async def test_long_lists_are_cut_for_people(run, monkeypatch):
    monkeypatch.setattr(command, "NAMES_MAX", 2)
    done = run("parity", "--sink", "disk", "--hour", HOUR, "--from", "/dev/null")
    assert "and 7 more" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--sink", "none", "--hour", HOUR), "there are: disk, soc"),
        (("--sink", "soc", "--hour", HOUR), "cannot be read back"),
    ],
)
async def test_sink_that_cannot_be_compared_says_why(run, arguments, told):
    assert told in str(run("parity", *arguments).exception)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--hour", "noon"),
        ("--hour", "2199-01-01T00"),
        ("--hour", HOUR, "--since", "3h"),
        ("--since", "soon"),
        (),
    ],
)
async def test_wrong_usage_is_exit_code_2(run, arguments):
    sink = ("--sink", "disk") if arguments else ()
    assert run("parity", *sink, *arguments).exit_code == 2


async def test_hours_are_the_last_one_by_default_and_those_since_on_demand(run, export):
    await export()
    now_ms = time.time_ns() // 1_000_000
    one = json.loads(run("parity", "--sink", "disk", "--json").stdout)
    assert one["until_ms"] - one["since_ms"] == HOUR_MS
    assert one["until_ms"] <= now_ms
    many = json.loads(run("parity", "--sink", "disk", "--since", "5h", "--json").stdout)
    assert many["until_ms"] in (hour_of(now_ms), hour_of(now_ms) + HOUR_MS)
    assert many["until_ms"] - many["since_ms"] == 5 * HOUR_MS


async def test_dead_letters_are_listed_queued_and_delivered(run, export):
    await export(Fussy)
    letters = json.loads(run("dead-letters", "list", "--json").stdout)
    assert letters
    assert {one["reason"] for one in letters} == {"the collector answered 422"}
    assert letters[0]["uid"] in run("dead-letters", "list", "--sink", "disk").stdout
    assert json.loads(run("dead-letters", "list", "--sink", "soc", "--json").stdout) == []
    assert run("parity", "--sink", "disk", "--hour", HOUR).exit_code == 1
    one = run("dead-letters", "retry", "--sink", "disk", letters[0]["uid"])
    assert "queued 1 dead letters" in one.stdout
    rest = run("dead-letters", "retry", "--sink", "disk")
    assert f"queued {len(letters) - 1} dead letters" in rest.stdout
    await export()
    assert json.loads(run("dead-letters", "list", "--json").stdout) == []
    assert run("parity", "--sink", "disk", "--hour", HOUR).exit_code == 0


async def test_an_hour_without_records_is_not_called_100_percent(run, export):
    await export()
    quiet = run("parity", "--sink", "disk", "--hour", "2020-01-01T00")
    assert quiet.exit_code == 0
    assert "the ledger has no records" in quiet.stdout
    assert "100" not in quiet.stdout


async def test_without_a_sink_the_status_says_how_to_set_one_up(run, folder):
    (folder / "verismo.toml").write_text(CONFIG.split("[siem")[0])
    assert "no sink is set up" in run("status").stdout
    assert json.loads(run("status", "--json").stdout) == []


async def test_letters_of_an_unknown_sink_are_neither_listed_nor_queued(run):
    assert "no SIEM sink" in str(run("dead-letters", "list", "--sink", "none").exception)
    assert "no SIEM sink" in str(run("dead-letters", "retry", "--sink", "none").exception)
