"""A thousand seeded alterations of a recorded adapt.db: each is located, and nothing else named."""

import shutil
import sqlite3
from contextlib import closing

import pytest
from tests.support import adaptdb
from tests.support.planting import KINDS, plant

from verismo.adapters.adapt_file import FILE_NAME
from verismo.wiring.decisionaudit import AuditRequest, audit_decisions

ALTERATIONS = 1_000
BATCHES = 20
AUDITED_MS = adaptdb.NOW_MS + 3_600_000


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A recorded adapt.db in one file, and a data folder with its key ring to put copies into."""
    data = tmp_path_factory.mktemp("recorded")
    adaptdb.written(data)
    with closing(sqlite3.connect(data / FILE_NAME)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    target = tmp_path_factory.mktemp("copies")
    shutil.copytree(data / "keyring", target / "keyring")
    return data / FILE_NAME, target


def found_in(data):
    audited = audit_decisions(AuditRequest(data, AUDITED_MS))
    return {
        ("steering" if one.kind == "steering" else "record", one.n) for one in audited.mismatches
    }, audited


def alterations():
    """Return a kind and a seed for each, in batches that one process checks."""
    every = [(KINDS[number % len(KINDS)], number) for number in range(ALTERATIONS)]
    return [every[batch::BATCHES] for batch in range(BATCHES)]


@pytest.mark.slow
@pytest.mark.parametrize("batch", alterations(), ids=lambda batch: str(batch[0][1]))
def test_every_planted_alteration_is_located(original, batch):
    file, data = original
    wrong = []
    for kind, seed in batch:
        places = plant(file, data / FILE_NAME, kind, seed)
        found, audited = found_in(data)
        if found != places:
            wrong.append((kind, seed, sorted(places), sorted(found), audited.mismatches))
    assert not wrong


def test_alterations_are_a_thousand_of_every_kind():
    every = [one for batch in alterations() for one in batch]
    assert len(every) == len(set(every)) == ALTERATIONS
    assert {kind for kind, _ in every} == set(KINDS)


def test_what_is_not_altered_has_no_mismatch(original):
    file, data = original
    shutil.copyfile(file, data / FILE_NAME)
    found, audited = found_in(data)
    assert not found
    assert audited.counts.computed == audited.counts.decisions > 15
