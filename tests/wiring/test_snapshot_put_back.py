"""An old copy of the whole machine is put back: witnesses tell, and nothing more is signed."""

import asyncio
import json
import shutil
import time
from contextlib import asynccontextmanager, closing

import msgspec
import pytest
from click.testing import CliRunner
from tests.support.gateway import Setup, running_gateway
from tests.support.witness import open_place, serving

from verismo.adapters.contradictions_file import ContradictionsFile
from verismo.attest.checkpoint import read_checkpoint
from verismo.attest.note import read_note
from verismo.cli.main import cli
from verismo.config.load import load_config
from verismo.control.dayrollup import make_rollup
from verismo.model.errors import VerismoError
from verismo.model.ledger import LogId
from verismo.model.retention import day_of
from verismo.ports.ledger import LedgerForked
from verismo.ports.witness import Contradictions
from verismo.wiring.keys import clock_ms
from verismo.wiring.ledger import LedgerLoop
from verismo.wiring.ledgeradoption import LEASE_MS, adopt_ledger
from verismo.wiring.ledgertools import LedgerTools
from verismo.wiring.rollups import open_desk
from verismo.wiring.witness import trusted_log
from verismo.wiring.witnessing import WitnessLoop

pytestmark = pytest.mark.slow
US = LogId("us", time.gmtime().tm_year)
DAY_MS = 86_400_000


async def go_on(config, lines=None):
    """Do what the control process does: look, integrate, and ask for cosignatures."""
    hurried = msgspec.structs.replace(config.ledger, checkpoint_interval_ms=1)
    witnesses = WitnessLoop(config, config.witness.policy)
    published = {}
    ledger = LedgerLoop(
        msgspec.structs.replace(config, ledger=hurried), published.update, witnesses.look
    )
    await ledger.round()
    witnesses._witnessing.notice(published)
    await witnesses._witnessing.round()
    text = "".join([*await ledger.expose(), *await witnesses.expose()])
    await ledger.close()
    await witnesses.close()
    return text


def published_size(config):
    note = (config.data / "log" / US.path / "checkpoint").read_bytes()
    return read_checkpoint(read_note(note).text).size


async def adopt(config, tiles):
    return await asyncio.to_thread(adopt_ledger, config, tiles, clock_ms() + LEASE_MS)


def findings(config):
    with closing(LedgerTools(config)) as tools:
        return list(tools.audit(lambda _: None))


def status(config, *options):
    arguments = ["ledger", "status", "--config", str(config.path), *options]
    return CliRunner().invoke(cli, arguments)


@asynccontextmanager
async def put_back(tmp_path):
    """Yield the configuration of a folder that is old, and the size that the world has seen."""
    witness = open_place(tmp_path / "alice", [], lambda: 1_790_000_000, "alice.example/w")
    async with serving(witness) as url:
        policy = f"witness alice {witness.key.vkey} {url}\nquorum alice\n"
        setup = Setup(edits={'# policy = ""': 'policy = "witnesses"'}, files={"witnesses": policy})
        gateway = tmp_path / "gateway"
        async with running_gateway(gateway, setup) as running:
            config = running.config
            await running.chat("first")
            await go_on(config)
            with closing(LedgerTools(config)) as tools:
                vkey = tools.log_key(US).vkey
            witness._store.trust([trusted_log(vkey, every_log=True)])
            await go_on(config)
        shutil.copytree(config.data, tmp_path / "snapshot")
        async with running_gateway(gateway, setup) as running:
            for number in range(3):
                await running.chat(f"later {number}")
            await go_on(config)
        size = published_size(config)
        config.data.rename(tmp_path / "newest")
        shutil.copytree(tmp_path / "snapshot", config.data)
        for lock in config.data.rglob("*.lock"):
            lock.unlink()
        assert published_size(config) < size
        yield load_config(config.path, {}), size


