"""After a restore: nothing is signed until the published log is gone on from, and then all fits."""

import shutil
import time
from contextlib import closing

import msgspec
import pytest
from tests.support.gateway import running_gateway

from verismo.adapters.ledger_sqlite import SqliteLedger
from verismo.adapters.restoration import LEDGER_MARKER
from verismo.attest.checkpoint import read_checkpoint
from verismo.attest.note import read_note
from verismo.config.load import load_config
from verismo.model.errors import OperatorError, StateError
from verismo.model.ledger import LogId
from verismo.ports.ledger import LedgerForked
from verismo.wiring.backup import back_up, restore
from verismo.wiring.keys import clock_ms, open_rotation
from verismo.wiring.ledger import LedgerLoop
from verismo.wiring.ledgeradoption import LEASE_MS, adopt_ledger
from verismo.wiring.ledgertools import LedgerTools

pytestmark = pytest.mark.slow
NOW_MS = time.time_ns() // 1_000_000
US = LogId("us", time.gmtime().tm_year)


async def integrate(config):
    """Do what the control process does in one round, and give the lease up."""
    loop = LedgerLoop(config)
    await loop.round()
    lines = await loop.expose()
    await loop.close()
    return "".join(lines)


def published_size(config):
    note = (config.data / "log" / US.path / "checkpoint").read_bytes()
    return read_checkpoint(read_note(note).text).size


def problems(config):
    tools = LedgerTools(config)
    found = list(tools.audit(lambda _: None))
    tools.close()
    return found


async def lived(folder):
    """Answer, integrate, back up, answer and integrate more; return the configuration."""
    async with running_gateway(folder) as gateway:
        config = gateway.config
        for number in range(4):
            await gateway.chat(f"before {number}")
        await integrate(config)
        back_up(config.data, folder / "backup", with_keys=True)
        for number in range(3):
            await gateway.chat(f"after {number}")
        await integrate_again(config)
    return config


async def integrate_again(config):
    """Integrate past the checkpoint interval, whatever the clock says."""
    hurried = msgspec.structs.replace(config.ledger, checkpoint_interval_ms=1)
    await integrate(msgspec.structs.replace(config, ledger=hurried))


@pytest.fixture
async def restored(tmp_path):
    """A restored data folder in place of the old one, whose log is kept as its mirror."""
    config = await lived(tmp_path)
    before = published_size(config)
    (config.data / "log").rename(tmp_path / "mirror")
    shutil.rmtree(config.data)
    restore(tmp_path / "backup", config.data)
    return load_config(config.path, {}), before


async def test_a_restored_backup_signs_nothing_by_itself(restored):
    config, _ = restored
    assert not (config.data / "keys" / "checkpoints").exists()
    text = await integrate(config)
    assert 'verismo_ledger_failures_total{reason="refused"} 1' in text
    assert not (config.data / "log").exists()


async def test_the_published_log_is_gone_on_from(restored, tmp_path):
    config, before = restored
    outcome = adopt_ledger(config, tmp_path / "mirror", NOW_MS)
    [us] = [one for one in outcome.logs if one.log == US]
    assert (us.size, us.lost) == (before, 3)
    assert outcome.appended == 0
    assert outcome.kept is not None
    assert problems(config) == []
    async with running_gateway(tmp_path) as gateway:
        answer = await gateway.chat("later")
        await integrate_again(gateway.config)
        proof = await gateway.send("GET", f"/v1/attest/{answer.prov_id}/proof")
        assert proof.status == 200
    assert published_size(config) == before + 1
    assert problems(config) == []


