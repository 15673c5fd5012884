"""The controllers' loop: what is recorded, published and told, and what a crash anywhere leaves."""

import sqlite3
from contextlib import closing

import msgspec
import pytest
from tests.support.adaptloop import (
    BASE,
    ISSUER,
    NOW_MS,
    RULE,
    SUBJECT,
    ActingShell,
    AdaptSite,
    act,
)

from verismo.attest.controlrecord import NO_RECORD, check_follows, open_record
from verismo.attest.steeringdoc import open_steering
from verismo.model import canonical
from verismo.model.decision import Decision, Subject, encode_decision
from verismo.model.errors import DecisionStale, MalformedRequest, NotFound, StateError
from verismo.ports.ledger import LeaseElsewhere

ROUND_MS = 500
LEASE_MS = 5_000


class Killed(BaseException):
    """The process is gone."""


class Dying:
    """A store whose process is killed before or after a write; the rest is the store's own."""

    def __init__(self, store, call: str, *, after: bool, which: int = 1) -> None:
        self._store = store
        self._call = call
        self._after = after
        self._left = which

    def __getattr__(self, name):
        found = getattr(self._store, name)
        if name != self._call:
            return found

        def dying(*args):
            self._left -= 1
            if self._left:
                return found(*args)
            if self._after:
                found(*args)
            raise Killed

        return dying


@pytest.fixture
def site(tmp_path):
    made = AdaptSite(tmp_path / "adapt.db")
    yield made
    made.close()


def kinds(site):
    return [(one.kind, one.rule, one.verdict or one.result, one.steering) for one in site.records()]


DECIDED = ("decision", "canary", "PROMOTE", 0)
PUBLISHED = ("outcome", "steering", "published", 1)


def test_a_decision_is_recorded_published_and_answered_in_one_round(site):
    loop, shell = site.process("a")
    shell.wishes = [50_000]
    progress = loop.round(NOW_MS)
    assert (progress.steering, progress.published) == (1, True)
    assert kinds(site) == [DECIDED, PUBLISHED]
    row = site.steering.newest()
    steering = open_steering(row.statement, row.jws, site.keys)
    assert [one.weight_ppm for one in steering.rollouts] == [50_000]
    assert (steering.version, steering.base, steering.iss) == (1, BASE, ISSUER)
    assert [one.verdict for one in shell.seen] == ["PROMOTE"]


def test_every_record_is_signed_linked_and_names_bytes_from_which_it_is_computed_again(site):
    loop, shell = site.process("a")
    shell.wishes = [50_000, 200_000, 200_000]
    for at in range(3):
        loop.round(NOW_MS + at * ROUND_MS)
    previous = None
    for row in site.decisions.rows(0, 100):
        record = open_record(row.statement, row.jws, site.keys)
        check_follows(previous, record)
        previous = row.statement
        for digest in record.named:
            assert canonical.digest(site.decisions.blob(digest)) == digest
        if record.kind == "decision":
            state = canonical.decode(site.decisions.blob(record.before), RULE.state)
            seen = canonical.decode(site.decisions.blob(record.inputs), RULE.observation)
            settings = canonical.decode(site.decisions.blob(record.settings), RULE.settings)
            kept = site.decisions.blob(record.decision)
            at_ms = canonical.decode(kept, Decision[RULE.state]).at_ms
            assert encode_decision(RULE.decide(state, seen, settings, at_ms)) == kept
    assert site.steering.version() == 2
    assert len(site.records()) == 5


def test_a_round_in_which_nothing_is_due_writes_nothing(site):
    loop, _ = site.process("a")
    assert loop.round(NOW_MS).decisions == ()
    assert (site.records(), site.steering.version()) == ([], 0)


def test_a_decision_that_changes_nothing_is_recorded_and_not_published(site):
    loop, shell = site.process("a")
    shell.wishes = [50_000, 50_000]
    loop.round(NOW_MS)
    loop.round(NOW_MS + ROUND_MS)
    assert kinds(site)[2:] == [("decision", "canary", "CONTINUE", 1)]
    assert site.steering.version() == 1


