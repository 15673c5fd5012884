"""`verismo audit` and `verismo decisions` over a folder that the real loop has written."""

import json
import shutil
import sqlite3
from contextlib import closing
from itertools import islice

import pytest
from click.testing import CliRunner
from tests.support import adaptdb

from verismo.adapters.adapt_file import FILE_NAME
from verismo.cli.audit import audit
from verismo.cli.decisions import decisions, followed, tell_decision
from verismo.cli.moments import since
from verismo.control.decisionlist import Listed, Wanted
from verismo.model.decision import Action
from verismo.model.errors import StateError


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    data = tmp_path_factory.mktemp("recorded")
    adaptdb.written(data)
    return data


@pytest.fixture
def altered(recorded, tmp_path):
    data = tmp_path / "altered"
    shutil.copytree(recorded, data)
    with closing(sqlite3.connect(data / FILE_NAME)) as connection:
        connection.execute("DROP TRIGGER record_never_changes")
        connection.execute("UPDATE record SET verdict = 'HOLD' WHERE n = 14")
        connection.commit()
    return data


def run(command, *arguments):
    return CliRunner().invoke(command, [str(one) for one in arguments])


def test_json_is_exactly_two_numbers(recorded):
    result = run(audit, "--data", recorded, "--json")
    assert result.output == '{"decisions": 19, "mismatches": 0}\n'
    assert result.exit_code == 0


def test_whole_folder_is_said_to_be_whole(recorded):
    result = run(audit, "--data", recorded)
    assert "19 decisions in 28 records, 19 computed anew" in result.output
    assert "everything is as it was recorded" in result.output


def test_mismatch_is_named_with_record_subject_and_next_step(altered):
    result = run(audit, "--data", altered)
    assert result.exit_code == 1
    assert 'record 14 about {"baseline":"","candidate":"","operation":"chat"' in result.output
    assert "row: it is listed as 'HOLD', and is 'THROTTLE'" in result.output
    assert "next:  The table was edited by hand" in result.output
    assert result.output.endswith("1 mismatch\n")


def test_json_counts_mismatches_and_fails(altered):
    result = run(audit, "--data", altered, "--json")
    assert json.loads(result.output) == {"decisions": 19, "mismatches": 1}
    assert result.exit_code == 1


def test_configuration_says_how_long_bytes_are_kept(recorded, tmp_path):
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "main.rego").write_text("package verismo\n")
    file = tmp_path / "verismo.toml"
    file.write_text(f'data = "{recorded}"\n[tenants]\n')
    result = run(audit, "--config", file, "--json")
    assert (result.exit_code, json.loads(result.output)["mismatches"]) == (0, 0)
    assert run(decisions, "--config", file, "--limit", 1).exit_code == 0


def test_mismatch_before_the_time_is_not_judged(altered):
    result = run(audit, "--data", altered, "--since", "2026-12-01")
    assert "nothing was recorded then" in result.output
    assert result.exit_code == 0
    moment = "2026-09-21T14:15:01Z"  # record 14 is a second older
    assert run(audit, "--data", altered, "--since", moment, "--json").exit_code == 0


@pytest.mark.parametrize("since", ["yesterday", "0", "-1h", "2026-13-01", "24"])
def test_time_that_is_none_is_refused(recorded, since):
    assert run(audit, "--data", recorded, f"--since={since}").exit_code == 2


def test_time_is_named_or_ago():
    assert since(None, 5_000) == 0
    assert since(-4_000, 5_000) == 1_000
    assert since(4_000, 5_000) == 4_000


def test_folder_without_decisions_is_an_operators_error(tmp_path):
    result = run(audit, "--data", tmp_path)
    assert isinstance(result.exception, StateError)