async def test_an_old_copy_signs_nothing_and_says_so_until_it_goes_on_from_the_newest(tmp_path):
    async with put_back(tmp_path) as (config, size):
        old = published_size(config)
        setup = Setup(files={}, edits={'# policy = ""': 'policy = "witnesses"'})
        async with running_gateway(tmp_path / "gateway", setup) as running:
            await running.chat("beside the world")
            text = await go_on(config)
        assert 'verismo_ledger_failures_total{reason="refused"} 1' in text
        assert published_size(config) == old, "not one checkpoint of another history"
        found = status(config)
        assert found.exit_code == 1
        assert "REFUSED: a quorum of witnesses knows another ledger than this one" in found.output
        words = f"at size {size}, which this ledger, at size {old}, has not reached"
        assert f"AHEAD: {US.path}: the witness alice: " in found.output
        assert words in found.output
        told = json.loads(status(config, "--json").output)["contradictions"]
        assert (told["stops"], told["said"][0]["reason"]) == (True, "ahead")
        assert [one.kind for one in findings(config)] == ["witness"]

        with pytest.raises(LedgerForked, match="not the newest log: the witness alice"):
            await adopt(config, tmp_path / "snapshot" / "log")
        with pytest.raises(LedgerForked, match="not the newest log: the witness alice"):
            await adopt(config, config.data / "log")
        assert ContradictionsFile(config.data).contradictions().stops, "still refused"

        for place in (config.data, tmp_path / "newest"):  # a mirror need not have it
            (place / "log" / US.path / "cosigned").unlink()
        outcome = await adopt(config, tmp_path / "newest" / "log")
        assert findings(config) == []
        assert [one.size for one in outcome.logs if one.log == US] == [size]
        assert outcome.silent == ()
        assert ContradictionsFile(config.data).contradictions() == Contradictions()
        text = await go_on(config)
        assert 'verismo_ledger_failures_total{reason="refused"} 0' in text
        assert published_size(config) == size + 1
        assert status(config).exit_code == 0
        assert findings(config) == []


async def test_a_copy_that_signed_beside_the_world_goes_on_from_the_newest_as_the_runbook_says(
    tmp_path,
):
    async with put_back(tmp_path) as (config, size):
        setup = Setup(files={}, edits={'# policy = ""': 'policy = "witnesses"'})
        async with running_gateway(tmp_path / "gateway", setup) as running:
            await running.chat("beside the world")
            hurried = msgspec.structs.replace(config.ledger, checkpoint_interval_ms=1)
            alone = LedgerLoop(msgspec.structs.replace(config, ledger=hurried))
            await alone.round()  # no witness answers yet
            await alone.close()
            with open_desk(config, clock_ms() + DAY_MS) as desk:
                make_rollup(desk, US, day_of(clock_ms()), clock_ms() + 2 * DAY_MS)
            await go_on(config)
        assert ContradictionsFile(config.data).contradictions().stops
        with pytest.raises(LedgerForked) as refusal:
            await adopt(config, tmp_path / "newest" / "log")
        assert "witness-split-view.md" in refusal.value.advice
        aside = tmp_path / "aside"
        aside.mkdir()
        for path in (*config.data.glob("ledger.db*"), config.data / "log"):
            path.rename(aside / path.name)
        (config.data / "keys" / "checkpoints").rename(aside / "checkpoints")
        (config.data / "rollups").rename(aside / "rollups")
        outcome = await adopt(config, tmp_path / "newest" / "log")
        assert [one.size for one in outcome.logs if one.log == US] == [size]
        assert ContradictionsFile(config.data).contradictions() == Contradictions()
        await go_on(config)
        assert published_size(config) == size + 1, "the answer beside the world is in the log"
        assert findings(config) == []


async def test_what_the_archive_has_of_a_newer_log_is_asked_where_no_witness_answers(tmp_path):
    async with put_back(tmp_path) as (config, _):
        pass  # the witness is gone
    rolled = msgspec.structs.replace(config, data=tmp_path / "newest")
    with open_desk(rolled, clock_ms() + DAY_MS) as desk:
        make_rollup(desk, US, day_of(clock_ms()), clock_ms() + 2 * DAY_MS)
    shutil.copytree(tmp_path / "newest" / "rollups", config.data / "rollups")
    with pytest.raises(LedgerForked, match="larger than the published"):
        await adopt(config, tmp_path / "snapshot" / "log")
    outcome = await adopt(config, tmp_path / "newest" / "log")
    [words] = outcome.silent
    assert words.startswith("the witness alice: ")


async def test_a_damaged_note_of_what_witnesses_say_lets_nothing_be_signed(tmp_path):
    async with running_gateway(tmp_path) as running:
        await running.chat("first")
        (running.config.data / "witness-contradictions.json").write_bytes(b"damaged")
        loop = LedgerLoop(running.config)
        await loop.round()
        assert 'verismo_ledger_failures_total{reason="state"} 1' in "".join(await loop.expose())
        await loop.close()
        assert not (running.config.data / "log").exists()
        with closing(LedgerTools(running.config)) as tools, pytest.raises(VerismoError):
            tools.status(clock_ms())
