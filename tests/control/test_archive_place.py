"""Days go only to the archive that holds the days before them, so that it can be restored."""

import shutil

import pytest
from tests.support.archived import DAY_MS, EU, ISSUER, US, Gateway, at, day

from verismo.adapters.archive_folder import FolderArchive
from verismo.control import dayfiles
from verismo.control.archiveddays import ArchiveReader
from verismo.control.dayrollup import make_rollup
from verismo.control.rollups import Rollups, Vaulted, archive_log
from verismo.model.errors import IntegrityError, StateError
from verismo.model.ledger import origin_of
from verismo.model.retention import compliance_lock
from verismo.ports.archive import ArchiveUnreachable, ArchiveUnusable

pytestmark = pytest.mark.slow

FIRST, SECOND, THIRD = day("2026-11-20"), day("2026-11-21"), day("2026-11-22")
MORNING = at("2026-11-20 09:00")
NOW = at("2026-11-23 09:00")
ORIGIN = origin_of(ISSUER, EU)


def morning_after(which) -> int:
    return at(f"{which} 09:00") + DAY_MS


@pytest.fixture
async def gateway(tmp_path):
    made = Gateway(tmp_path / "data", MORNING)
    for number in range(3):
        await made.serve(3, MORNING + number * DAY_MS)
        made.integrate(MORNING + number * DAY_MS + 10_000)
    yield made
    made.close()


@pytest.fixture
def vaulted(tmp_path):
    return archive_at(tmp_path / "archive")


@pytest.fixture
def other(tmp_path):
    return archive_at(tmp_path / "other")


def archive_at(folder) -> Vaulted:
    return Vaulted(FolderArchive(folder), compliance_lock)


def bring_up(gateway, vaulted, until):
    """Do what the control process has done by the morning after a day."""
    return Rollups(gateway.desk(), vaulted).step(morning_after(until))


def restorable(vaulted):
    """Return the days of the log, each of which follows the one before."""
    return [one.day for one in ArchiveReader(vaulted.archive).days(ORIGIN)]


def lose_rollups(gateway, tmp_path):
    (gateway.folder / "rollups").rename(tmp_path / "aside")


def everything(vaulted):
    return list(vaulted.archive.names(""))


async def test_days_after_those_of_another_archive_are_refused(gateway, vaulted, other):
    bring_up(gateway, vaulted, SECOND)
    make_rollup(gateway.desk(), EU, THIRD, morning_after(THIRD))
    with pytest.raises(StateError, match="up to 2026-11-21 lie in a folder that") as refused:
        archive_log(gateway.desk(), other, EU, NOW)
    assert "archive-failing" in refused.value.advice
    assert everything(other) == []
    assert gateway.rollups.proofs(EU, THIRD) is None


async def test_archive_without_the_days_of_before_is_told_while_nothing_waits(
    gateway, vaulted, other
):
    bring_up(gateway, vaulted, SECOND)
    with pytest.raises(StateError, match="holds no day of it"):
        archive_log(gateway.desk(), other, EU, NOW)
    with pytest.raises(StateError, match="holds no day of it"):
        Rollups(gateway.desk(), other).step(morning_after(SECOND))


async def test_archive_that_ends_before_the_days_that_were_uploaded_is_refused(
    gateway, vaulted, other, tmp_path
):
    bring_up(gateway, vaulted, FIRST)
    shutil.copytree(tmp_path / "archive", tmp_path / "other")
    bring_up(gateway, vaulted, SECOND)
    with pytest.raises(StateError, match="which ends with 2026-11-20"):
        archive_log(gateway.desk(), other, EU, NOW)


async def test_copy_of_the_archive_is_gone_on_with(gateway, vaulted, other, tmp_path):
    bring_up(gateway, vaulted, SECOND)
    shutil.copytree(tmp_path / "archive", tmp_path / "other")
    bring_up(gateway, other, THIRD)
    assert restorable(other) == [FIRST, SECOND, THIRD]


async def test_days_that_were_never_uploaded_go_to_an_empty_archive(gateway, vaulted):
    bring_up(gateway, None, SECOND)
    bring_up(gateway, vaulted, THIRD)
    assert restorable(vaulted) == [FIRST, SECOND, THIRD]


