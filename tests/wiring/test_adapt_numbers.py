"""No number of a decision or of the steering is given out twice, whatever became of adapt.db."""

import time
from contextlib import closing

import pytest
from tests.support.adaptdb import act_of
from tests.support.rolloutsite import write_site

from verismo.adapters.adapt_file import FILE_NAME
from verismo.adapters.ledger_sqlite import FILE_NAME as LEDGER_NAME
from verismo.adapters.ledger_sqlite import SqliteLedger
from verismo.attest.controlrecord import NUMBERS_PER_S
from verismo.config.load import load_config
from verismo.wiring.adapt import AdaptLoop
from verismo.wiring.decisionaudit import AuditRequest, audit_decisions
from verismo.wiring.firststart import prepare_data
from verismo.wiring.ledger import LedgerLoop
from verismo.wiring.ledgertools import LedgerTools

pytestmark = pytest.mark.slow
"""Each test makes a data folder with keys."""

LOST = "adapt.db has lost records"


class Site:
    """A data folder whose controllers and ledger are started and ended by a test."""

    def __init__(self, folder):
        self.config = load_config(write_site(folder), {})
        self.data = self.config.data
        prepare_data(self.data, self.config.keys)
        self.now_ms = time.time_ns() // 1_000_000

    async def decide(self, verb="start", of=""):
        """Start the controllers, do an act, end them; returns what it came to."""
        self.now_ms += 1_000
        loop = AdaptLoop(self.config, lambda: self.now_ms)
        try:
            return await loop.take(lambda at_ms: act_of(verb, at_ms, of=of))
        finally:
            await loop.close()

    async def integrate(self):
        loop = LedgerLoop(self.config)
        await loop.round()
        await loop.close()

    def move(self, name, after):
        """Rename the database and what SQLite keeps beside it."""
        for end in ("", "-wal", "-shm"):
            if (self.data / f"{name}{end}").exists():
                (self.data / f"{name}{end}").rename(self.data / f"{after}{end}")

    def cursors(self):
        with closing(SqliteLedger(self.data / LEDGER_NAME, read_only=True)) as ledger:
            found = ledger.cursors()
        return found["@decisions"], found["@steering"]

    def set_cursors(self, **cursors):
        with closing(SqliteLedger(self.data / LEDGER_NAME)) as ledger:
            token = ledger.acquire("test", self.now_ms, 60_000)
            ledger.assign(token, (), {f"@{name}": n for name, n in cursors.items()})
            ledger.release(token)

    def mismatches(self):
        found = audit_decisions(AuditRequest(self.data, self.now_ms + 1_000)).mismatches
        return [(one.n, one.kind, one.detail) for one in found]

    def findings(self):
        with closing(LedgerTools(self.config)) as tools:
            return [(one.kind, one.detail) for one in tools.audit(lambda _: None)]


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def told(caplog):
    return [one.fields for one in caplog.records if one.message == LOST]


async def test_numbers_begin_at_1_where_the_ledger_has_none(site, caplog):
    first = await site.decide()
    assert (first.n, first.steering) == (1, 1)
    assert told(caplog) == []


async def test_a_new_file_goes_on_after_the_ledgers_numbers_and_gets_leaves(site, caplog):
    await site.decide()
    await site.integrate()
    assert site.cursors() == (2, 1)
    site.move(FILE_NAME, "old.db")
    again = await site.decide()
    passed = site.now_ms // 1_000 * NUMBERS_PER_S
    assert (again.n, again.steering) == (passed + 1, passed + 1)
    [fields] = told(caplog)
    assert (fields["last"], fields["in_ledger"], fields["goes_on_after"]) == (0, 2, passed)
    await site.integrate()
    assert site.cursors() == (passed + 2, passed + 1)


async def test_lost_records_are_named_by_both_audits_for_good_and_nothing_else_is(site):
    await site.decide()
    await site.integrate()
    site.move(FILE_NAME, "old.db")
    await site.decide()
    await site.integrate()
    [lost] = site.mismatches()
    assert lost == (1, "missing", "the ledger has a leaf of record 1, which is not there")
    kinds, details = zip(*site.findings(), strict=True)
    assert kinds == ("missing",) * 3
    assert [detail.split(" is of ")[1].split(",")[0] for detail in details] == [
        "@decisions 1",
        "@decisions 2",
        "@steering 1",
    ]


async def test_lost_records_are_named_before_the_first_new_one(site):
    await site.decide()
    await site.integrate()
    site.move(FILE_NAME, "old.db")
    loop = AdaptLoop(site.config, lambda: site.now_ms)
    await loop.round()
    await loop.close()
    assert [one[:2] for one in site.mismatches()] == [(1, "missing")]


async def test_it_is_told_once_and_a_later_start_goes_on_where_it_was(site, caplog):
    await site.decide()
    await site.integrate()
    site.move(FILE_NAME, "old.db")
    again = await site.decide()
    stopped = await site.decide("stop", of=again.digest)
    assert len(told(caplog)) == 1
    assert stopped.n == again.n + 2


async def test_an_old_copy_goes_on_after_what_the_ledger_has_of_its_successor(site, caplog):
    first = await site.decide()
    await site.integrate()
    site.move(FILE_NAME, "old.db")
    between = await site.decide()
    await site.integrate()
    site.move(FILE_NAME, "between.db")
    site.move("old.db", FILE_NAME)
    after = await site.decide("stop", of=first.digest)
    assert after.n > between.n + 1
    assert after.steering > between.steering
    assert [fields["last"] for fields in told(caplog)] == [0, 2]


async def test_a_file_that_has_what_the_ledger_has_goes_on_as_it_was(site, caplog):
    first = await site.decide()
    await site.integrate()
    next_one = await site.decide("stop", of=first.digest)
    assert next_one.n == 3
    assert told(caplog) == []
    assert site.mismatches() == []
    await site.integrate()
    assert site.findings() == []


async def test_versions_of_the_steering_alone_are_passed_too(site, caplog):
    site.set_cursors(steering=7)
    again = await site.decide()
    assert again.steering == site.now_ms // 1_000 * NUMBERS_PER_S + 1
    assert len(told(caplog)) == 1


async def test_a_clock_that_was_set_back_is_not_believed_against_the_ledger(site):
    high = (site.now_ms // 1_000 + 86_400) * NUMBERS_PER_S + 5
    site.set_cursors(decisions=high, steering=1)
    again = await site.decide()
    assert again.n == high - 5 + NUMBERS_PER_S + 1


async def test_an_empty_file_beside_a_ledger_that_cannot_be_read_decides_nothing(site, caplog):
    (site.data / LEDGER_NAME).write_bytes(b"no database" * 100)
    loop = AdaptLoop(site.config, lambda: site.now_ms)
    await loop.round()
    [failed] = [one for one in caplog.records if one.message == "the controllers failed"]
    assert "the ledger cannot be asked" in failed.fields["error"]
    assert failed.fields["next"]
    assert loop.decisions.last() == 0
    (site.data / LEDGER_NAME).unlink()
    done = await loop.take(lambda at_ms: act_of("start", at_ms, of=""))
    assert done.n == 1
    await loop.close()


async def test_a_file_with_records_goes_on_beside_a_ledger_that_cannot_be_read(site):
    first = await site.decide()
    (site.data / LEDGER_NAME).write_bytes(b"no database" * 100)
    assert (await site.decide("stop", of=first.digest)).n == 3
