"""The shell of budgets with the real loop, records and rules, and a clock of the test's own."""

from collections.abc import Sequence
from contextlib import closing

import msgspec
import pytest
from tests.support.adaptdb import NOW_MS, AdaptFolder

from verismo.adapt.budget import BudgetState
from verismo.adapt.budgetlimit import HOUR_MS, HOURS_MAX
from verismo.adapters.keyring_files import KeyRingFiles
from verismo.control.budget import BudgetShell, BudgetTerms
from verismo.control.budgetrecords import BudgetRecords
from verismo.control.decisionaudit import AuditDesk, DecisionAudit
from verismo.control.loop import Loop, LoopDesk, LoopSettings
from verismo.control.rotation import RingHistory
from verismo.control.rules import RULES
from verismo.control.windowreads import WindowReads
from verismo.model.act import Act
from verismo.model.decision import Subject
from verismo.model.errors import DecisionStale, MalformedRequest, NotFound
from verismo.model.ids import OperationId, TenantId
from verismo.model.operation import Operation
from verismo.model.plan import PLAN_VERSION, Plan
from verismo.model.tenant import Tenant
from verismo.ports.windows import Interval, RouteSpend, Written

ROUTE = Subject(tenant="T1", operation="chat")
DAY_USD_MICROS = 20_000_000
CAP = 1_000_000
"""A twentieth of the day in a minute."""
BIN_MS = 10_000
START_MS = NOW_MS // HOUR_MS * HOUR_MS + HOUR_MS


pytestmark = pytest.mark.slow


def plan(budget=DAY_USD_MICROS):
    tenant = Tenant(
        TenantId("T1"), "us", ("any",), ("*",), "observe", budget_usd_micros_per_day=budget
    )
    operation = Operation(
        id=OperationId("chat"), name="chat", kind="chat", purpose="any", deployments=()
    )
    return Plan(PLAN_VERSION, "me", {tenant.id: tenant}, {}, {}, {operation.id: operation})


class Counted:
    """Intervals in memory, of two workers."""

    def __init__(self) -> None:
        self.kept: list[Interval] = []

    def intervals(self, from_ms: int, until_ms: int) -> Sequence[Interval]:
        return [one for one in self.kept if from_ms <= one.start_ms < until_ms]

    def written(self, from_ms: int, until_ms: int) -> Sequence[Written]:
        return [
            Written(one.start_ms, one.end_ms, one.writer)
            for one in self.intervals(from_ms, until_ms)
        ]

    def prune(self, before_ms: int) -> None:
        raise NotImplementedError


