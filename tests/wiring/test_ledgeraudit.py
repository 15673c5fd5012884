"""The audit of a data folder walks everything: whatever is altered in a copy of it is named."""

import asyncio
import re
import shutil
import sqlite3
import time
from contextlib import closing

import msgspec
import pytest
from click.testing import CliRunner
from tests.support.gateway import running_gateway
from tests.support.tilelog import witness_key

from verismo.attest.checkpoint import read_checkpoint
from verismo.attest.note import Note, read_note
from verismo.attest.witnesspolicy import read_policy
from verismo.cli.main import cli
from verismo.config.load import load_config
from verismo.control.dayrollup import make_rollup
from verismo.model.ledger import LogId
from verismo.model.retention import day_of
from verismo.wiring.ledger import LedgerLoop
from verismo.wiring.ledgertools import LedgerTools
from verismo.wiring.rollups import open_desk

pytestmark = pytest.mark.slow
NOW_MS = time.time_ns() // 1_000_000
DAY_MS = 86_400_000
US = LogId("us", time.gmtime().tm_year)
ALICE = witness_key("alice.example")
POLICY = read_policy(f"witness alice {ALICE.key.vkey}\nquorum alice\n".encode())


async def lived(folder):
    """Answer, integrate, be cosigned, and finish the day."""
    async with running_gateway(folder) as gateway:
        for number in range(3):
            await gateway.chat(f"hello {number}")
        await gateway.chat("another tenant", key="TENANT_002")
        loop = LedgerLoop(gateway.config)
        await loop.round()
        await loop.close()
        checkpoint = gateway.config.data / "log" / US.path / "checkpoint"
        for path in (checkpoint, checkpoint.with_name("cosigned")):
            path.write_bytes(cosigned(checkpoint.read_bytes()))
        with open_desk(gateway.config, NOW_MS + DAY_MS) as desk:
            made = make_rollup(desk, US, day_of(NOW_MS), NOW_MS + 2 * DAY_MS)
        assert made


