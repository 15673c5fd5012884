"""The audit finds what whoever holds the plan key records wrongly, and does not guess."""

import sqlite3
from contextlib import closing

import msgspec
import pytest
from tests.support import adaptdb
from tests.support.adaptdb import (
    CANARY_SETTINGS,
    NOW_MS,
    ROUTE,
    STEP_MS,
    AdaptFolder,
    window,
)

from verismo.adapt import canarystate
from verismo.adapt.canaryobservation import CanaryObservation
from verismo.adapters.adapt_file import FILE_NAME, pass_numbers
from verismo.adapters.ledger_sqlite import FILE_NAME as LEDGER_FILE
from verismo.adapters.ledger_sqlite import SqliteLedger
from verismo.control.decisionaudit import NEXT_STEPS
from verismo.control.looks import Look, Steered
from verismo.control.recorder import Turn
from verismo.control.rules import CANARY
from verismo.model.decision import Action, Subject
from verismo.model.errors import StateError
from verismo.model.steering import Rollout, Throttle
from verismo.wiring.decisionaudit import AuditRequest, audit_decisions, recorded_decisions

pytestmark = pytest.mark.slow
"""Each test makes a data folder with keys."""

DAY_MS = 86_400_000


@pytest.fixture
def folder(tmp_path):
    with closing(AdaptFolder(tmp_path)) as folder:
        yield folder


def audited(folder, **options):
    return audit_decisions(AuditRequest(folder.data, folder.now_ms + 1_000, **options))


def kinds(folder, **options):
    return [(one.n, one.kind) for one in audited(folder, **options).mismatches]


def looked(folder, slower=1.0):
    """Return a look at the rollout, ten seconds later, and the turn to record it in."""
    folder.now_ms += STEP_MS
    now_ms = folder.now_ms
    seen = CanaryObservation(
        window(ROUTE, "baseline", now_ms), window(ROUTE, "candidate", now_ms, slower)
    )
    look = Look(CANARY, ROUTE, folder.shell.state(CANARY, ROUTE), seen, CANARY_SETTINGS)
    return look, Turn(folder.loop.token, folder.steering.version(), now_ms)


def decided(look, now_ms):
    return look.rule.decide(look.before, look.observation, look.settings, now_ms)


def begun(folder):
    """Begin a rollout: record 1 starts it, record 2 says that it is published."""
    folder.act("start")
    folder.shell.show_canary(ROUTE)
    folder.step()


def test_what_the_loop_records_has_no_mismatch(folder):
    begun(folder)
    found = audited(folder)
    assert found.mismatches == ()
    assert (found.counts.records, found.counts.decisions, found.counts.computed) == (3, 2, 2)


def test_signed_decision_that_the_rule_does_not_give_is_found(folder):
    begun(folder)
    look, turn = looked(folder)
    wrong = msgspec.structs.replace(decided(look, turn.now_ms), verdict="PROMOTE")
    folder.recorder.decided(turn, look, wrong)
    [one] = audited(folder).mismatches
    assert (one.n, one.kind) == (4, "computed")
    assert 'verdict "PROMOTE", computed "CONTINUE"' in one.detail


def test_decision_of_another_clock_reading_is_found(folder):
    begun(folder)
    look, turn = looked(folder)
    folder.recorder.decided(turn, look, decided(look, turn.now_ms + 1))
    assert kinds(folder) == [(4, "computed")]


def test_state_that_was_put_in_by_hand_is_found(folder):
    begun(folder)
    look, turn = looked(folder)
    forged = msgspec.structs.replace(look, before=canarystate.start(ROUTE, CANARY_SETTINGS, NOW_MS))
    folder.recorder.decided(turn, forged, decided(forged, turn.now_ms))
    [one] = audited(folder).mismatches
    assert (one.n, one.kind) == (4, "before")
    assert "record 3" in one.detail


def test_override_of_a_decision_that_was_never_made_is_found(folder):
    begun(folder)
    look, turn = looked(folder)
    folder.recorder.decided(turn, look, decided(look, turn.now_ms), "a" * 64)
    assert kinds(folder) == [(4, "of")]