async def test_rollups_set_aside_are_all_made_anew_for_an_empty_archive(
    gateway, vaulted, other, tmp_path
):
    bring_up(gateway, vaulted, SECOND)
    lose_rollups(gateway, tmp_path)
    bring_up(gateway, other, THIRD)
    assert restorable(other) == [FIRST, SECOND, THIRD]


async def test_lost_rollups_are_not_begun_anew_beside_those_of_the_archive(
    gateway, vaulted, tmp_path
):
    bring_up(gateway, vaulted, SECOND)
    lose_rollups(gateway, tmp_path)
    before = everything(vaulted)
    with pytest.raises(StateError, match="go on to 2026-11-21") as refused:
        bring_up(gateway, vaulted, THIRD)
    assert "ledger-restore" in refused.value.advice
    # Not even on this machine: the day would stand in the way of the right one.
    assert gateway.rollups.days(EU) == []
    assert everything(vaulted) == before


async def test_rollup_that_was_begun_anew_by_hand_is_not_uploaded(gateway, vaulted, tmp_path):
    bring_up(gateway, vaulted, SECOND)
    lose_rollups(gateway, tmp_path)
    make_rollup(gateway.desk(), EU, THIRD, morning_after(THIRD))
    before = everything(vaulted)
    with pytest.raises(StateError, match="go on to 2026-11-21"):
        archive_log(gateway.desk(), vaulted, EU, NOW)
    # The old ones beside it do not make it follow them.
    for which in (FIRST, SECOND):
        kept = tmp_path / "aside" / "eu" / "2026" / which.isoformat()
        shutil.copytree(kept, gateway.folder / "rollups" / "eu" / "2026" / which.isoformat())
    with pytest.raises(StateError, match="does not follow the one before it"):
        archive_log(gateway.desk(), vaulted, EU, NOW)
    assert everything(vaulted) == before
    # Once it is out of the way too, the day is made again and follows.
    shutil.rmtree(gateway.folder / "rollups" / "eu" / "2026" / THIRD.isoformat())
    bring_up(gateway, vaulted, THIRD)
    assert restorable(vaulted) == [FIRST, SECOND, THIRD]


async def test_rollups_without_their_beginning_are_not_uploaded_to_an_empty_archive(
    gateway, other, tmp_path
):
    bring_up(gateway, None, SECOND)
    shutil.rmtree(gateway.folder / "rollups" / "eu" / "2026" / FIRST.isoformat())
    with pytest.raises(StateError, match="begin with 2026-11-21"):
        archive_log(gateway.desk(), other, EU, NOW)
    assert everything(other) == []


async def test_another_gateways_day_in_the_same_place_is_refused(gateway, vaulted, tmp_path):
    bring_up(gateway, None, FIRST)
    name = dayfiles.day_prefix(ORIGIN, FIRST) + dayfiles.ROLLUP
    vaulted.archive.put(name, b"another gateway's", compliance_lock(FIRST))
    before = everything(vaulted)
    with pytest.raises(IntegrityError, match=r"rollup\.dsse\.json of the archive is not the one"):
        archive_log(gateway.desk(), vaulted, EU, NOW)
    assert everything(vaulted) == before


async def test_answers_of_the_archive_are_asked_for_again(gateway, vaulted):
    bring_up(gateway, vaulted, SECOND)
    (gateway.folder / "rollups" / "eu" / "2026" / FIRST.isoformat() / "uploads.json").unlink()
    assert archive_log(gateway.desk(), vaulted, EU, NOW)
    assert gateway.rollups.proofs(EU, FIRST) is not None
    assert archive_log(gateway.desk(), vaulted, EU, NOW) == ()


async def begin_last_years_log(gateway, vaulted):
    """Leave a log behind whose year is over and every day uploaded."""
    Rollups(gateway.desk(), vaulted).step(morning_after(THIRD))
    await gateway.serve(1, at("2026-12-31 09:00"))
    gateway.integrate(at("2026-12-31 09:01"))
    Rollups(gateway.desk(), vaulted).step(at("2027-01-01 09:00"))


def remove_unlocked(vaulted, now_ms):
    for name in everything(vaulted):
        vaulted.archive.remove(name, now_ms)