def cosigned(data, text=None):
    note = read_note(data)
    by = ALICE.cosignature(text or note.text, NOW_MS // 1_000)
    return Note(note.text, (note.signatures[0], by)).encode()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    asyncio.run(lived(folder))
    return folder


@pytest.fixture
def config(whole, tmp_path):
    """Of a copy of it that a test may damage."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    loaded = load_config(tmp_path / "verismo.toml", {})
    witness = msgspec.structs.replace(loaded.witness, policy=POLICY)
    return msgspec.structs.replace(loaded, witness=witness)


def problems(config):
    with closing(LedgerTools(config)) as tools:
        return [f"{one.kind}: {one.detail}" for one in tools.audit(lambda _: None)]


def run(config, command):
    arguments = ["ledger", command, "--config", str(config.path)]
    return CliRunner().invoke(cli, arguments)


def test_a_folder_that_is_whole_has_no_findings(config):
    assert problems(config) == []


def log_file(config, name):
    return config.data / "log" / US.path / name


def day_file(config, name):
    return config.data / "rollups" / US.path / day_of(NOW_MS).isoformat() / name


def flip(path):
    content = path.read_bytes()
    other = b"B" if content[-9:-8] == b"A" else b"A"  # base64 stays base64
    path.write_bytes(content[:-9] + other + content[-8:])


def remember_less(config):
    [path] = (config.data / "keys" / "checkpoints").glob("*us*")
    path.write_bytes(b"garbage")


def larger(config):
    """A cosigned checkpoint that no log key has signed."""
    path = log_file(config, "cosigned")
    lines = path.read_text().split("\n")
    lines[1] = str(int(lines[1]) + 1)
    path.write_text("\n".join(lines))


def beyond(config):
    path = log_file(config, "tile/0/009")
    path.write_bytes(bytes(8_192))


ALTERED = {
    "cosigned is garbage": (
        lambda one: log_file(one, "cosigned").write_bytes(b"garbage"),
        r"history: a checkpoint in cosigned: ",
    ),
    "cosigned is of another tree": (larger, r"history: a checkpoint in cosigned: "),
    "cosigned has a wrong cosignature": (
        lambda one: flip(log_file(one, "cosigned")),
        r"cosigned: cosigned: ",
    ),
    "cosigned has no quorum": (
        lambda one: shutil.copy(day_file(one, "../cp"), log_file(one, "cosigned")),
        r"cosigned: cosigned has no quorum of the policy: nobody",
    ),
    "cosigned is gone": (
        lambda one: log_file(one, "cosigned").unlink(),
        r"cosigned: checkpoint has a quorum, but cosigned",
    ),
    "the second place is gone": (
        lambda one: shutil.rmtree(one.data / "keys" / "checkpoints"),
        r"checkpoint: the second place \(keys/checkpoints\) has none, and \d+ is published",
    ),
    "the second place is garbage": (remember_less, r"history: a checkpoint in the second place"),
    "a rollup is altered": (
        lambda one: flip(day_file(one, "rollup.dsse.json")),
        r"rollup: rollups/us/.*/rollup.dsse.json: ",
    ),
    "a rollup is gone": (
        lambda one: day_file(one, "rollup.dsse.json").unlink(),
        r"rollup: rollups/us/.*/rollup.dsse.json is not there",
    ),
    "a rollup's checkpoint is altered": (
        lambda one: flip(day_file(one, "checkpoint")),
        r"rollup: rollups/us/.*/checkpoint is not the file that the rollup names",
    ),
    "a rollup's checkpoint is gone": (
        lambda one: day_file(one, "checkpoint").unlink(),
        r"rollup: rollups/us/.*/checkpoint is not there",
    ),
    "a rollup's manifest is altered": (
        lambda one: flip(day_file(one, "manifest.json")),
        r"rollup: rollups/us/.*/manifest.json",
    ),
    "a tile lies beyond the tree": (
        beyond,
        r"unknown: tile/0/009 lies beyond the log's \d+ entries",
    ),
    "a foreign file lies in the log": (
        lambda one: log_file(one, "tile/notes.txt").write_bytes(b"x"),
        r"unknown: tile/notes.txt is no file of a log",
    ),
}


@pytest.mark.parametrize("kind", ALTERED)
def test_what_is_altered_in_the_folder_is_named(config, kind):
    alter, words = ALTERED[kind]
    plain = Note(read_note(log_file(config, "cosigned").read_bytes()).text, ())
    first = read_note(log_file(config, "cosigned").read_bytes()).signatures[:1]
    day_file(config, "../cp").write_bytes(msgspec.structs.replace(plain, signatures=first).encode())
    alter(config)
    found = problems(config)
    assert [one for one in found if re.match(words, one)], found
    if not words.startswith("cosigned"):  # these take a policy, which the folder does not name
        assert run(config, "audit").exit_code == 1


ROWS = {
    "graph": (b"{}", "its graph"),
    "no graph": (b"", "its graph"),
    "prov_id": (bytes(6) + b"\x70" + bytes(1) + b"\x80" + bytes(7), "it is kept as 00000000-"),
    "tenant": ("TENANT_002", "it is kept as 'TENANT_002's, signed was the handle of 'TENANT_001'"),
    "cost_usd_micros": (77_777, "its cost is not the signed one"),
}


@pytest.mark.parametrize("column", ROWS)
def test_a_column_that_says_something_else_than_the_statement_is_named(config, column):
    value, words = ROWS[column]
    [journal] = (config.data / "journal").glob("*.db")
    with closing(sqlite3.connect(journal)) as database:
        database.execute("DROP TRIGGER record_never_changes")
        name = column.removeprefix("no ")
        database.execute(f"UPDATE record SET {name} = ? WHERE seq_n = 2", [value])
        database.commit()
    [problem] = problems(config)
    assert problem.startswith("column: record 2: ")
    assert words.replace("'TENANT_002's", "'TENANT_002''s") in problem


def test_a_graph_of_another_answer_is_named(config):
    [journal] = (config.data / "journal").glob("*.db")
    with closing(sqlite3.connect(journal)) as database:
        database.execute("DROP TRIGGER record_never_changes")
        other = "(SELECT graph FROM record WHERE seq_n = 1)"
        database.execute(f"UPDATE record SET graph = {other} WHERE seq_n = 2")
        database.commit()
    assert problems(config) == ["column: record 2: its graph is not the signed one"]


def test_a_lost_state_of_a_published_log_is_no_fresh_start(config):
    for path in config.data.glob("ledger.db*"):
        path.unlink()
    size = read_checkpoint(read_note(log_file(config, "checkpoint").read_bytes()).text).size
    words = f"it is published with {size} entries, but ledger.db does not know it"
    status, audit = run(config, "status"), run(config, "audit")
    assert (status.exit_code, audit.exit_code) == (1, 1)
    assert "no log yet" not in status.output
    for outcome in (status, audit):
        assert words in outcome.output
        assert "docs/runbooks/ledger-refused.md" in outcome.output
    assert "walked" not in audit.output


def test_files_that_nobody_serves_are_no_findings(config):
    for name in (".lock", ".partial/1-a", ".checkpoint.77", ".cosigned.77"):
        log_file(config, name).parent.mkdir(exist_ok=True)
        log_file(config, name).touch()
    assert problems(config) == []
