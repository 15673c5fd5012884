"""Loading a whole folder: what comes out, and that everything wrong is told at once."""

import os
from pathlib import Path

import pytest

from verismo.config.load import load_config
from verismo.model.errors import ConfigError
from verismo.model.limits import Limits
from verismo.model.plan import plan_digest


def test_a_small_folder_becomes_a_frozen_configuration(workspace):
    config = workspace.load()
    assert config.path == workspace.file
    assert config.root == workspace.root
    assert config.data == workspace.root / "var"
    assert config.policy == workspace.root / "policy"
    assert (config.listen.host, config.listen.port, config.listen.workers) == ("127.0.0.1", 8080, 1)
    assert (config.control.host, config.control.port) == ("127.0.0.1", 8081)
    assert config.limits == Limits()
    assert config.log.level == "info"
    assert config.telemetry.otlp_endpoint == ""
    assert config.plan.observe_deployments == {"chat": ("chat",)}
    with pytest.raises(AttributeError):
        config.data = Path("/")


def test_the_plan_can_be_hashed_and_does_not_depend_on_where_it_lies(make_workspace):
    one, other = make_workspace("one").load().plan, make_workspace("other").load().plan
    assert plan_digest(one) == plan_digest(other)


def test_the_plan_depends_on_every_setting_that_decides_answers(make_workspace):
    changed = make_workspace("changed")
    changed.replace("verismo.toml", "budget_usd_per_day = 10", "budget_usd_per_day = 11")
    assert plan_digest(changed.load().plan) != plan_digest(make_workspace("same").load().plan)


def test_a_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "verismo.toml", {})
    assert "verismo init DIR" in caught.value.advice


def test_the_process_environment_is_the_default(workspace, monkeypatch):
    monkeypatch.setenv("VERISMO_PORT", "8123")
    assert os.environ["VERISMO_PORT"] == "8123"
    assert load_config(workspace.file).listen.port == 8123