async def test_log_of_a_past_year_may_be_deleted_once_its_locks_have_run_out(gateway, vaulted):
    await begin_last_years_log(gateway, vaulted)
    end = at("2034-01-10 09:00")
    remove_unlocked(vaulted, end)
    assert everything(vaulted) == []
    assert archive_log(gateway.desk(), vaulted, EU, end) == ()
    assert Rollups(gateway.desk(), vaulted).step(end) == []


async def test_days_that_are_locked_still_are_missed(gateway, vaulted, other):
    await begin_last_years_log(gateway, vaulted)
    with pytest.raises(StateError, match="holds no day of it"):
        archive_log(gateway.desk(), other, EU, at("2034-01-07 09:00"))


async def test_day_that_waits_is_not_sent_where_the_days_before_were_deleted(gateway, vaulted):
    await begin_last_years_log(gateway, vaulted)
    end = at("2034-01-10 09:00")
    remove_unlocked(vaulted, end)
    (gateway.folder / "rollups" / "eu" / "2026" / "2026-12-31" / "uploads.json").unlink()
    with pytest.raises(StateError, match="holds no day of it"):
        archive_log(gateway.desk(), vaulted, EU, end)
    assert everything(vaulted) == []


class Counted(FolderArchive):
    """Counts how often it is asked for names, which costs a bucket many requests."""

    asked = 0

    def names(self, prefix):
        self.asked += 1
        return super().names(prefix)


async def test_archive_is_asked_once_and_before_uploads_and_not_every_minute(gateway, tmp_path):
    archive, placed = Counted(tmp_path / "archive"), set()
    for minute in range(3):
        rollups = Rollups(gateway.desk(), Vaulted(archive, compliance_lock), placed)
        rollups.step(morning_after(FIRST) + minute * 60_000)
    # Before the first rollup is made, and before it is uploaded.
    assert archive.asked == 2
    rollups.step(morning_after(SECOND))
    assert archive.asked == 3


async def test_log_that_is_refused_does_not_hold_up_the_others(gateway, vaulted, other, tmp_path):
    bring_up(gateway, vaulted, SECOND)
    await gateway.serve(2, morning_after(SECOND), region="us")
    gateway.integrate(morning_after(SECOND) + 10_000)
    with pytest.raises(StateError, match=ORIGIN):
        bring_up(gateway, other, THIRD)
    assert gateway.rollups.days(US) == [THIRD]
    assert gateway.rollups.proofs(US, THIRD) is not None


class Away(FolderArchive):
    """Answers nothing."""

    error = ArchiveUnreachable("no route")

    def put(self, name, content, lock):
        raise self.error

    def find(self, name):
        raise self.error

    def names(self, prefix):
        raise self.error


class Refusing(Away):
    error = ArchiveUnusable("expired", next_step="Renew the credentials.")


@pytest.mark.parametrize("kind", [Away, Refusing])
async def test_days_wait_on_this_machine_while_the_archive_is_away_from_the_start_on(
    gateway, vaulted, tmp_path, kind
):
    bring_up(gateway, vaulted, FIRST)
    with pytest.raises(StateError, match=kind.error.detail):
        bring_up(gateway, Vaulted(kind(tmp_path / "archive"), compliance_lock), THIRD)
    assert gateway.rollups.days(EU) == [FIRST, SECOND, THIRD]
    assert gateway.rollups.proofs(EU, SECOND) is None
    assert bring_up(gateway, vaulted, THIRD) == []
    assert restorable(vaulted) == [FIRST, SECOND, THIRD]


async def test_log_without_a_day_waits_for_the_archive_that_may_have_its_days(
    gateway, vaulted, tmp_path
):
    bring_up(gateway, vaulted, FIRST)
    lose_rollups(gateway, tmp_path)
    with pytest.raises(ArchiveUnreachable):
        bring_up(gateway, Vaulted(Away(tmp_path / "archive"), compliance_lock), SECOND)
    assert gateway.rollups.days(EU) == []


async def test_misplaced_log_makes_no_day_while_its_archive_answers(gateway, vaulted, other):
    bring_up(gateway, vaulted, FIRST)
    with pytest.raises(StateError, match="holds no day of it"):
        bring_up(gateway, other, SECOND)
    assert gateway.rollups.days(EU) == [FIRST]
