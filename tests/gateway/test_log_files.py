"""Reads of the public log: what is no path of a log, and a store that cannot be read."""

import base64

import pytest
from tests.support.ledger import EU, NOW_MS, Place

from verismo.attest.note import read_note
from verismo.gateway.logfiles import LogFiles
from verismo.gateway.proofs import ProofMaker
from verismo.model.errors import (
    MethodNotAllowed,
    NotFound,
    Overloaded,
    ProofPending,
    StateError,
)
from verismo.model.ids import TenantId, prov_id_from
from verismo.ports.journal import Record

BASE = f"/log/{EU.path}"


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    place.source.add(300)
    place.integrator().step(NOW_MS)
    return place


def record(place, seq_n, **changes):
    """Return the journal's record of a row that stands in the log."""
    row = place.source.lists["s0"][seq_n - 1]
    fields = {"statement": row.statement, "jws": row.jws, **changes}
    prov_id = prov_id_from(NOW_MS, b"0123456789")
    return Record("answer", seq_n, prov_id, TenantId("T"), graph=b"", **fields)


@pytest.mark.parametrize(
    "path", ["checkpoint", "tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000"]
)
def test_every_file_of_the_log_is_answered_as_it_lies_there(place, path):
    reply = LogFiles(place.tiles).answer("GET", f"{BASE}/{path}")
    assert reply.body == place.tiles.read(EU, path)
    caching = dict(reply.headers)[b"cache-control"]
    assert (b"immutable" in caching) == (path != "checkpoint")


@pytest.mark.parametrize(
    "path",
    [
        "/log/eu/2026/tile/0/0",
        "/log/eu/2026/tile/00/000",
        "/log/eu/2026/tile/0/000.p/256",
        "/log/eu/2026/tile/0/000.p/0",
        "/log/eu/2026/tile/0/x000/000",
        "/log/eu/2026/tile/64/000",
        "/log/eu/2026/checkpoint.",
        "/log/eu/2026/../2026/checkpoint",
        "/log/./2026/checkpoint",
        "/log/eu/02026/checkpoint",
        "/log/eu/\u0662026/checkpoint",
        "/log//2026/checkpoint",
        "/log/eu/2026/.lock",
    ],
)
def test_a_path_in_another_spelling_is_not_there(place, path):
    with pytest.raises(NotFound):
        LogFiles(place.tiles).answer("GET", path)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_logs_are_read_only(place, method):
    with pytest.raises(MethodNotAllowed):
        LogFiles(place.tiles).answer(method, f"{BASE}/checkpoint")


class Unreadable:
    def read(self, log, path):
        raise StateError("the disk is gone")


def test_a_folder_that_cannot_be_read_asks_to_come_back():
    with pytest.raises(Overloaded) as refusal:
        LogFiles(Unreadable()).answer("GET", f"{BASE}/checkpoint")
    assert refusal.value.retry_after_s == 5
    assert "disk" not in refusal.value.detail


def test_a_proof_is_made_for_every_record_under_the_checkpoint(place):
    maker = ProofMaker(place.store(), place.tiles)
    for seq_n in (1, 255, 256, 257, 300):
        assert maker.prove(record(place, seq_n)).startswith(b"c2sp.org/tlog-proof@v1\nindex ")


def test_a_record_with_an_index_but_no_checkpoint_is_pending(place):
    place.source.add(1)
    integrator = place.integrator(holder="b")
    integrator.step(NOW_MS + 60_000)
    place.source.add(1)
    integrator.step(NOW_MS + 60_001)
    maker = ProofMaker(place.store(), place.tiles)
    maker.prove(record(place, 301))
    with pytest.raises(ProofPending):
        maker.prove(record(place, 302))
    place.source.add(1)
    with pytest.raises(ProofPending):
        maker.prove(record(place, 303))


