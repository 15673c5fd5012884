"""Scaling around its core: what is seen, when it is decided, and how it reaches the platform."""

import pytest

from verismo.adapt.scaling import decide, start
from verismo.adapt.scalingsettings import ScalingSettings
from verismo.attest.controlrecord import NO_RECORD, ControlRecord
from verismo.control.looks import Acting, Steered
from verismo.control.scaling import (
    Loaded,
    ScalingDesk,
    ScalingShell,
    TargetDesk,
    newest_decision,
)
from verismo.model import canonical
from verismo.model.act import Act
from verismo.model.decision import Decision, Subject, decision_digest, encode_decision
from verismo.model.errors import MalformedRequest, StateError
from verismo.ports.decisions import DecisionRow
from verismo.ports.windows import DeploymentLoad

T0 = 1_790_000_000_000
SETTINGS = ScalingSettings("reader", 2, 40, slots=10, cold_start_ms=60_000)


class Records:
    """A `DecisionReader` that holds what the test let be decided, newest last."""

    def __init__(self):
        self.kept = []
        self.blobs = {}
        self.is_broken = False

    def keep(self, decision, rule_version=1):
        digest = decision_digest(decision)
        self.blobs[digest] = encode_decision(decision)
        record = ControlRecord(
            *(1, "iss", decision.at_ms, len(self.kept) + 1, NO_RECORD, "decision", "scaling"),
            rule_version=rule_version,
            subject=decision.subject,
            verdict=decision.verdict,
            before="0" * 64,
            inputs="0" * 64,
            settings="0" * 64,
            decision=digest,
        )
        subject = canonical.encode(decision.subject).decode()
        self.kept.append(
            DecisionRow(
                record.n, "scaling", subject, decision.verdict, canonical.encode(record), b"", T0
            )
        )

    def newest(self, rules, subject):
        if self.is_broken:
            raise StateError("adapt.db is away", next_step="wait")
        found = [row for row in self.kept if row.rule in rules and row.subject == subject]
        return found[-1] if found else None

    def blob(self, digest):
        return self.blobs.get(digest)


class Platform:
    """A `ReplicaPlatform` that remembers what it was asked."""

    def __init__(self):
        self.asked = []
        self.result = "done"

    def replicas(self):
        return 3

    def change(self, before, after, until_ms):
        self.asked.append((before, after, until_ms))
        return self.result


class Bench:
    """A shell and everything around it, with a clock of its own."""

    def __init__(self, **parts):
        self.now_ms = T0
        self.records = Records()
        self.spans = []
        self.replicas = 3
        self.queue = None
        self.platform = parts.get("platform")
        target = TargetDesk(
            settings=parts.get("settings", SETTINGS),
            deployment="chat",
            replicas=parts.get("replicas", self.read_replicas),
            queue_milli=parts.get("queue_milli"),
            platform=self.platform,
        )
        self.desk = ScalingDesk((target,), self.read, self.records, lambda: self.now_ms)
        self.shell = ScalingShell(self.desk)

    def read(self, from_ms, now_ms):
        if self.spans is None:
            raise StateError("windows.db is away", next_step="wait")
        return self.spans

    def read_replicas(self):
        if self.replicas is None:
            raise StateError("the API server is away", next_step="wait")
        return self.replicas

    def pass_10_s(self, *loads):
        """Let an interval end, with these loads."""
        self.spans.append(Loaded(self.now_ms, self.now_ms + 10_000, loads))
        self.now_ms += 10_000

    def look(self):
        looks = self.shell.looks(self.now_ms)
        return looks[0] if looks else None

    def step(self):
        """Decide what is due and keep it; returns the decision."""
        look = self.look()
        decision = look.rule.decide(look.before, look.observation, look.settings, self.now_ms)
        self.records.keep(decision)
        return decision


def busy(in_flight, requests=0, late=0, deployment="chat"):
    return DeploymentLoad(deployment, in_flight * 10_000, requests, late)


def test_a_sample_is_what_all_workers_saw():
    bench = Bench()
    bench.pass_10_s(busy(20, 4, 1), busy(5, 2), busy(99, 9, 9, deployment="other"))
    look = bench.look()
    seen = look.observation
    assert (seen.in_flight_milli, seen.requests, seen.late) == (25_000, 6, 1)
    assert (seen.start_ms, seen.end_ms, seen.replicas) == (T0, T0 + 10_000, 3)
    assert look.before == start(SETTINGS)
    assert look.subject == Subject(target="reader")


