"""A flag is an act like any other, and the same one as long as all it says is."""

import msgspec
import pytest

from verismo.adapt.flag import Flag, act_of_flag, is_about, is_same
from verismo.model.decision import Subject

NOW_MS = 1_000
FLAG = Flag("chat", "", "hold", "the provider has an incident", NOW_MS + 600_000)
SUBJECT = Subject("", "chat", "old", "new")


def test_an_act_says_that_the_configuration_did_it_and_what_it_overrides():
    act = act_of_flag(FLAG, SUBJECT, "ab" * 32, NOW_MS)
    assert (act.actor, act.key, act.role, act.channel) == ("configuration", "", "admin", "flag")
    assert (act.of, act.at_ms, act.expires_ms) == ("ab" * 32, NOW_MS, FLAG.expires_ms)
    assert (act.controller, act.verb, act.subject, act.reason) == (
        *("canary", "hold", SUBJECT),
        FLAG.reason,
    )


def test_the_act_is_the_flags_whenever_it_was_done_and_whatever_it_overrode():
    assert is_same(act_of_flag(FLAG, SUBJECT, "cd" * 32, NOW_MS + 5), FLAG)


@pytest.mark.parametrize(
    "other",
    [{"verb": "rollback"}, {"reason": "another incident"}, {"expires_ms": 5}, {"tenant": "T1"}],
    ids=str,
)
def test_a_flag_that_says_something_else_is_another(other):
    act = act_of_flag(FLAG, SUBJECT, "ab" * 32, NOW_MS)
    assert not is_same(act, msgspec.structs.replace(FLAG, **other))


def test_what_a_person_did_is_no_flag():
    act = act_of_flag(FLAG, SUBJECT, "ab" * 32, NOW_MS)
    assert not is_same(msgspec.structs.replace(act, channel="cli"), FLAG)


def test_a_flag_is_about_the_rollout_of_its_operation_and_tenant():
    assert is_about(FLAG, SUBJECT)
    assert not is_about(FLAG, msgspec.structs.replace(SUBJECT, tenant="T1"))
    assert not is_about(FLAG, msgspec.structs.replace(SUBJECT, operation="other"))