async def test_key_that_was_revoked_after_the_backup_is_not_signed_with_again(tmp_path):
    """Attack: the backup's ring, which does not know of the revocation."""
    config = await lived(tmp_path)
    rotation = open_rotation(config.data, config.keys)
    stolen = next(one.kid for one in rotation.newest().ring.keys if one.role == "token")
    rotation.revoke(stolen, clock_ms(), "stolen")
    newest = rotation.history()
    await integrate_again(config)
    before = published_size(config)
    (config.data / "log").rename(tmp_path / "mirror")
    shutil.rmtree(config.data)
    restore(tmp_path / "backup", config.data)
    with pytest.raises(StateError, match="has a newer key ring than this data folder"):
        adopt_ledger(config, tmp_path / "mirror", NOW_MS)
    assert (config.data / LEDGER_MARKER).exists(), "nothing is signed until it is settled"
    assert list(config.data.glob("ledger-before-*")) == [], "the state is not exchanged"
    open_rotation(config.data, config.keys).adopt(newest, clock_ms())
    [us] = [one for one in adopt_ledger(config, tmp_path / "mirror", NOW_MS).logs if one.log == US]
    assert (us.size, us.lost) == (before, 3)
    keys = open_rotation(config.data, config.keys).newest().ring.keys
    assert [one.kid for one in keys if one.revoked_ms] == [stolen]
    assert problems(config) == []


async def test_adopting_again_after_a_crash_ends_the_same(restored, tmp_path, monkeypatch):
    config, before = restored
    monkeypatch.setattr("verismo.wiring.ledgeradoption._swap", _fail)
    with pytest.raises(StateError, match="crashed"):
        adopt_ledger(config, tmp_path / "mirror", NOW_MS)
    monkeypatch.undo()
    assert (config.data / LEDGER_MARKER).exists()
    assert adopt_ledger(config, tmp_path / "mirror", NOW_MS).logs[0].size == before
    assert problems(config) == []


def _fail(*_):
    raise StateError("crashed")


async def test_tiles_that_were_changed_are_not_gone_on_from(restored, tmp_path):
    config, _ = restored
    [bundle] = (tmp_path / "mirror" / US.path / "tile" / "entries").rglob("8")
    bundle.write_bytes(bundle.read_bytes()[:-1] + b"\0")
    with pytest.raises(LedgerForked, match="cannot be gone on from"):
        adopt_ledger(config, tmp_path / "mirror", NOW_MS)
    assert (config.data / LEDGER_MARKER).exists()


async def test_tiles_older_than_what_is_known_here_are_not_gone_on_from(restored, tmp_path):
    config, _ = restored
    adopt_ledger(config, tmp_path / "mirror", NOW_MS)
    old = tmp_path / "old"
    shutil.copytree(config.data / "log", old)
    async with running_gateway(tmp_path) as gateway:
        await gateway.chat("later")
        await integrate_again(gateway.config)
    with pytest.raises(LedgerForked, match="larger than the published"):
        adopt_ledger(config, old, NOW_MS)
    assert not (config.data / LEDGER_MARKER).exists(), "a whole ledger goes on"
    assert 'verismo_ledger_failures_total{reason="refused"} 0' in await integrate(config)


async def test_a_folder_without_a_log_is_not_gone_on_from(restored, tmp_path):
    config, _ = restored
    (config.data / "ledger.db").unlink()
    (tmp_path / "nothing").mkdir()
    with pytest.raises(OperatorError, match="holds no log"):
        adopt_ledger(config, tmp_path / "nothing", NOW_MS)
    assert not (config.data / "ledger.db").exists(), "no empty ledger takes its place"
    assert (config.data / LEDGER_MARKER).exists()


async def test_without_a_data_folder_there_is_nothing_to_go_on_from(restored):
    config, _ = restored
    shutil.rmtree(config.data)
    with pytest.raises(OperatorError, match="no data folder"):
        adopt_ledger(config, None, NOW_MS)
    assert not config.data.exists()


async def test_without_any_tiles_they_are_made_again_from_the_records(restored, tmp_path):
    config, before = restored
    [us] = [one for one in adopt_ledger(config, None, NOW_MS).logs if one.log == US]
    assert (us.size, us.lost) == (before - 3, 0)
    assert problems(config) == []
    async with running_gateway(tmp_path) as gateway:
        await gateway.chat("later")
        await integrate_again(gateway.config)
    assert published_size(config) == before - 2


async def test_a_running_gateway_is_not_adopted_under(tmp_path):
    async with running_gateway(tmp_path) as gateway:
        await gateway.chat("now")
        with pytest.raises(StateError, match="owned by the process"):
            adopt_ledger(gateway.config, tmp_path, NOW_MS)