def test_silence_is_a_load_of_nothing():
    bench = Bench()
    bench.pass_10_s()
    assert (bench.look().observation.in_flight_milli, bench.look().observation.requests) == (0, 0)


def test_what_waits_is_in_flight_and_not_counted_twice():
    bench = Bench(queue_milli=lambda: 4_000)
    bench.pass_10_s(busy(20))
    seen = bench.look().observation
    assert (seen.in_flight_milli, seen.queued_milli) == (16_000, 4_000)
    bench = Bench()
    bench.pass_10_s(busy(20))
    seen = bench.look().observation
    assert (seen.in_flight_milli, seen.queued_milli) == (20_000, 0)


def test_a_queue_that_cannot_be_read_is_no_data():
    def away():
        raise StateError("Prometheus is away", next_step="wait")

    bench = Bench(queue_milli=away)
    bench.pass_10_s(busy(20))
    decision = bench.step()
    assert (decision.verdict, decision.reasons[0]) == ("NODATA", "sample_incomplete")


@pytest.mark.parametrize("parts", [{"replicas": None}, {}])
def test_replicas_that_nothing_says_are_no_data(parts):
    bench = Bench(**parts)
    bench.replicas = None
    bench.pass_10_s(busy(20))
    decision = bench.step()
    assert decision.verdict == "NODATA"
    assert decision.action.after == decision.action.before


def test_each_interval_is_seen_once():
    bench = Bench()
    bench.pass_10_s(busy(20))
    first = bench.step()
    assert first.verdict == "NOOP"
    bench.now_ms += 9_500
    assert bench.look() is None
    bench.spans.append(Loaded(T0 + 10_000, T0 + 20_000, (busy(40),)))
    bench.now_ms += 500
    seen = bench.look().observation
    assert (seen.start_ms, seen.in_flight_milli) == (T0 + 10_000, 40_000)


def test_shorter_intervals_are_put_together():
    bench = Bench()
    bench.pass_10_s()
    bench.step()
    for second in range(10):
        at = bench.now_ms + second * 1_000
        bench.spans.append(Loaded(at, at + 1_000, (DeploymentLoad("chat", second * 1_000, 1, 0),)))
    bench.now_ms += 10_000
    seen = bench.look().observation
    assert (seen.end_ms - seen.start_ms, seen.in_flight_milli, seen.requests) == (10_000, 4_500, 10)


def test_an_interval_without_a_workers_part_is_no_load():
    bench = Bench()
    bench.pass_10_s(busy(20))
    bench.spans.append(Loaded(bench.now_ms, bench.now_ms + 10_000, None))
    bench.now_ms += 10_000
    bench.pass_10_s(busy(30))
    seen = bench.look().observation
    assert (seen.start_ms, seen.in_flight_milli) == (T0 + 20_000, 30_000)


def test_old_and_future_intervals_are_not_looked_at():
    bench = Bench()
    bench.spans = [
        Loaded(T0 - 70_000, T0 - 60_000, (busy(99),)),
        Loaded(T0 - 20_000, T0 - 10_000, (busy(20),)),
        Loaded(T0 - 10_000, T0 + 1, (busy(99),)),
    ]
    assert bench.look().observation.in_flight_milli == 20_000


@pytest.mark.parametrize("spans", [[], None])
def test_without_windows_time_is_seen_to_pass_all_the_same(spans):
    bench = Bench()
    bench.pass_10_s(busy(20))
    wait_ms = bench.step().state.wait_ms
    bench.spans = spans
    bench.now_ms += 19_999
    assert bench.look() is None
    bench.now_ms += 1
    decision = bench.step()
    assert (decision.verdict, decision.state.wait_ms) == ("NODATA", wait_ms - 20_000)


def test_a_gap_is_counted_down_by_what_is_recorded_alone():
    bench = Bench()
    verdicts = []
    for _ in range(15):
        bench.pass_10_s(busy(60))
        # Another process takes the lease before each decision: it knows the records, no more.
        bench.shell = ScalingShell(bench.desk)
        verdicts.append(bench.step().verdict)
    assert verdicts == ["NOOP"] * 13 + ["SCALE_UP", "NOOP"]


