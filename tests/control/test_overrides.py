"""A card names commands that there are, for the decision that it shows."""

import shlex

import msgspec
import pytest

from verismo.cli.budget import budget
from verismo.cli.canary import canary
from verismo.control.overrides import override_command
from verismo.model.decision import Action, Decision, Subject, decision_digest


class Nothing(msgspec.Struct, frozen=True):
    pass


def decision_of(verdict, *reasons, **changed):
    values = {
        "controller": "canary",
        "version": 1,
        "subject": Subject("T1", "chat support", "a", "b"),
        "verdict": verdict,
        "action": Action(),
        "reasons": reasons,
        "inputs": "",
        "settings": "",
        "at_ms": 1,
        "metrics": (),
        "state": Nothing(),
    }
    return Decision(**{**values, **changed})


def verbs(decision):
    return [line.split()[2] for line in override_command(decision).splitlines()]


@pytest.mark.parametrize(
    ("verdict", "reason", "expected"),
    [
        ("HOLD", "evidence_worse", ["promote", "extend", "rollback"]),
        ("PROMOTE", "evidence_no_worse", ["hold", "rollback"]),
        ("ROLLBACK", "p95_severe", ["promote", "stop"]),
        ("ROLLBACK", "invariant_broken: residency", ["stop"]),
        ("NODATA", "no_window", []),
    ],
)
def test_commands_fit_the_verdict(verdict, reason, expected):
    assert verbs(decision_of(verdict, reason)) == expected


def test_command_names_the_rollout_and_the_decision_quoted_for_a_shell():
    decision = decision_of("ROLLBACK", "p95_severe")
    words = shlex.split(override_command(decision).splitlines()[0])
    options = dict(zip(words[3::2], words[4::2], strict=True))
    assert words[:3] == ["verismo", "canary", "promote"]
    assert options["--operation"] == "chat support"
    assert options["--tenant"] == "T1"
    assert options["--of"] == decision_digest(decision)


def test_rollout_of_all_tenants_names_none():
    decision = decision_of("HOLD", "inconclusive", subject=Subject("", "chat", "a", "b"))
    assert "--tenant" not in override_command(decision)


@pytest.mark.parametrize(
    ("verdict", "reason", "expected"),
    [
        ("THROTTLE", "w60_over", ["static", "raise"]),
        ("NOOP", "ask_owner", ["static", "raise"]),
        ("CONTINUE", "frozen_by_hand", ["resume"]),
        ("REVERT_STATIC", "static_by_hand", ["resume"]),
        ("REVERT_STATIC", "thrash toggles=5", []),
        ("RELEASE", "recovered", []),
    ],
)
def test_throttled_routes_have_commands_of_their_own(verdict, reason, expected):
    subject = Subject("T1", "chat")
    decision = decision_of(verdict, reason, controller="budget", subject=subject)
    assert verbs(decision) == expected


def test_replicas_are_set_by_nobody_else():
    decision = decision_of("SCALE_UP", "wish_above_band=6", controller="scaling")
    assert override_command(decision) == ""


@pytest.mark.parametrize(
    ("group", "decision"),
    [
        (canary, decision_of("HOLD", "evidence_worse")),
        (canary, decision_of("PROMOTE", "evidence_no_worse")),
        (canary, decision_of("ROLLBACK", "p95_severe")),
        (budget, decision_of("THROTTLE", "w60_over", controller="budget")),
        (budget, decision_of("CONTINUE", "frozen_by_hand", controller="budget")),
    ],
    ids=lambda one: getattr(one, "verdict", ""),
)
def test_every_command_is_one_that_there_is(group, decision):
    for line in override_command(decision).splitlines():
        _, name, verb, *words = shlex.split(line)
        known = {option for one in group.commands[verb].params for option in one.opts}
        used = {one for one in words if one.startswith("--")}
        required = {
            one.opts[0] for one in group.commands[verb].params if one.required and not one.envvar
        }
        assert name == group.name
        assert required <= used <= known