async def test_a_control_process_that_lives_on_without_workers_is_not_adopted_under(tmp_path):
    config = await lived(tmp_path)
    loop = LedgerLoop(config)
    await loop.round()
    before = (config.data / "ledger.db").read_bytes()
    with pytest.raises(StateError, match="integrates the ledger") as refusal:
        adopt_ledger(config, config.data / "log", clock_ms())
    assert "Stop the gateway" in refusal.value.advice
    assert (config.data / "ledger.db").read_bytes() == before
    assert not (config.data / LEDGER_MARKER).exists(), "what runs is left as it is"
    await loop.close()
    adopt_ledger(config, config.data / "log", clock_ms())


async def test_log_that_a_revoked_key_has_signed_is_gone_on_from(restored, tmp_path):
    config, before = restored
    rotation = open_rotation(config.data, config.keys)
    [kid] = [one.kid for one in rotation.history()[-1].ring.keys if one.role == "log"]
    rotation.revoke(kid, clock_ms(), "lost")
    outcome = adopt_ledger(config, tmp_path / "mirror", NOW_MS)
    assert [one.size for one in outcome.logs if one.log == US] == [before]
    await integrate_again(config)
    assert problems(config) == []


async def test_control_process_that_is_there_already_stops_beside_the_marker(tmp_path):
    async with running_gateway(tmp_path) as gateway:
        hurried = msgspec.structs.replace(gateway.config.ledger, checkpoint_interval_ms=1)
        config = msgspec.structs.replace(gateway.config, ledger=hurried)
        loop = LedgerLoop(config)
        await gateway.chat("before")
        await loop.round()
        size = published_size(config)
        (config.data / LEDGER_MARKER).touch()
        await gateway.chat("beside the marker")
        await loop.round()
        assert published_size(config) == size
        assert 'verismo_ledger_failures_total{reason="refused"} 1' in "".join(await loop.expose())
        # What adopting does at its end: another file takes the name of the state.
        for path in list(config.data.glob("ledger.db*")):
            kept = path.rename(path.with_name(f"before-{path.name}"))
            shutil.copy(kept, path)
        (config.data / LEDGER_MARKER).unlink()
        await loop.round()
        assert published_size(config) == size + 1
        assert f" {size + 1}\n" in "".join(await loop.expose())
        await loop.close()
        with closing(SqliteLedger(config.data / "ledger.db", read_only=True)) as state:
            assert state.latest_checkpoint(US).size == size + 1
        assert problems(config) == []


async def test_an_old_ledger_put_back_alone_is_refused_and_gone_on_from(tmp_path):
    config = await lived(tmp_path)
    size = published_size(config)
    for path in config.data.glob("ledger.db*"):
        path.unlink()
    shutil.copy(tmp_path / "backup" / "ledger.db", config.data / "ledger.db")
    text = await integrate(config)
    assert 'verismo_ledger_failures_total{reason="refused"} 1' in text
    outcome = adopt_ledger(config, config.data / "log", clock_ms() + LEASE_MS)
    [us] = [one for one in outcome.logs if one.log == US]
    assert (us.size, us.lost) == (size, 0)
    assert problems(config) == []
    text = await integrate(config)
    assert 'verismo_ledger_failures_total{reason="refused"} 0' in text


async def test_a_lost_ledger_is_gone_on_from_what_the_folder_itself_has_published(tmp_path):
    config = await lived(tmp_path)
    size = published_size(config)
    for path in config.data.glob("ledger.db*"):
        path.unlink()
    found = problems(config)
    assert {one.kind for one in found} == {"missing"}
    assert f"published with {size} entries" in " ".join(one.detail for one in found)
    text = await integrate(config)
    assert 'verismo_ledger_failures_total{reason="refused"} 1' in text
    outcome = adopt_ledger(config, config.data / "log", clock_ms() + LEASE_MS)
    assert [(one.size, one.lost) for one in outcome.logs if one.log == US] == [(size, 0)]
    assert problems(config) == []