class Site:
    """A data folder with the loop of budgets over it."""

    def __init__(self, folder: AdaptFolder, caps=None) -> None:
        self.folder = folder
        self.now_ms = START_MS
        self.counted = Counted()
        self.terms = BudgetTerms(plan(), 50_000, caps or {})
        self.begin()

    def begin(self) -> None:
        """Begin a control process; the second time it is a restart."""
        folder = self.folder
        reads = WindowReads(self.counted, lambda: ["s0", "s1"], BIN_MS)
        self.records = BudgetRecords(folder.decisions)
        self.shell = BudgetShell(self.records, reads, self.terms)
        desk = LoopDesk(folder.file, folder.recorder, folder.publisher, {"budget": self.shell})
        self.loop = Loop(desk, LoopSettings("test", lease_ms=10**12))

    def count(self, *offered, operation="chat", writers=("s0", "s1")):
        """Let the workers count one bin for each amount, while nobody decides."""
        for amount in offered:
            half = RouteSpend(TenantId("T1"), OperationId(operation), amount // 2)
            spends, end_ms = (half,) if amount else (), self.now_ms + BIN_MS
            for writer in writers:
                self.counted.kept.append(Interval(writer, self.now_ms, end_ms, (), spends, ()))
            self.now_ms = end_ms

    def decide(self):
        """Run the loop twice; return rule, verdict and first reason of each decision."""
        done = self.loop.round(self.now_ms + 500).decisions
        assert not self.loop.round(self.now_ms + 1_000).decisions, "one look for one bin"
        return [(one.record.rule, one.decision.verdict, one.decision.reasons[0]) for one in done]

    def spend(self, *offered, **options):
        """Let time pass and the loop decide after each bin; return all that was decided."""
        found = []
        for amount in offered:
            self.count(amount, **options)
            found += self.decide()
        return found

    def verdicts(self, *offered, **options):
        """Return the answers of the rule `budget` only."""
        return [one[1] for one in self.spend(*offered, **options) if one[0] == "budget"]

    def steered(self):
        return self.shell.steered(self.now_ms).throttles

    def state(self) -> BudgetState:
        found = self.records.of(ROUTE).throttling
        assert found is not None
        return found.state

    def act(self, verb, **changes):
        act = Act(
            controller="budget",
            verb=verb,
            subject=ROUTE,
            actor="ada",
            key="k1",
            role="operator",
            reason="a launch on Friday",
            of="",
            at_ms=self.now_ms,
            expires_ms=self.now_ms + HOUR_MS,
            values={"limit_usd_micros": 300_000} if verb == "raise" else {},
        )
        return self.loop.take(msgspec.structs.replace(act, **changes), self.now_ms)


@pytest.fixture
def site(tmp_path):
    with closing(AdaptFolder(tmp_path)) as folder:
        yield Site(folder)


def audited(site):
    """Compute every recorded decision again; returns what does not agree."""
    keys = RingHistory(KeyRingFiles(site.folder.data)).read()[-1].ring.keys
    audit = DecisionAudit(AuditDesk(site.folder.decisions, keys, RULES, site.now_ms))
    return [one for _, found in audit.walk() for one in found], audit.counts.computed


QUIET = (1_000,) * 60


def test_route_without_traffic_is_not_looked_at(site):
    assert site.spend(0, 0, 0) == []


def test_traffic_in_the_last_ten_minutes_is_looked_at_and_then_no_more(site):
    site.spend(*QUIET)
    assert len(site.verdicts(*[0] * 80)) == 59


def test_quiet_bins_are_shown_as_nought_and_not_as_missing(site):
    site.spend(0, 0, 0, 0, 0)
    assert site.verdicts(1_000, 0, 0) == ["NOOP"] * 3


def test_breach_is_throttled_at_four_fifths_of_the_cap_and_told_to_the_gateways(site):
    site.spend(*QUIET)
    assert site.verdicts(600_000, 600_000, 600_000) == ["NOOP", "NOOP", "THROTTLE"]
    (throttle,) = site.steered()
    assert (throttle.tenant, throttle.operation) == ("T1", "chat")
    assert throttle.usd_micros_per_minute == 800_000
    assert throttle.until_ms == site.state().breach_ms + 120_000
    assert b'"throttles":[{' in site.folder.steering.newest().statement


def test_silent_route_that_is_throttled_is_looked_at_until_it_is_let_go(site):
    site.spend(*QUIET, 600_000, 600_000, 600_000)
    verdicts = site.verdicts(*[0] * 40)
    assert [one for one in verdicts if one != "NOOP"] == ["CONTINUE", "RELEASE"]
    assert site.steered() == ()


def test_bin_that_a_worker_did_not_write_is_missing_and_lets_nobody_go(site):
    site.spend(*QUIET, 600_000, 600_000, 600_000)
    before = site.state()
    verdicts = site.verdicts(*[0] * 20, writers=("s0",))
    assert set(verdicts) == {"NODATA"}
    assert site.state() == before
    assert len(site.steered()) == 1


def test_restarted_process_goes_on_where_the_records_end(site):
    site.spend(*QUIET, 600_000, 600_000)
    site.begin()
    assert site.verdicts(600_000) == ["THROTTLE"]
    site.begin()
    assert len(site.steered()) == 1
    assert "RELEASE" in site.verdicts(*[0] * 40)


class TestAClockThatWasAheadAndIsSetBack:
    AHEAD = 3_600_000
    """By how much, ms."""

    @pytest.fixture
    def site(self, site):
        site.now_ms += self.AHEAD
        return site

    def set_back(self, site):
        """Set the clock right; what it dated wrongly is forgotten, as the control process does."""
        site.now_ms -= self.AHEAD
        site.counted.kept = [one for one in site.counted.kept if one.start_ms < site.now_ms]

    def test_is_recorded_once_as_no_data_and_judges_no_bin_twice(self, site):
        site.spend(*QUIET, 600_000, 600_000, 600_000)
        was = site.state()
        self.set_back(site)
        assert site.decide() == [("budget-clock", "NODATA", "clock_stepped")]
        assert (site.state().phase, site.state().admit_ppm) == (was.phase, was.admit_ppm)
        assert site.decide() == []

    def test_lasts_no_longer_for_a_throttled_route_than_it_would_have(self, site):
        site.spend(*QUIET, 600_000, 600_000, 600_000)
        self.set_back(site)
        site.decide()
        (throttle,) = site.steered()
        assert site.now_ms < throttle.until_ms <= site.now_ms + 130_000
        verdicts = site.verdicts(*[1_000] * 40)
        assert [one for one in verdicts if one not in ("NOOP", "NODATA")] == ["CONTINUE", "RELEASE"]
        assert site.steered() == ()
        assert audited(site)[0] == []

    def test_keeps_no_breach_from_being_seen(self, site):
        site.spend(*QUIET)
        self.set_back(site)
        site.spend(*QUIET[:12])
        assert "THROTTLE" in site.verdicts(600_000, 600_000, 600_000)

    def test_is_found_by_a_process_that_was_started_since(self, site):
        site.spend(*QUIET, 600_000, 600_000, 600_000)
        self.set_back(site)
        site.begin()
        assert site.decide() == [("budget-clock", "NODATA", "clock_stepped")]

    def test_is_logged(self, site, caplog):
        site.spend(*QUIET)
        self.set_back(site)
        found = site.spend(*QUIET[:4])
        assert [one for one in found if one[0] == "budget-clock"] == [
            ("budget-clock", "NODATA", "clock_stepped")
        ]
        said = [one.fields["reasons"] for one in caplog.records if hasattr(one, "fields")]
        assert said == ["clock_stepped"]

    def test_keeps_nobody_from_setting_a_limit(self, site):
        site.spend(*QUIET)
        site.act("raise")
        self.set_back(site)
        assert site.act("resume", expires_ms=0).decision.verdict == "CONTINUE"


def test_operation_that_is_not_registered_is_nobody_s_route(site):
    assert site.spend(900_000, 900_000, 900_000, operation="*") == []


def test_cap_of_the_configuration_holds_for_its_route(site):
    site.terms = BudgetTerms(plan(), 50_000, {TenantId("T1"): {OperationId("chat"): 3_000}})
    site.begin()
    site.spend(*QUIET)
    (throttle,) = site.steered()
    assert throttle.usd_micros_per_minute == 2_400


def test_tenant_without_a_budget_has_no_route(site):
    site.terms = BudgetTerms(plan(budget=0), 50_000, {})
    site.begin()
    assert site.spend(*QUIET) == []


HOUR = (2_000,) * 360


def learned_hours(site):
    return site.records.limit_observation(site.records.of(ROUTE).limit).hours


def test_each_hour_is_learned_from_once_and_carried_on(site):
    found = []
    for _ in range(5):
        site.count(*HOUR)
        found += [one for one in site.decide() if one[0] == "budget-limit"]
    assert len(found) == 5
    assert found[-1][1:] == ("NODATA", "history_too_short hours=5 min=72")
    hours = learned_hours(site)
    assert [one.start_ms for one in hours] == [START_MS + n * HOUR_MS for n in range(5)]
    assert {one.spend.total for one in hours[1:]} == {360}
    assert hours[1].sustained_usd_micros == 12_000


def test_hours_that_nobody_decided_about_are_made_up_for_after_a_restart(site):
    site.count(*HOUR)
    site.decide()
    site.count(*HOUR * 3, 2_000)
    site.begin()
    site.decide()
    assert len(learned_hours(site)) == 4


def test_hour_of_which_most_is_missing_is_left_out_and_not_taken_for_silence(site):
    site.count(*HOUR)
    site.count(*HOUR[:300], writers=("s0",))
    site.count(*HOUR[:60])
    site.decide()
    assert site.records.of(ROUTE).limit is None
    site.count(*HOUR)
    site.decide()
    assert [one.start_ms for one in learned_hours(site)] == [START_MS + 2 * HOUR_MS]


def test_hour_in_which_it_was_throttled_is_marked_so(site):
    site.count(*HOUR[:100])
    site.spend(*[600_000] * 3)
    site.count(*HOUR[:257])
    site.decide()
    (hour,) = learned_hours(site)
    assert hour.breached
    assert hour.sustained_usd_micros == CAP


def test_learned_limit_is_in_force_below_the_cap(site):
    for _ in range(73):
        site.count(*HOUR)
        site.decide()
    limit = site.records.of(ROUTE).limit
    assert limit.verdict == "NOOP", "learned after 72 hours, within the band since"
    tuned = limit.state.limit_usd_micros
    assert 12_000 < tuned < CAP
    # Three times the usual is a breach now, though it is far below the cap.
    assert "THROTTLE" in site.verdicts(*[2_000 * 5] * 8)
    assert site.steered()[0].usd_micros_per_minute == tuned * 8 // 10


def test_limit_that_was_raised_by_hand_holds_and_ends(site):
    site.spend(*QUIET)
    site.act("freeze", values={"limit_usd_micros": 30_000})
    assert "THROTTLE" in site.verdicts(*[10_000] * 6)
    assert site.steered()[0].usd_micros_per_minute == 24_000
    site.act("resume", expires_ms=0)
    assert site.steered()[0].usd_micros_per_minute == 800_000


def test_act_is_recorded_with_its_author_and_reason(site):
    done = site.act("raise")
    assert done.record.rule == "budget-act"
    blob = site.folder.decisions.blob(done.record.inputs)
    assert b'"actor":"ada"' in blob
    assert b"a launch on Friday" in blob


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"subject": Subject(tenant="T9", operation="chat")}, NotFound),
        ({"subject": Subject(tenant="T1", operation="chat", target="x")}, NotFound),
        ({"values": {}}, MalformedRequest),
        ({"expires_ms": 0}, MalformedRequest),
        ({"role": "viewer"}, MalformedRequest),
        ({"of": "0" * 64}, DecisionStale),
    ],
)
def test_act_that_makes_no_sense_is_refused_before_anything_is_recorded(site, changes, error):
    count = site.folder.decisions.last()
    with pytest.raises(error):
        site.act("raise", **changes)
    assert site.folder.decisions.last() == count


def test_act_on_a_decision_that_was_seen_is_done_while_the_route_is_in_the_same_phase(site):
    site.spend(*QUIET)
    [seen] = site.records.of(ROUTE).digests
    site.spend(1_000, 1_000)
    assert site.act("raise", of=seen).decision.verdict == "CONTINUE"
    site.spend(600_000, 600_000, 600_000)
    with pytest.raises(DecisionStale):
        site.act("raise", of=seen)


def test_every_recorded_decision_is_computed_again_byte_for_byte(site):
    site.spend(*QUIET, 600_000, 600_000, 600_000)
    site.act("raise")
    site.spend(*[0] * 330)
    found, computed = audited(site)
    assert found == []
    assert computed > 90
    assert HOURS_MAX == 168
