"""`verismo policy`: what it prints, what it writes, and its exit codes."""

import io
import json
import shutil
import sys
import tarfile
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

import verismo
from verismo.cli.main import cli, main
from verismo.model.errors import StateError
from verismo.wiring.policy import open_policy

DEFAULT = Path(verismo.__file__).parent / "templates" / "policy"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    shutil.copytree(DEFAULT, tmp_path / "policy")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "policy"


def run(*arguments: str, stdin: str | None = None):
    return CliRunner().invoke(cli, ["policy", *arguments], input=stdin)


def test_default_folder_is_tested_and_checked(folder):
    tested = run("test")
    assert tested.exit_code == 0, tested.output
    assert "data.verismo.gateway_test.test_good_call_is_allowed: PASS" in tested.output
    assert "FAIL: 0/" in tested.output
    assert run("check").exit_code == 0


def test_failing_test_exits_1_and_says_where(folder):
    (folder / "bad_test.rego").write_text("package verismo.t\n\ntest_no if false\n")
    result = run("test", str(folder))
    assert result.exit_code == 1
    assert "t.test_no: FAIL  (bad_test.rego:3: is undefined, not true)" in result.output
    assert "FAIL: 1/" in result.output


def test_policy_without_tests_exits_1(folder):
    for path in folder.glob("*_test.rego"):
        path.unlink()
    result = run("test")
    assert result.exit_code == 1
    assert "a policy without tests does not pass" in result.output


def test_coverage_names_lines_that_no_test_reaches(folder):
    (folder / "extra.rego").write_text("package verismo.extra\n\nx if input.y\n")
    assert "extra.rego: 0%, not covered: 3" in run("test", "--coverage").output


def test_junit_file_counts_what_was_printed(folder):
    (folder / "bad_test.rego").write_text(
        "package verismo.t\ntest_no if false\ntodo_test_later if true\ntest_err if 1 / 0\n"
    )
    assert run("test", "--junit", "out/junit.xml").exit_code == 1
    suite = ElementTree.parse("out/junit.xml").getroot()
    assert (suite.get("failures"), suite.get("errors"), suite.get("skipped")) == ("1", "1", "1")
    assert len(suite.findall("testcase")) == int(suite.get("tests"))
    assert suite.find("testcase/failure").get("message") == "is undefined, not true"


def test_check_exits_1_with_file_and_line(folder):
    (folder / "bad.rego").write_text('package verismo.gateway\n\nx := http.send({"url": "u"})\n')
    result = run("check")
    assert result.exit_code == 1
    assert "policy/bad.rego:3: builtin `http.send` is not in the Rego profile" in result.output


def test_check_refuses_a_policy_without_a_verdict(folder):
    (folder / "decision.rego").write_text("package verismo.gateway\nfact(x) := x\n")
    result = run("check")
    assert isinstance(result.exception, StateError)


def test_refused_policy_ends_the_command_with_exit_2(folder, monkeypatch, capsys):
    (folder / "bad.rego").write_text("package verismo.gateway\nx := )\n")
    monkeypatch.setattr(sys, "argv", ["verismo", "policy", "check"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "error: bad.rego:2:" in capsys.readouterr().err


def test_missing_folder_is_wrong_usage(tmp_path):
    for command in (["test"], ["check"], ["build", "-b"], ["eval", "data", "-d"]):
        assert run(*command, str(tmp_path / "none")).exit_code == 2


def test_gateway_opens_the_policy_that_the_commands_check(folder):
    engine = open_policy(folder)
    assert engine.bundle in run("build").output


def test_eval_of_a_refused_policy_says_why(folder):
    (folder / "bad.rego").write_text("package verismo.gateway\nf(a) := f(a)\n")
    result = run("eval", "data.verismo.gateway.f(1)")
    assert isinstance(result.exception, StateError)
    assert "bad.rego:2: a function may not reach itself" in result.exception.detail


def test_eval_prints_the_verdict_as_json(folder):
    result = run("eval", "-d", "policy", "-i", "-", "data.verismo.gateway.decision", stdin="{}")
    assert result.exit_code == 0
    value = json.loads(result.output)["result"][0]["expressions"][0]["value"]
    assert value["allow"] is False
    assert "residency" in {denial["code"] for denial in value["deny"]}


def test_eval_without_an_input_file_uses_an_empty_object(folder):
    output = run("eval", "count(input)").output
    assert json.loads(output)["result"][0]["expressions"][0]["value"] == 0


@pytest.mark.parametrize(
    ("query", "stdin", "detail"),
    [("x := ", "{}", "expecting"), ("data", "{", "not JSON"), ("nope(1)", "{}", "nope")],
)
def test_eval_of_what_cannot_be_evaluated_says_why(folder, query, stdin, detail):
    result = run("eval", "-i", "-", query, stdin=stdin)
    assert isinstance(result.exception, StateError)
    assert detail in result.exception.detail


def test_build_writes_the_same_bundle_each_time(folder):
    result = run("build", "-b", "policy", "-o", "one/bundle.tar.gz")
    assert result.exit_code == 0, result.output
    assert run("build", "-o", "two.tar.gz").exit_code == 0
    packed = Path("one/bundle.tar.gz").read_bytes()
    assert packed == Path("two.tar.gz").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        names = archive.getnames()
    assert "/.manifest" in names
    assert not [name for name in names if name.endswith("_test.rego")]


def test_build_of_a_refused_policy_writes_nothing(folder):
    (folder / "bad.rego").write_text("package verismo.gateway\nx := time.nope()\n")
    assert isinstance(run("build").exception, StateError)
    assert not Path("bundle.tar.gz").exists()


def test_build_to_a_place_that_cannot_be_written_says_so(folder):
    Path("file").write_text("")
    result = run("build", "-o", "file/bundle.tar.gz")
    assert isinstance(result.exception, StateError)
    assert "cannot write" in result.exception.detail
