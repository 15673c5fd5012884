"""The lifetimes of keys: their defaults, and those by which no key could follow another in time."""

import pytest

from verismo.attest.succession import KeyRules


def test_defaults_are_those_of_the_rules(workspace):
    assert workspace.load().keys == KeyRules()


def test_seconds_become_milliseconds(workspace):
    workspace.append(
        "verismo.toml",
        "[keys]\nactive_s = 100\nnotice_s = 40\noverlap_s = 7\n"
        "handover_s = 3\njwks_max_age_s = 5\n",
    )
    assert workspace.load().keys == KeyRules(100_000, 40_000, 7_000, 3_000, 5_000)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("notice_s = 599", "at least 600, twice jwks_max_age_s"),
        ("jwks_max_age_s = 43201", "at least 86402"),
        ("active_s = 172860", "over 172860: two notices and the handover"),
        ("active_s = 0", "active_s"),
        ("handover_s = 0", "handover_s"),
        ("overlap_s = -1", "overlap_s"),
        ('signer = "pkcs11"', "signer"),
        ("active_days = 30", "active_days"),
    ],
)
def test_times_that_leave_a_gap_are_refused(workspace, text, said):
    workspace.append("verismo.toml", f"[keys]\n{text}\n")
    (problem,) = workspace.problems()
    assert said in problem


def test_shortest_lives_that_leave_no_gap_are_allowed(workspace):
    workspace.append("verismo.toml", "[keys]\nactive_s = 172861\njwks_max_age_s = 43200\n")
    assert workspace.load().keys.lead_ms == 86_400_000
