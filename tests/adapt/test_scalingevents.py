"""What a log of Kubernetes events proves about the gap, and what it leaves open."""

import json

import pytest

from verismo.adapt.scalingevents import read_events, verify_gap
from verismo.model.errors import MalformedRequest


def event(name, clock, size, **more):
    return {
        "metadata": {"name": name, "namespace": "shop"},
        "involvedObject": {
            "kind": "HorizontalPodAutoscaler",
            "name": "reader",
            "namespace": "shop",
        },
        "reason": "SuccessfulRescale",
        "message": f"New size: {size}; reason: external metric above target",
        "firstTimestamp": f"2026-11-22T10:{clock}Z",
        "lastTimestamp": f"2026-11-22T10:{clock}Z",
        "count": 1,
        **more,
    }


def scaled(name, clock, words, **more):
    about = {"kind": "Deployment", "name": "reader", "namespace": "shop"}
    return event(
        name, clock, 0, involvedObject=about, reason="ScalingReplicaSet", message=words, **more
    )


def report(*events, gap_ms=120_000):
    data = json.dumps({"kind": "List", "items": list(events)}).encode()
    return verify_gap(read_events(data), gap_ms)


def test_actions_that_are_surely_apart_keep_the_gap():
    found = report(event("a", "00:00", 4), event("b", "02:01", 6))
    assert (found.verdict, found.actions, found.targets) == ("kept", 2, 1)


def test_a_breach_is_named_with_both_events():
    found = report(event("b", "01:30", 6), event("a", "00:00", 4))
    assert found.verdict == "breached"
    (finding,) = found.findings
    assert (finding.kind, finding.first.event, finding.second.event) == (
        "breach",
        "shop/a",
        "shop/b",
    )
    assert finding.gap_us_max == 90_999_999


def test_whole_seconds_that_may_hide_a_breach_prove_nothing():
    found = report(event("a", "00:00", 4), event("b", "02:00", 6))
    assert (found.verdict, found.findings[0].kind) == ("unproven", "too_coarse")


def test_microseconds_decide():
    exact = [
        event("a", "00:00", 4, eventTime="2026-11-22T10:00:00.500000Z"),
        event("b", "02:00", 6, eventTime="2026-11-22T10:02:00.500000Z"),
    ]
    assert report(*exact).verdict == "kept"


def test_events_folded_into_one_hide_changes():
    folded = event("a", "00:00", 4, lastTimestamp="2026-11-22T10:30:00Z", count=3)
    assert "hidden_changes" in {one.kind for one in report(folded).findings}
    combined = event("a", "00:00", 4, count=2)
    combined["message"] = "(combined from similar events): " + combined["message"]
    assert report(combined).verdict == "unproven"


def test_a_size_that_does_not_continue_the_one_before_tells_of_a_missing_event():
    found = report(
        scaled("a", "00:00", "Scaled up replica set reader-1 from 2 to 4"),
        scaled("b", "05:00", "Scaled up replica set reader-1 to 9 from 6"),
    )
    assert (found.verdict, found.findings[0].kind) == ("unproven", "missing_event")
    assert report(event("a", "00:00", 4), event("b", "05:00", 4)).verdict == "unproven"


def test_replica_sets_of_one_deployment_are_one_target():
    found = report(
        scaled("a", "00:00", "Scaled up replica set reader-abc to 5 from 3"),
        scaled("b", "01:00", "Scaled up replica set reader-def to 7 from 5"),
    )
    assert (found.verdict, found.targets) == ("unproven", 1)
    (finding,) = found.findings
    assert (finding.kind, finding.first.event, finding.second.event) == (
        *("rolling_update", "shop/a"),
        "shop/b",
    )


def test_replica_sets_that_change_a_gap_apart_keep_it():
    found = report(
        scaled("a", "00:00", "Scaled up replica set reader-abc to 5 from 3"),
        scaled("b", "02:01", "Scaled up replica set reader-def to 7 from 5"),
    )
    assert found.verdict == "kept"


def test_another_replica_set_in_between_hides_no_breach():
    found = report(
        scaled("a", "00:00", "Scaled up replica set reader-abc to 5 from 3"),
        scaled("b", "00:30", "Scaled up replica set reader-def to 1 from 0"),
        scaled("c", "01:00", "Scaled up replica set reader-abc to 7 from 5"),
    )
    assert found.verdict == "breached"
    assert [one.kind for one in found.findings] == ["breach", "rolling_update", "rolling_update"]


def test_a_change_that_its_autoscaler_did_not_make_belongs_to_the_same_target():
    other = scaled("b", "01:00", "Scaled up replica set reader-abc to 7 from 5")
    found = report(event("a", "00:00", 5), other)
    assert found.verdict == "unproven"
    (finding,) = found.findings
    assert (finding.kind, finding.first.event, finding.second.event) == (
        *("unexplained_change", "shop/a"),
        "shop/b",
    )
    late = scaled("b", "02:01", "Scaled up replica set reader-abc to 7 from 5")
    assert report(event("a", "00:00", 5), late).verdict == "kept"


def test_a_change_that_comes_before_its_autoscalers_is_no_work_of_it():
    before = scaled("b", "00:00", "Scaled up replica set reader-abc to 5 from 3")
    found = report(before, event("a", "01:00", 5))
    assert [one.kind for one in found.findings] == ["unexplained_change"]


def test_an_autoscaler_of_another_name_or_namespace_is_of_another_target():
    about = {"kind": "Deployment", "name": "writer", "namespace": "shop"}
    words = "Scaled up replica set writer-abc to 7 from 5"
    other = event("b", "01:00", 0, involvedObject=about, reason="ScalingReplicaSet", message=words)
    assert report(event("a", "00:00", 5), other).verdict == "kept"


def test_targets_do_not_disturb_one_another():
    other = scaled("b", "00:10", "Scaled up replica set reader-1 to 4")
    assert report(event("a", "00:00", 4), other).verdict == "kept"


def test_a_log_without_actions_proves_nothing():
    assert report(event("a", "00:00", 4, reason="FailedGetScale")).verdict == "no_actions"


@pytest.mark.parametrize(
    "broken",
    [
        event("a", "00:00", "many"),
        event("a", "61:00", 4),
        event("a", "00:00", 4, firstTimestamp=None, lastTimestamp=None),
        event("a", "00:00", 4, count=0),
        event("a", "00:00", 4, count=2, lastTimestamp="2026-11-22T09:00:00Z"),
        scaled("a", "00:00", "Scaled down replica set reader-1 from 2 to 4"),
        scaled("a", "00:00", "Scaled"),
    ],
)
def test_a_scaling_event_that_does_not_read_as_one_is_refused(broken):
    with pytest.raises(MalformedRequest, match="event"):
        report(broken)


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b'{"kind":"List","items":[1]}'])
def test_what_is_no_list_of_events_is_refused(data):
    with pytest.raises(MalformedRequest):
        read_events(data)


def test_a_gap_that_nothing_can_breach_is_a_mistake():
    with pytest.raises(ValueError, match="breached"):
        verify_gap((), 0)