class TestCrashes:
    """Each crash is a process that is killed; another one goes on from what is in the file."""

    def restarted(self, site):
        loop, shell = site.process("b")
        loop.round(NOW_MS + LEASE_MS)
        return loop, shell

    def killed(self, site, call, *, after, which=1):
        loop, shell = site.process(
            "a", wrap=lambda store: Dying(store, call, after=after, which=which)
        )
        shell.wishes = [50_000]
        with pytest.raises(Killed):
            loop.round(NOW_MS)

    def test_before_the_record_nothing_was_decided(self, site):
        self.killed(site, "append", after=False)
        self.restarted(site)
        assert (site.records(), site.steering.version()) == ([], 0)

    def test_recorded_and_not_published_is_published_by_the_next_round(self, site):
        self.killed(site, "append", after=True)
        assert (kinds(site), site.steering.version()) == ([DECIDED], 0)
        self.restarted(site)
        assert kinds(site) == [DECIDED, PUBLISHED]

    def test_killed_before_the_publication_it_is_published_by_the_next_round(self, site):
        self.killed(site, "publish", after=False)
        self.restarted(site)
        assert kinds(site) == [DECIDED, PUBLISHED]

    def test_published_without_an_outcome_is_recorded_as_found(self, site):
        self.killed(site, "publish", after=True)
        assert (kinds(site), site.steering.version()) == ([DECIDED], 1)
        self.restarted(site)
        assert kinds(site) == [DECIDED, ("outcome", "steering", "found", 1)]
        assert site.records()[1].of == canonical.digest(site.decisions.rows(0, 1)[0].statement)

    def test_killed_after_the_outcome_nothing_is_left_to_do(self, site):
        self.killed(site, "append", after=True, which=2)
        loop, shell = self.restarted(site)
        loop.round(NOW_MS + LEASE_MS + ROUND_MS)
        assert kinds(site) == [DECIDED, PUBLISHED]
        assert shell.seen == []

    def test_a_process_whose_write_failed_goes_on_by_itself_and_tells_once(self, site):
        loop, shell = site.process("a")
        shell.wishes = [50_000]
        loop.round(NOW_MS)
        with closing(sqlite3.connect(site.path, isolation_level=None)) as other:
            other.execute(
                "CREATE TRIGGER full BEFORE INSERT ON steering "
                "BEGIN SELECT RAISE(ABORT, 'disk full'); END"
            )
            shell.wishes = [200_000]
            with pytest.raises(StateError, match="disk full"):
                loop.round(NOW_MS + ROUND_MS)
            other.execute("DROP TRIGGER full")
        assert len(shell.seen) == 1
        loop.round(NOW_MS + 2 * ROUND_MS)
        assert [one.state.weight_ppm for one in shell.seen] == [50_000, 200_000]
        assert site.steering.version() == 2


class TestTwoLoops:
    def test_the_second_one_stands_by_until_the_lease_runs_out(self, site):
        (first, _), (second, shell) = site.process("a"), site.process("b")
        first.round(NOW_MS)
        shell.wishes = [50_000]
        with pytest.raises(LeaseElsewhere, match="a decides"):
            second.round(NOW_MS + LEASE_MS - 1)
        assert site.records() == []
        second.round(NOW_MS + LEASE_MS)
        assert kinds(site) == [DECIDED, PUBLISHED]

    def test_one_that_wakes_up_after_its_lease_went_elsewhere_changes_nothing(self, site):
        (first, sleeping), (second, shell) = site.process("a"), site.process("b")
        first.round(NOW_MS)
        second.round(NOW_MS + LEASE_MS)
        sleeping.wishes = [999_999]
        with pytest.raises(LeaseElsewhere):
            # Its own clock stood still: it believes that the lease is its own.
            first.round(NOW_MS + 1)
        assert (site.records(), site.steering.version()) == ([], 0)
        shell.wishes = [50_000]
        second.round(NOW_MS + LEASE_MS + ROUND_MS)
        assert kinds(site) == [DECIDED, PUBLISHED]

    def test_one_that_gives_up_its_lease_lets_the_other_go_on_at_once(self, site):
        (first, shell), (second, other) = site.process("a"), site.process("b")
        shell.wishes = [50_000]
        first.round(NOW_MS)
        first.release()
        other.wishes = [200_000]
        second.round(NOW_MS + 1)
        assert [one.steering for one in site.records()] == [0, 1, 1, 2]
        check_follows(*_last_two(site))

    def test_a_clock_that_stepped_back_far_does_not_lock_everybody_out(self, site):
        (first, _), (second, shell) = site.process("a"), site.process("b")
        first.round(NOW_MS + 400 * 86_400_000)
        shell.wishes = [50_000]
        second.round(NOW_MS)
        assert kinds(site) == [DECIDED, PUBLISHED]


