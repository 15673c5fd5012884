"""Overrides by environment variables."""

from pathlib import Path

import pytest


def test_the_environment_overrides_the_file(workspace):
    workspace.append("verismo.toml", '[listen]\nhost = "127.0.0.2"\nport = 1\nworkers = 2\n')
    config = workspace.load(
        {
            "VERISMO_HOST": "127.0.0.3",
            "VERISMO_PORT": "9",
            "VERISMO_WORKERS": "4",
            "VERISMO_DATA": "/srv/data",
        }
    )
    assert (config.listen.host, config.listen.port) == ("127.0.0.3", 9)
    assert config.listen.workers == 4
    assert config.data == Path("/srv/data")


def test_a_relative_data_folder_starts_where_the_operator_is(workspace, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert workspace.load({"VERISMO_DATA": "here"}).data == tmp_path / "here"


def test_empty_variables_count_as_unset(workspace):
    names = ["VERISMO_HOST", "VERISMO_PORT", "VERISMO_WORKERS", "VERISMO_DATA"]
    assert workspace.load(dict.fromkeys(names, "")) == workspace.load()


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("VERISMO_PORT", "http", "is not a whole number"),
        ("VERISMO_PORT", "-1", "is not a whole number"),
        ("VERISMO_PORT", "٣", "is not a whole number"),
        ("VERISMO_PORT", "65536", "<= 65535"),
        ("VERISMO_PORT", "9" * 5_000, "<= 65535"),
        ("VERISMO_WORKERS", "0", ">= 1"),
        ("VERISMO_WORKERS", "1.5", "is not a whole number"),
    ],
)
def test_a_bad_variable_is_an_error_that_names_it(workspace, name, value, part):
    (problem,) = workspace.problems({name: value})
    assert problem.startswith(f"environment: {name}=")
    assert part in problem


def test_a_host_from_the_environment_is_checked_as_one_from_the_file(workspace):
    assert "neither an address nor a host name" in workspace.problems({"VERISMO_HOST": "a b"})[0]


def test_a_port_from_the_environment_may_not_be_the_control_port(workspace):
    assert "public listener's port" in workspace.problems({"VERISMO_PORT": "8081"})[0]


def test_a_kubernetes_service_link_does_not_change_the_port(workspace):
    environ = {"VERISMO_PORT": "tcp://10.96.0.17:80"}
    assert workspace.load(environ).listen.port == 8080
    assert "service link" in workspace.warnings(environ)[0]