def test_a_proof_stands_under_the_checkpoint_with_a_quorum_where_that_covers_it(place):
    older = place.tiles.read(EU, "checkpoint")
    (place.log_folder / EU.path / "cosigned").write_bytes(older)
    place.source.add(300)
    place.integrator(holder="b").step(NOW_MS + 60_000)
    newer = place.tiles.read(EU, "checkpoint")
    maker = ProofMaker(place.store(), place.tiles)
    assert maker.prove(record(place, 300)).endswith(b"\n\n" + older)
    assert maker.prove(record(place, 301)).endswith(b"\n\n" + newer)


def test_a_checkpoint_with_a_quorum_that_cannot_be_read_takes_no_proof_away(place):
    newest = place.tiles.read(EU, "checkpoint")
    cosigned = place.log_folder / EU.path / "cosigned"
    cosigned.symlink_to(cosigned)
    with pytest.raises(StateError):
        place.tiles.read(EU, "cosigned")
    maker = ProofMaker(place.store(), place.tiles)
    assert maker.prove(record(place, 300)).endswith(b"\n\n" + newest)


def test_what_is_wrong_with_the_checkpoint_with_a_quorum_is_logged_once(place, caplog):
    cosigned = place.log_folder / EU.path / "cosigned"
    whole = place.tiles.read(EU, "checkpoint")
    maker = ProofMaker(place.store(), place.tiles)
    for content, lines in ((b"garbage", 1), (b"", 1), (whole, 1), (b"garbage", 2)):
        cosigned.write_bytes(content)
        for number in (1, 2, 300):
            maker.prove(record(place, number))
        assert len(caplog.records) == lines


@pytest.mark.parametrize("kind", ["garbage", "another root", "empty"])
def test_a_damaged_checkpoint_with_a_quorum_takes_no_proof_away(place, kind):
    newest = place.tiles.read(EU, "checkpoint")
    lines = newest.decode().split("\n")
    lines[2] = base64.b64encode(bytes(32)).decode()
    damaged = {"garbage": b"garbage", "another root": "\n".join(lines).encode(), "empty": b""}
    (place.log_folder / EU.path / "cosigned").write_bytes(damaged[kind])
    maker = ProofMaker(place.store(), place.tiles)
    assert maker.prove(record(place, 300)).endswith(b"\n\n" + newest)


def test_no_proof_stands_under_a_quorum_whose_log_key_was_revoked(place):
    older = place.tiles.read(EU, "checkpoint")
    (place.log_folder / EU.path / "cosigned").write_bytes(older)
    place.renew_key()
    place.integrator(holder="b").step(NOW_MS + 60_000)
    newer = place.tiles.read(EU, "checkpoint")
    assert newer != older
    assert read_note(newer).text == read_note(older).text
    maker = ProofMaker(place.store(), place.tiles)
    assert maker.prove(record(place, 300)).endswith(b"\n\n" + newer)


def test_the_checkpoint_with_a_quorum_is_served_beside_the_newest(place):
    files = LogFiles(place.tiles)
    with pytest.raises(NotFound):
        files.answer("GET", f"{BASE}/cosigned")
    note = place.tiles.read(EU, "checkpoint")
    (place.log_folder / EU.path / "cosigned").write_bytes(note)
    reply = files.answer("GET", f"{BASE}/cosigned")
    assert reply.body == note
    assert b"max-age=1" in dict(reply.headers)[b"cache-control"]


def test_no_proof_is_handed_out_that_does_not_verify(place):
    maker = ProofMaker(place.store(), place.tiles)
    with pytest.raises(StateError, match="no proof"):
        maker.prove(record(place, 7, jws=b"h..forged"))
    tile = place.log_folder / EU.path / "tile" / "0" / "000"
    tile.write_bytes(bytes(8_192))
    with pytest.raises(StateError, match="no proof"):
        maker.prove(record(place, 7))
    tile.unlink()
    with pytest.raises(StateError, match="no proof"):
        maker.prove(record(place, 7))
    (place.log_folder / EU.path / "checkpoint").write_bytes(b"torn")
    with pytest.raises(StateError, match="no proof"):
        maker.prove(record(place, 7))
