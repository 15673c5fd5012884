"""`[scaling.NAME]`: each target has what it needs, and no two rules scale one thing."""

import json
import re

import pytest

from verismo.config.effective import effective
from verismo.model.errors import ConfigError

TABLE = """
[scaling.reader]
deployment = "chat"
target = "prod/reader"
slots = 16
replicas_min = 2
replicas_max = 40
late_ms = 2000
"""
STRICT = TABLE + 'mode = "strict"\n'


def target_of(workspace, text):
    workspace.append("verismo.toml", text)
    [target] = workspace.load({}).scaling
    return target


def problem(workspace, text):
    workspace.append("verismo.toml", text)
    with pytest.raises(ConfigError) as caught:
        workspace.load({})
    return caught.value.detail


def test_nothing_is_scaled_unless_it_is_asked_for(workspace):
    assert workspace.load().scaling == ()


def test_a_target_is_taken_apart(workspace):
    target = target_of(workspace, STRICT)
    assert (target.namespace, target.workload) == ("prod", "reader")
    assert target.settings.target == target.name == "reader"
    assert (target.settings.replicas_min, target.settings.gap_ms) == (2, 120_000)
    assert target.replicas_from == "scale"


def test_a_gauge_without_replicas_is_warned_about(workspace):
    workspace.append("verismo.toml", TABLE)
    assert any("replicas_from" in str(one) for one in workspace.load({}).warnings)


def test_files_lie_where_kubernetes_puts_them_unless_said_otherwise(workspace):
    target = target_of(workspace, STRICT + 'token_file = "k8s/token"\nca_file = ""\n')
    assert target.token_file == workspace.root / "k8s" / "token"
    assert target.ca_file is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('deployment = "chatt"', "did you mean chat?"),
        ('target = "reader"', "NAMESPACE/NAME"),
        ('target = "Prod/reader"', "NAMESPACE/NAME"),
        ("replicas_max = 1", "replicas_max"),
        ("gap_ms = 119999", "gap_ms"),
        ("slots = 0", "slots"),
        ('replicas_from = "prometheus"', "replicas_query"),
        ('replicas_query = "x"', "replicas_query"),
        ('queue_query = "x"', "prometheus_url"),
        ('prometheus_url = "http://127.0.0.1:9"', "of use with a query"),
        ('api_url = "ftp://127.0.0.1"', "api_url"),
    ],
)
def test_what_cannot_work_is_refused(workspace, line, said):
    key = line.partition(" ")[0]
    text, count = re.subn(rf"(?m)^{key} = .*$", line, TABLE)
    assert said in problem(workspace, text if count else TABLE + line + "\n")


def test_strict_mode_does_not_take_replicas_from_elsewhere(workspace):
    text = (
        STRICT + 'replicas_from = "prometheus"\nreplicas_query = "x"\nprometheus_url = "http://p"\n'
    )
    assert "strict mode reads the replicas where it sets them" in problem(workspace, text)


@pytest.mark.parametrize("key", ["target", "deployment"])
def test_two_rules_on_one_thing_are_refused(workspace, key):
    second = TABLE.replace("scaling.reader", "scaling.second")
    other = {"target": 'deployment = "graph"', "deployment": 'target = "prod/other"'}[key]
    second = re.sub(rf"(?m)^{other.partition(' ')[0]} = .*$", other, second)
    assert f"scaling.second.{key}" in problem(workspace, TABLE + second)


def test_a_name_that_is_no_label_is_refused(workspace):
    text = TABLE.replace("[scaling.reader]", f"[scaling.{'x' * 64}]")
    assert "63 characters" in problem(workspace, text)


def test_a_token_in_clear_is_warned_about(workspace):
    workspace.append("verismo.toml", STRICT + 'api_url = "http://127.0.0.1:8001"\n')
    assert any("in clear" in str(one) for one in workspace.load({}).warnings)


def test_without_tls_no_certificate_is_read(workspace):
    target = target_of(workspace, STRICT + 'api_url = "http://127.0.0.1:8001"\n')
    assert target.ca_file is None


def test_a_file_that_the_api_server_needs_and_is_not_there_is_warned_about(workspace):
    files = 'token_file = "k8s/token"\nca_file = "k8s/ca.crt"\n'
    workspace.append("verismo.toml", STRICT + files)
    told = [str(one) for one in workspace.load({}).warnings]
    for name in ("token", "ca.crt"):
        [one] = [one for one in told if f"there is no file {workspace.root / 'k8s' / name}" in one]
        assert "scaling.reader" in one
    (workspace.root / "k8s").mkdir()
    for name in ("token", "ca.crt"):
        (workspace.root / "k8s" / name).write_text("held\n")
    assert not any("there is no file" in str(one) for one in workspace.load({}).warnings)


def test_no_file_is_missed_where_the_api_server_is_not_asked(workspace):
    workspace.append("verismo.toml", TABLE)
    assert not any("there is no file" in str(one) for one in workspace.load({}).warnings)


def test_it_is_shown_with_what_is_in_force(workspace):
    workspace.append("verismo.toml", STRICT)
    shown = effective(workspace.load({}))
    [target] = json.loads(json.dumps(shown["scaling"]))
    assert target["settings"]["headroom"]["start_ppm"] == 350_000


@pytest.mark.parametrize(
    "text", [STRICT, '\n[slo.support]\noperation = "support.answer"\nlatency_ms = 2000\n']
)
def test_without_windows_nothing_is_scaled_or_promised(workspace, text):
    assert "enable [adapt]" in problem(workspace, text + "[adapt]\nenabled = false\n")