def test_relative_paths_start_at_the_folder_of_the_file(workspace, monkeypatch, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    workspace.replace("verismo.toml", "[observe]", 'data = "state"\n[observe]')
    assert workspace.load().data == workspace.root / "state"


def test_all_problems_of_all_files_are_told_at_once(workspace):
    workspace.replace("verismo.toml", 'kind = "openai"', 'kind = "opnai"')
    workspace.replace("verismo.toml", "budget_usd_per_day = 10", "budget_usd_per_dya = 10")
    workspace.append(
        "verismo.toml", "[listen]\nport = 70000\nhots = 1\n[limits]\nin_flight_max = -1"
    )
    workspace.replace("operations/chat.toml", 'deployments = ["chat"]', 'deployments = ["caht"]')
    assert workspace.problems({"VERISMO_WORKERS": "many"}) == [
        "environment: VERISMO_WORKERS='many' is not a whole number",
        'operations/chat.toml:4: operations."support.answer".deployments[0]: '
        "there is no deployment 'caht'; did you mean chat?",
        "verismo.toml:5: providers.up.kind: 'opnai' is not one of openai, anthropic, graphql, "
        "http, mcp; did you mean openai?",
        "verismo.toml:25: tenants.TENANT_001.budget_usd_per_dya: unknown key; "
        "did you mean budget_usd_per_day?",
        "verismo.toml:31: listen.port: expected `int` <= 65535",
        "verismo.toml:32: listen.hots: unknown key; did you mean host?",
        "verismo.toml:34: limits.in_flight_max: must not be negative",
    ]


def test_a_broken_operations_file_does_not_hide_other_problems(workspace):
    workspace.write("operations/broken.toml", "[open")
    workspace.replace("verismo.toml", 'region = "eu"', 'region = "e u"')
    problems = workspace.problems()
    assert problems[0].startswith("operations/broken.toml:1: not TOML")
    assert problems[1].startswith("verismo.toml:28: tenants.TENANT_002.region: must be 1 to 128")


def test_a_broken_main_file_is_one_problem(workspace):
    workspace.append("verismo.toml", "[open")
    (problem,) = workspace.problems()
    assert problem.startswith("verismo.toml:30: not TOML")


@pytest.mark.parametrize("name", Limits.__struct_fields__)
def test_a_limit_of_zero_is_refused(workspace, name):
    workspace.append("verismo.toml", f"[limits]\n{name} = 0\n")
    assert workspace.problems() == [
        f"verismo.toml:31: limits.{name}: must be at least 1: with 0 nothing could be answered"
    ]


def test_limits_are_taken_from_the_file(workspace):
    workspace.append("verismo.toml", "[limits]\nin_flight_max = 7\n")
    assert workspace.load().limits == Limits(in_flight_max=7)


@pytest.mark.parametrize(("given", "missing"), [("tls_cert", "tls_key"), ("tls_key", "tls_cert")])
def test_half_a_tls_pair_is_refused(workspace, given, missing):
    workspace.write("server.pem", "pem")
    workspace.append("verismo.toml", f'[listen]\n{given} = "server.pem"\n')
    assert workspace.problems() == [f"verismo.toml:31: listen.{given}: needs {missing} as well"]


def test_tls_files_that_are_not_there_are_refused(workspace):
    workspace.append("verismo.toml", '[listen]\ntls_cert = "c.pem"\ntls_key = "k.pem"\n')
    assert [p.split(": ", 2)[1] for p in workspace.problems()] == [
        "listen.tls_cert",
        "listen.tls_key",
    ]


def test_a_whole_tls_pair_is_taken(workspace):
    for name in ("c.pem", "k.pem"):
        workspace.write(name, "pem")
    workspace.append("verismo.toml", '[listen]\ntls_cert = "c.pem"\ntls_key = "k.pem"\n')
    listen = workspace.load().listen
    assert (listen.tls_cert, listen.tls_key) == (workspace.root / "c.pem", workspace.root / "k.pem")


def test_a_policy_folder_that_is_missing_or_empty_is_refused(workspace):
    (workspace.root / "policy" / "main.rego").unlink()
    assert "no .rego file" in workspace.problems()[0]
    (workspace.root / "policy").rmdir()
    assert "there is no folder" in workspace.problems()[0]


def test_no_tenants_is_a_warning(workspace):
    text = workspace.file.read_text().split("[tenants.TENANT_001]")[0]
    workspace.write("verismo.toml", text)
    assert any("no tenants" in warning for warning in workspace.warnings())


def test_operations_in_the_main_file_are_sent_to_their_folder(workspace):
    workspace.append("verismo.toml", '[operations.a]\nkind = "chat"\n')
    assert any("operations stand in files under operations/" in p for p in workspace.problems())


@pytest.mark.parametrize(
    "issuer", ["https://" + "i" * 120, "https://gate.example/" + "/" * 40 + "x"]
)
def test_an_issuer_and_a_region_too_long_for_one_name_are_told_with_their_lines(workspace, issuer):
    long = "r" * 128
    workspace.replace("verismo.toml", "[observe]", f'issuer = "{issuer}"\n[observe]')
    workspace.replace("verismo.toml", 'region = "eu"', f'region = "{long}"')
    workspace.append("verismo.toml", f'[ledger]\nhome_region = "{long}"\n')
    tenant, home = workspace.problems()
    assert tenant.startswith("verismo.toml:29: tenants.TENANT_002.region: names a log together")
    assert home.startswith("verismo.toml:32: ledger.home_region: names a log together")
    assert "write a shorter region" in home


def test_lengths_of_names_of_logs_do_not_matter_without_a_ledger(workspace):
    long = "r" * 128
    workspace.replace("verismo.toml", "[observe]", f'issuer = "{"i" * 128}"\n[observe]')
    workspace.replace("verismo.toml", 'region = "eu"', f'region = "{long}"')
    workspace.append("verismo.toml", "[ledger]\nenabled = false\n")
    assert workspace.load().plan.issuer == "i" * 128


def test_an_issuer_alone_may_be_too_long_to_name_a_log(workspace):
    text = workspace.file.read_text(encoding="utf-8")
    text = text[: text.index("[tenants.TENANT_001]")]
    workspace.write("verismo.toml", f'issuer = "{"!" * 128}"\n{text}')
    [problem] = workspace.problems()
    assert "ledger.home_region: names a log together with the issuer, of 128 characters" in problem