def test_a_decision_of_another_version_is_not_gone_on_from():
    bench = Bench()
    bench.pass_10_s(busy(20))
    bench.step()
    bench.records.keep(_some_decision(), rule_version=9)
    bench.now_ms += 20_000
    assert bench.look().before == start(SETTINGS)


def _some_decision():
    return decide(start(SETTINGS), None, SETTINGS, T0)


def test_a_record_that_cannot_be_read_decides_nothing():
    bench = Bench()
    bench.pass_10_s(busy(20))
    bench.step()
    digest = next(iter(bench.records.blobs))
    bench.records.blobs[digest] = b"{}"
    with pytest.raises(StateError, match="reader"):
        bench.look()
    bench.records.is_broken = True
    with pytest.raises(StateError):
        bench.look()


def test_bytes_that_were_forgotten_are_a_new_start():
    bench = Bench()
    bench.pass_10_s(busy(20))
    bench.step()
    bench.records.blobs.clear()
    assert newest_decision(bench.records, "reader") is None


def scaled(before=3, after=5, at_ms=T0):
    decision = _some_decision()
    return Decision(
        *(decision.controller, decision.version, decision.subject, "SCALE_UP"),
        action=type(decision.action)("replicas", before, after),
        reasons=("wish_above_band=5",),
        inputs="",
        settings="",
        at_ms=at_ms,
        metrics=(),
        state=decision.state,
    )


def test_a_strict_target_is_set_within_its_time():
    bench = Bench(platform=Platform())
    assert isinstance(bench.shell, Acting)
    bench.now_ms = T0 + 5_000
    assert bench.shell.act(scaled()) == "done"
    assert bench.platform.asked == [(3, 5, T0 + 5_000)]
    bench.platform.result = "unknown"
    assert bench.shell.act(scaled()) == "unknown"


@pytest.mark.parametrize("passed_ms", [5_001, -1])
def test_an_action_that_comes_late_or_from_a_clock_set_back_is_dropped(passed_ms):
    bench = Bench(platform=Platform())
    bench.now_ms = T0 + passed_ms
    assert bench.shell.act(scaled()) == "late"
    assert bench.platform.asked == []


def test_nothing_is_set_where_nothing_changes_or_an_autoscaler_follows():
    bench = Bench(platform=Platform())
    assert bench.shell.act(scaled(3, 3)) == "none"
    assert bench.platform.asked == []
    assert Bench().shell.act(scaled()) == "shown"
    bench = Bench(platform=Platform(), settings=ScalingSettings("other", 2, 40, 10, 60_000))
    assert bench.shell.act(scaled()) == "target_gone"


def test_an_action_that_was_dropped_waits_a_whole_gap_again():
    bench = Bench(platform=Platform())
    for _ in range(14):
        bench.pass_10_s(busy(60))
        decision = bench.step()
    assert decision.verdict == "SCALE_UP"
    # The platform still shows 3: the action never arrived.
    bench.pass_10_s(busy(60))
    decision = bench.step()
    assert "replicas_changed_elsewhere" in decision.reasons
    assert decision.state.wait_ms == SETTINGS.spacing_ms


def test_nothing_of_a_target_is_set_by_hand():
    bench = Bench()
    act = Act(
        *("scaling", "hold", Subject(target="reader"), "a", "k", "admin", "because it is so"),
        of="",
        at_ms=T0,
    )
    with pytest.raises(MalformedRequest, match=r"\[scaling\.NAME\]"):
        bench.shell.take(act, T0)
    assert bench.shell.steered(T0) == Steered()
    bench.shell.told(scaled())


def test_a_source_that_stays_away_is_logged_once_and_so_is_its_return(caplog):
    caplog.set_level("INFO", logger="verismo.scaling")
    bench = Bench()
    bench.replicas = None
    for _ in range(3):
        bench.pass_10_s(busy(60))
        assert "sample_incomplete" in bench.step().reasons
    bench.replicas = 3
    for _ in range(2):
        bench.pass_10_s(busy(60))
        bench.step()
    assert [(one.levelname, one.message) for one in caplog.records] == [
        ("WARNING", "a target's numbers cannot be read"),
        ("INFO", "a target's numbers can be read again"),
    ]
    assert caplog.records[0].fields == {
        "target": "reader",
        "number": "replicas",
        "error": "the API server is away",
        "next": "wait",
    }
