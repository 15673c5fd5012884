"""A thousand seeded alterations of a recorded adapt.db: each is located, and nothing else named."""

import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from tests.support import adaptdb
from tests.support.planting import KINDS, plant

from verismo.adapters.adapt_file import FILE_NAME, AdaptFile
from verismo.adapters.decisions_sqlite import SqliteDecisions, SqliteSteering
from verismo.adapters.keyring_files import KeyRingFiles
from verismo.attest.keyentry import KeyEntry
from verismo.control.decisionaudit import AuditDesk
from verismo.control.looks import Rule
from verismo.control.rotation import RingHistory
from verismo.control.rules import RULES
from verismo.wiring.decisionaudit import AuditRequest, audit_decisions, audit_with

ALTERATIONS = 1_000
BATCHES = 20
AUDITED_MS = adaptdb.NOW_MS + 3_600_000


class Original(msgspec.Struct):
    """A recorded adapt.db in one file, and what its copies are audited with.

    The key ring is verified once. A rule is asked once for each different state, observation,
    settings and time: it is pure, and an alteration of any of them is another question.
    """

    file: Path
    copy: Path
    keys: Sequence[KeyEntry]
    rules: Mapping[str, Rule]

    def audited(self):
        with closing(AdaptFile(self.copy, read_only=True)) as file:
            reader = SqliteDecisions(file)
            desk = AuditDesk(reader=reader, keys=self.keys, rules=self.rules, now_ms=AUDITED_MS)
            return audit_with(desk, SqliteSteering(file))

    def found(self):
        return {
            ("steering" if one.kind == "steering" else "record", one.n)
            for one in self.audited().mismatches
        }


def asked_once(rule):
    answers = {}

    def decide(*question):
        key = msgspec.msgpack.encode(question)
        if key not in answers:
            answers[key] = rule.decide(*question)
        return answers[key]

    return msgspec.structs.replace(rule, decide=decide)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    data = tmp_path_factory.mktemp("recorded")
    adaptdb.written(data)
    with closing(sqlite3.connect(data / FILE_NAME)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return Original(
        data / FILE_NAME,
        tmp_path_factory.mktemp("copies") / FILE_NAME,
        RingHistory(KeyRingFiles(data)).read()[-1].ring.keys,
        {name: asked_once(rule) for name, rule in RULES.items()},
    )


def alterations():
    """Return a kind and a seed for each, in batches that one process checks."""
    every = [(KINDS[number % len(KINDS)], number) for number in range(ALTERATIONS)]
    return [every[batch::BATCHES] for batch in range(BATCHES)]


@pytest.mark.slow
@pytest.mark.parametrize("batch", alterations(), ids=lambda batch: str(batch[0][1]))
def test_every_planted_alteration_is_located(original, batch):
    wrong = []
    for kind, seed in batch:
        places = plant(original.file, original.copy, kind, seed)
        found = original.found()
        if found != places:
            wrong.append((kind, seed, sorted(places), sorted(found)))
    assert not wrong


def test_alterations_are_a_thousand_of_every_kind():
    every = [one for batch in alterations() for one in batch]
    assert len(every) == len(set(every)) == ALTERATIONS
    assert {kind for kind, _ in every} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_audit_of_a_whole_folder_finds_the_same(original, kind):
    places = plant(original.file, original.copy, kind, 0)
    folder = original.file.parent
    shutil.copyfile(original.file, folder / "kept.db")
    shutil.copyfile(original.copy, original.file)
    try:
        found = audit_decisions(AuditRequest(folder, AUDITED_MS)).mismatches
    finally:
        shutil.copyfile(folder / "kept.db", original.file)
    assert {("steering" if one.kind == "steering" else "record", one.n) for one in found} == places


def test_what_is_not_altered_has_no_mismatch(original):
    shutil.copyfile(original.file, original.copy)
    audited = original.audited()
    assert not audited.mismatches
    assert audited.counts.computed == audited.counts.decisions > 15