def _last_two(site):
    rows = site.decisions.rows(0, 100)
    return rows[-2].statement, site.records()[-1]


class TestActs:
    def test_an_act_is_recorded_with_what_it_overrides_and_published_when_it_returns(self, site):
        loop, shell = site.process("a")
        shell.wishes = [50_000]
        [before] = loop.round(NOW_MS).decisions
        done = loop.take(act(before.digest), NOW_MS + 1)
        assert (done.record.rule, done.record.of) == ("canary-act", before.digest)
        assert site.steering.version() == 2
        assert kinds(site)[-1] == ("outcome", "steering", "published", 2)
        kept = canonical.decode(site.decisions.blob(done.record.inputs), type(act("")))
        assert (kept.actor, kept.reason) == ("ops", "the release is tested")

    def test_an_act_on_a_decision_that_is_no_longer_the_newest_changes_nothing(self, site):
        loop, shell = site.process("a")
        shell.wishes = [50_000, 60_000]
        [before] = loop.round(NOW_MS).decisions
        loop.round(NOW_MS + ROUND_MS)
        held = kinds(site)
        with pytest.raises(DecisionStale):
            loop.take(act(before.digest), NOW_MS + 2 * ROUND_MS)
        assert kinds(site) == held

    @pytest.mark.parametrize(
        ("fields", "error"),
        [
            ({"controller": "budget"}, MalformedRequest),
            ({"reason": "   short   "}, MalformedRequest),
            ({"reason": "x" * 1_001}, MalformedRequest),
            ({"subject": Subject(operation="other")}, NotFound),
        ],
    )
    def test_an_act_that_makes_no_sense_is_refused(self, site, fields, error):
        loop, _ = site.process("a")
        with pytest.raises(error):
            loop.take(act("", **fields), NOW_MS)
        assert site.records() == []

    def test_where_another_process_decides_an_act_is_refused_and_names_it(self, site):
        (first, _), (second, _) = site.process("a"), site.process("b")
        first.round(NOW_MS)
        with pytest.raises(LeaseElsewhere, match="a decides"):
            second.take(act(""), NOW_MS + 1)


class TestShellsThatAct:
    @pytest.fixture
    def site(self, tmp_path):
        made = AdaptSite(tmp_path / "adapt.db", ActingShell)
        yield made
        made.close()

    def test_what_came_of_it_is_an_outcome_that_names_the_record(self, site):
        loop, shell = site.process("a")
        shell.wishes = [50_000]
        [done] = loop.round(NOW_MS).decisions
        last = site.records()[-1]
        assert (last.kind, last.rule, last.result) == ("outcome", "canary", "done")
        assert (last.of, last.subject) == (done.statement, SUBJECT)

    def test_an_outcome_hides_no_decision_from_the_shell(self, site):
        loop, shell = site.process("a")
        shell.wishes = [50_000, 50_000]
        loop.round(NOW_MS)
        [second] = loop.round(NOW_MS + ROUND_MS).decisions
        assert second.decision.verdict == "CONTINUE"

    def test_nothing_done_leaves_no_outcome(self, site):
        loop, shell = site.process("a")
        shell.result, shell.wishes = "none", [50_000]
        loop.round(NOW_MS)
        assert kinds(site) == [DECIDED, PUBLISHED]


