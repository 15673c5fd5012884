"""What a comparison comes to follows from its looks, and an end that does not is found out."""

import msgspec
import pytest

from verismo.adapt.canaryfile import (
    OUTSIDE,
    VERSION,
    CanaryFile,
    Outcome,
    conclude,
    decide_outside,
    file_look,
    replay,
)
from verismo.adapt.canaryobservation import CanaryObservation
from verismo.adapt.canarystate import start
from verismo.model.decision import Subject
from verismo.model.window import Tally, Window

MINUTE = 60_000
SUBJECT = Subject("", "outside", "baseline", "candidate")
SETTINGS = msgspec.structs.replace(OUTSIDE, windows_min=20, requests_min=100)


def window(arm, at, requests, share=1.0):
    tally = Tally()
    for one in range(requests):
        tally.add(round((500_000 + one * 1_000_000 // requests) * share))
    return Window(
        *("", "outside", arm, arm, at * MINUTE, (at + 1) * MINUTE, requests, 0),
        *(requests * 10, requests * 110, tally.histogram()),
    )


def shown(at, ours=200, theirs=200, share=1.0):
    return CanaryObservation(window("baseline", at, ours), window("candidate", at, theirs, share))


def run(observations, settings=SETTINGS):
    state, looks = start(SUBJECT, settings, 0), []
    for at, one in enumerate(observations):
        decision = decide_outside(state, one, settings, (at + 1) * MINUTE)
        looks.append(file_look(state, one, decision))
        state = decision.state
    return looks, conclude(state, settings, looks[-1])


def kept(looks, outcome, origin="scraped"):
    return CanaryFile(
        *(VERSION, origin, "", SUBJECT, SETTINGS, 0, tuple(looks)),
        *(outcome.verdict, outcome.reasons),
    )


def test_any_split_will_do_where_somebody_else_sets_it():
    looks, _ = run([shown(at, 300, 60 + 80 * (at % 2)) for at in range(12)])
    assert {one.verdict for one in looks} == {"CONTINUE"}


def test_a_window_without_requests_of_one_arm_waits_for_the_next():
    looks, outcome = run([shown(0), shown(1, theirs=0)])
    assert looks[-1].reasons == ("window_thin",)
    assert outcome.reasons[0] == "insufficient_data"
    silent, _ = run([shown(0, ours=0, theirs=0)])
    assert silent[-1].reasons == ("window_thin",)


def test_an_answer_of_the_rule_is_the_end():
    looks, outcome = run([shown(at, share=3.0) for at in range(6)])
    assert outcome == Outcome(looks[-1].verdict, looks[-1].reasons)
    assert outcome.verdict in ("HOLD", "ROLLBACK")


def test_open_evidence_after_all_windows_is_inconclusive():
    settings = msgspec.structs.replace(SETTINGS, windows_min=2)
    _, outcome = run([shown(at) for at in range(4)], settings)
    assert (outcome.verdict, outcome.reasons[0]) == ("HOLD", "inconclusive")


@pytest.mark.parametrize(
    ("windows", "requests", "reasons"),
    [
        (20, 100, ["too_few_windows windows=3 least=20"]),
        (3, 601, ["too_few_requests requests=600 least=601"]),
        (
            *(4, 601),
            ["too_few_windows windows=3 least=4", "too_few_requests requests=600 least=601"],
        ),
    ],
)
def test_too_few_windows_or_requests_are_insufficient_data(windows, requests, reasons):
    settings = msgspec.structs.replace(SETTINGS, windows_min=windows, requests_min=requests)
    _, outcome = run([shown(at) for at in range(4)], settings)
    assert outcome == Outcome("HOLD", ("insufficient_data", *reasons))


def test_a_metric_that_has_a_weight_and_no_data_is_named():
    bare = [
        CanaryObservation(
            *(
                msgspec.structs.replace(window(arm, at, 200), cost_usd_micros=0, cost_squares=0)
                for arm in ("baseline", "candidate")
            )
        )
        for at in range(3)
    ]
    _, outcome = run(bare)
    assert outcome == Outcome("HOLD", ("insufficient_data", "no_data_of: cost"))


def test_no_data_in_the_last_window_is_insufficient_data():
    _, outcome = run([shown(0), CanaryObservation(None, None)])
    assert outcome == Outcome("HOLD", ("insufficient_data", "no_window"))


@pytest.mark.parametrize("origin", ["scraped", "simulated", "gateway"])
def test_an_end_that_does_not_follow_is_found_out(origin):
    looks, _ = run([shown(at) for at in range(4)])
    found = replay(kept(looks, Outcome("PROMOTE", ("evidence_no_worse",)), origin))
    assert not found.is_concluded


def test_a_file_without_looks_can_only_say_hold():
    nothing = Outcome("HOLD", ("insufficient_data", "it is away"))
    assert replay(kept([], nothing)).is_concluded
    for outcome in (Outcome("PROMOTE", ()), Outcome("HOLD", ("inconclusive",))):
        assert not replay(kept([], outcome)).is_concluded


def test_the_end_of_a_scraped_file_is_concluded_anew():
    looks, outcome = run([shown(at) for at in range(4)])
    assert replay(kept(looks, outcome)).is_concluded
    other = Outcome("HOLD", ("inconclusive", "evidence_open"))
    assert not replay(kept(looks, other)).is_concluded