def test_weight_that_nobody_decided_is_found(folder):
    begun(folder)
    rollout = Rollout(ROUTE.operation, "", ROUTE.baseline, ROUTE.candidate, 900_000)
    folder.publisher.publish(folder.loop.token, [Steered((rollout,))], folder.now_ms)
    [one] = audited(folder).mismatches
    assert (one.n, one.kind) == (2, "steering")
    assert "900000 ppm; record 3" in one.detail
    assert "500000 ppm" in one.detail


def test_rollout_that_nobody_began_is_found(folder):
    begun(folder)
    rollout = Rollout("other", "", "a", "b", 1)
    folder.publisher.publish(folder.loop.token, [Steered((rollout,))], folder.now_ms)
    assert kinds(folder) == [(2, "steering")]


def test_throttle_that_nobody_decided_is_found(folder):
    begun(folder)
    throttle = Throttle("T1", "chat", 1, folder.now_ms)
    folder.publisher.publish(folder.loop.token, [Steered((), (throttle,))], folder.now_ms)
    assert kinds(folder) == [(2, "steering")]


def test_throttle_of_a_route_that_was_left_open_is_found(folder):
    begun(folder)
    folder.shell.show_budget(1_000)
    folder.step()
    throttle = Throttle("T1", "chat", 1, folder.now_ms)
    folder.publisher.publish(folder.loop.token, [Steered((), (throttle,))], folder.now_ms)
    [one] = audited(folder).mismatches
    assert (one.n, one.kind) == (2, "steering")
    assert "record 4, the newest about it, left open" in one.detail


def test_record_that_names_steering_of_the_future_is_found(folder):
    begun(folder)
    look, turn = looked(folder)
    ahead = msgspec.structs.replace(turn, steering=7)
    folder.recorder.decided(ahead, look, decided(look, turn.now_ms))
    assert (7, "steering") in kinds(folder)


def test_settings_that_the_rule_refuses_are_found(folder):
    begun(folder)
    look, turn = looked(folder)
    answer = decided(look, turn.now_ms)
    refused = msgspec.structs.replace(CANARY_SETTINGS, threshold_ppm=-1)
    folder.recorder.decided(turn, msgspec.structs.replace(look, settings=refused), answer)
    [one] = audited(folder).mismatches
    assert (one.n, one.kind) == (4, "computed")
    assert "the rule cannot compute it" in one.detail


def test_state_on_which_the_rule_fails_is_found(folder):
    begun(folder)
    look, turn = looked(folder)
    act = folder.shell.take(adaptdb.act_of("promote", folder.now_ms), folder.now_ms)
    forged = msgspec.structs.replace(
        act, before=msgspec.structs.replace(look.before, rung=99, ended="")
    )
    folder.recorder.decided(turn, forged, decided(look, turn.now_ms))
    assert kinds(folder) == [(4, "before"), (4, "computed")]


@pytest.mark.parametrize(
    ("changed", "needed"),
    [({"version": 2}, "canary version 2"), ({"name": "canary-next"}, "canary-next version 1")],
)
def test_decision_of_another_version_needs_it_and_is_no_mismatch(folder, changed, needed):
    begun(folder)
    look, turn = looked(folder)
    rule = msgspec.structs.replace(CANARY, **changed)
    answer = msgspec.structs.replace(decided(look, turn.now_ms), action=Action("weight_ppm", 1, 2))
    folder.recorder.decided(turn, msgspec.structs.replace(look, rule=rule), answer)
    found = audited(folder)
    assert found.mismatches == ()
    assert dict(found.counts.needed) == {needed: 1}


def test_only_what_was_decided_since_is_judged_and_the_rest_is_followed(folder):
    begun(folder)
    look, turn = looked(folder)
    wrong = msgspec.structs.replace(decided(look, turn.now_ms), verdict="PROMOTE")
    folder.recorder.decided(turn, look, wrong)
    since_ms = folder.now_ms + 1
    folder.shell.show_canary(ROUTE)
    folder.step()
    assert kinds(folder, since_ms=since_ms) == []
    assert audited(folder, since_ms=since_ms).counts.decisions == 1
    assert kinds(folder, since_ms=turn.now_ms) == [(4, "computed")]
    nothing = audited(folder, since_ms=folder.now_ms + 1).counts
    assert (nothing.records, nothing.decisions) == (0, 0)