class TestFaults:
    def test_a_shell_that_sees_nothing_fails_the_round_and_keeps_the_lease(self, site):
        loop, shell = site.process("a")
        shell.failure = StateError("windows.db cannot be read")
        assert "windows" in loop.round(NOW_MS).failure.detail
        assert loop.token
        shell.failure, shell.wishes = None, [50_000]
        loop.round(NOW_MS + ROUND_MS)
        assert kinds(site) == [DECIDED, PUBLISHED]

    def test_a_number_that_cannot_be_signed_is_refused_and_nothing_is_written(self, site):
        loop, shell = site.process("a")
        shell.wishes = [0.5]
        assert "a float cannot be signed" in loop.round(NOW_MS).failure.detail
        assert site.records() == []

    def test_a_look_poisoned_with_an_unsignable_number_stops_no_other_controller(self, site):
        loop, shell = site.process("a")
        shell.poison, shell.wishes = [0.5], [50_000]
        done = loop.round(NOW_MS)
        assert "a float cannot be signed" in done.failure.detail
        assert kinds(site) == [DECIDED, PUBLISHED]
        assert loop.token

    def test_a_last_record_that_was_altered_stops_the_sequence(self, site):
        loop, shell = site.process("a")
        shell.wishes = [50_000]
        loop.round(NOW_MS)
        loop.release()
        _alter(site.path, "record", "statement", b'"verdict":""', b'"verdict":" "')
        loop, shell = site.process("b")
        with pytest.raises(StateError, match="cannot be believed") as refusal:
            loop.round(NOW_MS + ROUND_MS)
        assert "verismo audit" in refusal.value.advice

    def test_steering_that_was_altered_is_taken_back_by_the_next_version(self, site):
        loop, shell = site.process("a")
        shell.wishes = [50_000]
        loop.round(NOW_MS)
        loop.release()
        _alter(site.path, "steering", "statement", b"50000", b"90000")
        row = site.steering.newest()
        loop, _ = site.process("b")
        loop.round(NOW_MS + ROUND_MS)
        row = site.steering.newest()
        assert row.version == 2
        steering = open_steering(row.statement, row.jws, site.keys)
        assert [one.weight_ppm for one in steering.rollouts] == [50_000]

    def test_another_configuration_is_told_its_own_steering(self, site):
        loop, shell = site.process("a")
        shell.wishes = [50_000]
        loop.round(NOW_MS)
        loop.release()
        loop, _ = site.process("b", base="c" * 64)
        loop.round(NOW_MS + ROUND_MS)
        row = site.steering.newest()
        assert (row.version, open_steering(row.statement, row.jws, site.keys).base) == (2, "c" * 64)

    def test_a_key_that_was_revoked_since_does_not_stop_the_sequence(self, site):
        loop, shell = site.process("a")
        shell.wishes = [50_000]
        loop.round(NOW_MS)
        loop.release()
        site.rotation.revoke(site.plan_kid, NOW_MS + 1, "stolen", NOW_MS + 1)
        loop, _ = site.process("b")
        loop.round(NOW_MS + LEASE_MS)
        # Gateways refuse what the revoked key signed, so they are told the same by the next one.
        row = site.steering.newest()
        assert row.version == 2
        assert open_steering(row.statement, row.jws, site.keys).version == 2


def test_the_first_record_follows_nothing(site):
    loop, shell = site.process("a")
    shell.wishes = [50_000]
    loop.round(NOW_MS)
    assert site.records()[0].prev == NO_RECORD


def _alter(path, table, column, before, after):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"DROP TRIGGER {table}_never_changes")
        rows = connection.execute(f"SELECT rowid, {column} FROM {table}").fetchall()
        found = [(rowid, content) for rowid, content in rows if before in content]
        assert found, msgspec.json.encode([content.decode() for _, content in rows])
        rowid, content = found[-1]
        connection.execute(
            f"UPDATE {table} SET {column} = ? WHERE rowid = ?",
            (content.replace(before, after), rowid),
        )
