"""`[canary.flags]`: only what takes nothing but traffic away may stand there, and not for ever."""

from datetime import UTC, datetime, timedelta

import pytest

from verismo.adapt.flag import Flag
from verismo.config.effective import effective
from verismo.model.errors import ConfigError

REASON = "the provider has an incident"
HOUR = timedelta(hours=1)


def at(later):
    return (datetime.now(UTC) + later).strftime("%Y-%m-%dT%H:%M:%SZ")


def flag(operation="support.answer", **more):
    given = {"verb": '"hold"', "reason": f'"{REASON}"', "expires": at(HOUR)} | more
    lines = "".join(f"{key} = {value}\n" for key, value in given.items() if value)
    return f'[canary.flags."{operation}"]\n{lines}'


@pytest.fixture
def rollouts(workspace):
    """A folder in which one operation has a candidate."""
    workspace.append(
        "verismo.toml", '[deployments.next]\nprovider = "up"\nmodel = "m"\nregion = "us"\n'
    )
    workspace.replace("operations/chat.toml", 'aliases = ["gpt-4o"]', 'candidates = ["next"]')
    workspace.write(
        "operations/plain.toml",
        '[operations.plain]\nkind = "chat"\npurpose = "support"\ndeployments = ["chat"]\n',
    )
    return workspace


def problem(workspace, text):
    workspace.append("verismo.toml", text)
    with pytest.raises(ConfigError) as caught:
        workspace.load()
    return caught.value.detail


def test_without_a_table_there_are_no_flags(rollouts):
    assert rollouts.load().canary.flags == ()


def test_a_flag_is_taken_and_shown(rollouts):
    rollouts.append("verismo.toml", flag(verb='"rollback"', tenant='"TENANT_001"'))
    config = rollouts.load()
    (found,) = config.canary.flags
    assert found == Flag("support.answer", "TENANT_001", "rollback", REASON, found.expires_ms)
    assert found.expires_ms % 1_000 == 0
    assert effective(config)["canary"]["flags"][0]["verb"] == "rollback"
    assert config.warnings == ()


def test_a_flag_that_is_over_is_a_warning(rollouts):
    rollouts.append("verismo.toml", flag(expires=at(-HOUR)))
    (warning,) = rollouts.load().warnings
    assert "is over, so the flag does nothing" in str(warning)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (flag(operation="support.anwser"), "did you mean support.answer?"),
        (flag(operation="plain"), "it has no `candidates`"),
        (flag(verb='"promote"'), "run `verismo canary promote --operation support.answer`"),
        (flag(verb='"extend"'), "run `verismo canary extend --operation support.answer`"),
        (flag(verb='"stop"'), "'stop' is not one of hold, rollback"),
        (flag(verb="1"), "verb: expected `str`"),
        (flag(reason='"short"'), "needs 10 to 1000 characters"),
        (flag(reason='"           "'), "needs 10 to 1000 characters"),
        (flag(reason=""), "reason is missing"),
        (flag(expires=""), "expires is missing"),
        (flag(expires='"soon"'), "expires"),
        (flag(expires="2026-12-01T12:00:00"), "must be in UTC"),
        (flag(expires="2026-12-01T12:00:00+02:00"), "must be in UTC"),
        (flag(expires="9999-12-31T23:59:59Z"), "must be within a week"),
        (flag(expires=at(timedelta(days=8))), "must be within a week"),
        (flag(tenant='"TENANT_01"'), "did you mean TENANT_001?"),
        (flag(until="1"), "unknown key"),
        (flag() + "[adapt]\nenabled = false\n", "enable [adapt]"),
        (flag() + "[adapt]\nkeep_days = 6\n", "need adapt.keep_days of 7 at least"),
    ],
    # Times are not the same in every process that collects these.
    ids=lambda value: "flag" if "\n" in value else value,
)
def test_what_is_no_flag_is_refused_with_its_place(rollouts, text, told):
    found = problem(rollouts, text)
    assert told in found
    assert "verismo.toml:" in found