def test_decisions_are_listed_with_reasons_in_words(recorded):
    result = run(decisions, "--data", recorded, "--limit", 4)
    assert "canary  ROLLBACK  T1 / embed / small -> large  weight 50 % -> 0 %" in result.output
    assert "    the candidate's p95 is far slower" in result.output
    assert "    by ada: because the release is due" in result.output
    assert [line[:2] for line in result.output.splitlines() if not line.startswith(" ")] == [
        *("21", "23", "25", "27")
    ]


def numbers(recorded, *arguments):
    result = run(decisions, "--data", recorded, "--json", *arguments)
    assert result.exit_code == 0
    return [json.loads(line)["n"] for line in result.output.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--controller", "budget"), [10, 12, 14]),
        (("--controller", "canary", "--changes"), [1, 3, 17, 19, 23, 25]),
        (("--target", "gate/reader"), [11, 13, 15, 27]),
        (("--tenant", "T1", "--operation", "embed"), [3, 19, 21, 23]),
        (("--operation", "chat", "--limit", "2"), [17, 25]),
        (("--since", "2026-09-21T14:15Z", "--limit", "3"), [23, 25, 27]),
        (("--since", "2026-12-01"), []),
    ],
)
def test_only_what_is_wanted_is_listed(recorded, arguments, expected):
    assert numbers(recorded, *arguments) == expected


def test_where_nothing_fits_it_says_so(recorded):
    result = run(decisions, "--data", recorded, "--operation", "nope")
    assert result.exit_code == 0
    assert (result.stdout, "no recorded decision fits" in result.stderr) == ("", True)


def test_following_goes_on_with_each_new_decision_once(tmp_path):
    with closing(adaptdb.AdaptFolder(tmp_path)) as folder:
        folder.act("start")
        told = followed(folder.decisions, Wanted(), 0)
        assert next(told).n == 1
        folder.shell.show_canary(adaptdb.ROUTE)
        folder.step()
        folder.act("promote")
        assert [one.n for one in islice(told, 2)] == [3, 4]


def test_json_has_the_digest_that_an_override_names(recorded):
    result = run(decisions, "--data", recorded, "--json", "--controller", "canary", "--limit", 1)
    found = json.loads(result.output)
    assert (found["person"], found["verdict"]) == ("ada", "ROLLBACK")
    assert len(found["digest"]) == len(found["of"]) == 64


def test_record_that_cannot_be_read_sends_to_the_audit(recorded, tmp_path):
    data = tmp_path / "broken"
    shutil.copytree(recorded, data)
    with closing(sqlite3.connect(data / FILE_NAME)) as connection:
        connection.execute("DROP TRIGGER record_never_changes")
        connection.execute("UPDATE record SET statement = x'7b7d' WHERE n = 14")
        connection.commit()
    result = run(decisions, "--data", data)
    assert isinstance(result.exception, StateError)
    assert "verismo audit" in result.exception.advice


@pytest.mark.parametrize(
    ("channel", "said"),
    [
        ("flag", "a flag of the configuration holds the rollout where it is"),
        ("cli", "a person holds the rollout where it is"),
        ("", "a person or a flag of the configuration holds the rollout where it is"),
    ],
)
def test_who_holds_a_rollout_is_said_as_far_as_it_is_known(channel, said, capsys):
    tell_decision(
        Listed(
            *(1, "canary-act", 1, 1, adaptdb.ROUTE, "HOLD", Action(), ("held_by_hand",), "", ""),
            channel=channel,
        )
    )
    assert f"    {said}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (Action("replicas", 0, 0), "replicas unknown"),
        (Action("replicas", 3, 3), "replicas 3"),
        (Action("replicas", 3, 4), "replicas 3 -> 4"),
        (Action("weight_ppm", 50_000, 0), "weight 5 % -> 0 %"),
    ],
)
def test_replicas_that_could_not_be_read_are_no_zero(action, said, capsys):
    tell_decision(Listed(1, "scaling", 1, 1, adaptdb.ROUTE, "NODATA", action, (), "", ""))
    assert capsys.readouterr().out.endswith(f"  {said}\n")