def test_forgotten_bytes_are_no_mismatch_and_are_counted(folder):
    begun(folder)
    for _ in range(2):
        folder.shell.show_canary(ROUTE)
        folder.step()
    folder.decisions.forget(folder.loop.token, folder.now_ms - STEP_MS)
    folder.now_ms += 2 * DAY_MS
    found = audited(folder)
    assert found.mismatches == ()
    assert (found.counts.computed, found.counts.forgotten) == (3, 1)


def test_bytes_that_are_gone_too_soon_are_found(folder):
    begun(folder)
    for _ in range(2):
        folder.shell.show_canary(ROUTE)
        folder.step()
    folder.decisions.forget(folder.loop.token, folder.now_ms - STEP_MS)
    assert {n for n, kind in kinds(folder) if kind == "bytes"} == {3}
    folder.now_ms += 2 * DAY_MS
    assert kinds(folder, keep_days=400) != []


def test_records_after_a_restore_go_on_without_a_mismatch(folder):
    begun(folder)
    folder.loop.release()
    folder.file.close()
    pass_numbers(folder.data / FILE_NAME, folder.now_ms)
    folder.shell.show_canary(ROUTE)
    folder.step()
    found = audited(folder)
    assert found.mismatches == ()
    assert found.counts.records == 4


def test_end_that_was_cut_off_is_seen_by_the_ledger(folder):
    begun(folder)
    with closing(SqliteLedger(folder.data / LEDGER_FILE)) as ledger:
        token = ledger.acquire("test", folder.now_ms, 60_000)
        ledger.assign(token, (), {"@decisions": 3})
    assert kinds(folder) == []
    with closing(sqlite3.connect(folder.data / FILE_NAME)) as connection:
        connection.execute("DROP TRIGGER record_never_goes")
        connection.execute("DELETE FROM named WHERE n = 3")
        connection.execute("DELETE FROM record WHERE n = 3")
        connection.commit()
    [one] = audited(folder).mismatches
    assert (one.n, one.kind) == (3, "missing")
    assert "the ledger has a leaf of record 3" in one.detail


def test_every_kind_of_mismatch_has_a_next_step(folder):
    begun(folder)
    folder.publisher.publish(
        folder.loop.token, [Steered((Rollout("other", "", "a", "b", 1),))], folder.now_ms
    )
    [one] = audited(folder).mismatches
    assert one.next_step == NEXT_STEPS["steering"]
    assert all(text.endswith(".") for text in NEXT_STEPS.values())


def test_folder_without_decisions_is_refused(tmp_path):
    with pytest.raises(StateError, match="there are no decisions"):
        audit_decisions(AuditRequest(tmp_path, NOW_MS))
    with pytest.raises(StateError, match="there are no decisions"), recorded_decisions(tmp_path):
        pass


def test_folder_without_key_ring_is_refused(folder):
    begun(folder)
    for file in (folder.data / "keyring").iterdir():
        file.unlink()
    with pytest.raises(StateError, match="no key ring"):
        audited(folder)


def test_forged_key_ring_is_refused(folder):
    begun(folder)
    [*_, last] = sorted((folder.data / "keyring").glob("*.json"))
    stored = msgspec.json.decode(last.read_bytes())
    stored["jws"] = stored["jws"][:-4] + "AAAA"
    last.chmod(0o600)
    last.write_bytes(msgspec.json.encode(stored))
    with pytest.raises(StateError, match="key ring"):
        audited(folder)


def test_subject_of_another_decision_is_found(folder):
    begun(folder)
    look, turn = looked(folder)
    other = Subject("", "chat", "old", "newer")
    folder.recorder.decided(
        turn, msgspec.structs.replace(look, subject=other), decided(look, turn.now_ms)
    )
    assert kinds(folder) == [(4, "computed")]
