"""The loop of the control process: answers never wait for it, and what fails is told once."""

import logging
from contextlib import closing

import msgspec
import pytest
from tests.support.gateway import running_gateway
from tests.support.keyring import RULES
from tests.support.ledger import NOW_MS, Place
from tests.support.waiting import until

from verismo.adapters.adapt_leaves import open_leaves
from verismo.adapters.journal_reader import SqliteJournalReader
from verismo.adapters.keyring_files import KeyRingFiles
from verismo.adapters.tiles_folder import FolderTiles
from verismo.attest.checkpoint import Checkpoint, read_checkpoint
from verismo.attest.keyentry import public_key
from verismo.attest.merkle import EMPTY_ROOT
from verismo.attest.note import read_note, verifier_key
from verismo.control.leafsources import KEY_RING, KeyRingSource, LogChooser
from verismo.control.ledgerhealth import observe_ledger
from verismo.model.errors import StateError
from verismo.model.ledger import LogId, origin_of, read_log_id, year_of, year_span_ms
from verismo.ports.keyring import RingVersion
from verismo.ports.ledger import SourceRow
from verismo.wiring import ledger as wiring
from verismo.wiring.keys import clock_ms, open_rotation, prepare_keys
from verismo.wiring.ledger import LedgerLoop, leaf_sources

HOME = LogId("us", year_of(clock_ms()))


def configured(config, **fields):
    return msgspec.structs.replace(config, ledger=msgspec.structs.replace(config.ledger, **fields))


def test_the_delay_is_the_age_of_the_oldest_record_without_a_checkpoint(tmp_path):
    place = Place(tmp_path)
    place.source.add(2, iat=NOW_MS)
    store = place.store()

    def delay_ms(now_ms):
        return observe_ledger(store, [place.source], now_ms).delay_ms

    assert delay_ms(NOW_MS + 700) == 700
    integrator = place.integrator()
    integrator.step(NOW_MS + 800)
    assert delay_ms(NOW_MS + 5_000) == 0
    place.source.add(3, iat=NOW_MS + 1_000)
    # It has an index at once, and no checkpoint before the interval is over.
    integrator.step(NOW_MS + 1_100)
    assert store.logs()[0].assigned == 5
    assert delay_ms(NOW_MS + 2_000) == 1_000
    place.source.add(1, slot="s1", region="us", iat=NOW_MS + 900)
    assert delay_ms(NOW_MS + 2_000) == 1_100
    health = observe_ledger(store, [place.source], NOW_MS + 2_000)
    assert [(one.size, one.signed_size, one.checkpoint_age_ms) for one in health.logs] == [
        (5, 2, 1_200)
    ]


def test_the_key_ring_is_a_source_of_its_versions():
    class Store:
        def versions(self):
            return [RingVersion(n, b'{"iat":%d}' % NOW_MS, b"h..s", NOW_MS) for n in (1, 2, 3)]

    source = KeyRingSource(Store())
    [name] = source.names()
    assert [row.seq_n for row in source.rows(name, 1, 1)] == [2]
    assert LogChooser("verismo", "eu").choose(name, source.rows(name, 0, 1)[0]) == LogId("eu", 2026)


def test_unsigned_version_of_the_key_ring_never_becomes_a_leaf(tmp_path):
    data = tmp_path / "data"
    prepare_keys(data, RULES, NOW_MS)
    place, ring = Place(tmp_path / "place"), KeyRingFiles(data)
    place.source.add(3)
    with closing(SqliteJournalReader(data)) as journal:
        sources = (*leaf_sources(data, journal, open_leaves(data)), place.source)
        desk = msgspec.structs.replace(place.desk(), sources=sources)
        integrator = place.integrator(desk)
        assert integrator.step(NOW_MS).taken == 4
        one = ring.versions()[0]
        forged = one.statement.replace(b'"version":1', b'"version":2')
        ring.append(RingVersion(2, forged, one.jws, NOW_MS))
        place.source.add(2)
        for seconds in (60, 120):
            with pytest.raises(StateError, match="version 2 of the key ring cannot be believed"):
                integrator.step(NOW_MS + 1_000 * seconds)
    # Records go on, and the forged version waits until somebody has looked.
    assert place.store().cursors() == {KEY_RING: 1, "s0": 5}


@pytest.mark.parametrize("region", [".", "..", ".eu", "a/b", "", "é", "a b", "x" * 129])
def test_a_region_that_is_no_name_of_a_folder_names_no_log(region):
    assert read_log_id(region, "2026") is None
    row = SourceRow(1, 1, msgspec.json.encode({"iat": 1, "region": region or "/"}), b"")
    with pytest.raises(StateError):
        LogChooser("verismo", "eu").choose("s0", row)


def test_years_are_those_of_utc_and_have_no_end():
    assert year_of(0) == 1970
    for year in (1970, 2026, 2027, 9_998):
        span = year_span_ms(year)
        assert (year_of(span[0]), year_of(span[-1]), year_of(span[-1] + 1)) == (
            year,
            year,
            year + 1,
        )
    assert year_of(2**62) == 9_999
    assert 2**62 in year_span_ms(9_999)


@pytest.mark.parametrize(
    ("issuer", "origin"),
    [
        ("https://gateway.example/", "gateway.example/log/eu/2026"),
        ("http://gateway.example:8080/v/", "gateway.example:8080/v/log/eu/2026"),
        ("verismo", "verismo/log/eu/2026"),
    ],
)
def test_an_origin_is_the_issuer_without_scheme_and_slashes(issuer, origin):
    assert origin_of(issuer, LogId("eu", 2026)) == origin


@pytest.mark.slow
async def test_answers_go_on_while_the_ledger_cannot_be_written(tmp_path, caplog):
    async with running_gateway(tmp_path) as gateway:
        log = gateway.config.data / "log"
        log.write_text("no folder")
        loop = LedgerLoop(configured(gateway.config, delay_alarm_s=1))
        with caplog.at_level(logging.INFO, "verismo.ledger"):
            answer = await gateway.chat("hello")
            for _ in range(3):
                await loop.round()
            assert (await gateway.chat("still here")).status == 200
            pending = await gateway.send("GET", f"/v1/attest/{answer.prov_id}/proof")
            assert pending.status == 409
            told = [record for record in caplog.records if record.message == "the ledger failed"]
            assert len(told) == 1, "a failure is told once, not in each round"
            assert "the integrator tries again" in told[0].fields["next"]
            assert 'verismo_ledger_failures_total{reason="state"} 3' in "".join(await loop.expose())
            log.unlink()
            await loop.round()
        assert "the ledger goes on" in caplog.messages
        proof = await gateway.send("GET", f"/v1/attest/{answer.prov_id}/proof")
        assert proof.status == 200
        await loop.close()


@pytest.mark.slow
async def test_a_look_at_the_witnesses_that_fails_is_counted_and_holds_nothing_up(tmp_path, caplog):
    looked = []

    async def look() -> None:
        looked.append(1)
        raise StateError("what witnesses said cannot be written", next_step="Check the disk.")

    async with running_gateway(tmp_path) as gateway:
        answer = await gateway.chat("hello")
        loop = LedgerLoop(gateway.config, look=look)
        for _ in range(3):
            await loop.round()
        assert len(looked) == 1
        assert "not every witness was asked" in caplog.messages
        assert 'verismo_ledger_failures_total{reason="state"} 1' in "".join(await loop.expose())
        proof = await gateway.send("GET", f"/v1/attest/{answer.prov_id}/proof")
        assert proof.status == 200
        await loop.close()


@pytest.mark.slow
async def test_the_alarm_rings_once_and_ends(tmp_path, caplog, monkeypatch):
    now_ms = [wiring._now_ms()]
    async with running_gateway(tmp_path) as gateway:
        await gateway.chat("hello")
        log = gateway.config.data / "log"
        log.write_text("no folder")
        monkeypatch.setattr(wiring, "_now_ms", lambda: now_ms[0])
        loop = LedgerLoop(gateway.config)
        with caplog.at_level(logging.INFO, "verismo.ledger"):
            for _ in range(4):
                now_ms[0] += 50_000
                await loop.round()
            alarms = [one for one in caplog.messages if one.startswith("records wait too long")]
            assert len(alarms) == 1
            text = "".join(await loop.expose())
            delay = float(text.partition("\nverismo_ledger_delay_seconds ")[2].split("\n")[0])
            assert delay > 60
            log.unlink()
            now_ms[0] += 50_000
            await loop.round()
        assert "records no longer wait for their proof" in caplog.messages
        await loop.close()


@pytest.mark.slow
async def test_a_second_control_process_stands_by_and_takes_over(tmp_path, caplog):
    async with running_gateway(tmp_path) as gateway:
        config = configured(gateway.config, checkpoint_interval_ms=10)
        first, second = LedgerLoop(config), LedgerLoop(config)
        await first.round()
        with caplog.at_level(logging.INFO, "verismo.ledger"):
            await second.round()
        assert "standing by" in caplog.messages
        assert 'verismo_ledger_failures_total{reason="state"} 0' in "".join(await second.expose())
        await first.close()
        answer = await gateway.chat("hello")

        async def is_proven():
            await second.round()
            proof = await gateway.send("GET", f"/v1/attest/{answer.prov_id}/proof")
            return proof.status == 200

        await until(is_proven)
        await second.close()


async def test_a_revoked_log_key_signs_no_further_checkpoint_of_a_running_gateway(tmp_path):
    async with running_gateway(tmp_path) as gateway:
        config = configured(gateway.config, checkpoint_interval_ms=1)
        rotation = open_rotation(config.data, config.keys)
        loop = LedgerLoop(config)

        async def signed_by(size):
            """Return which log keys have signed the first checkpoint that is larger."""

            async def grown():
                await loop.round()
                return published()[0].size > size

            await until(grown)
            checkpoint, note = published()
            keys = [one for one in rotation.history()[-1].ring.keys if one.role == "log"]
            hashes = {one.key_hash for one in note.signatures}
            return [
                one.kid
                for one in keys
                if verifier_key(checkpoint.origin, public_key(one).raw).key_hash in hashes
            ]

        def published():
            note = FolderTiles(config.data / "log").read(HOME, "checkpoint")
            if note is None:
                return Checkpoint("", 0, EMPTY_ROOT), None
            return read_checkpoint(read_note(note).text), read_note(note)

        await gateway.chat("hello")
        [kid] = await signed_by(0)
        outcome = rotation.revoke(kid, clock_ms(), "copied")
        assert await signed_by(published()[0].size) == [outcome.key.kid]
        await loop.close()
