"""Runs the command line in this process, as `main` does, and a folder for it to work on."""

import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from verismo.cli.main import main


class Outcome(msgspec.Struct, frozen=True):
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


@pytest.fixture
def verismo(monkeypatch, capsys) -> Callable[..., Outcome]:
    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["verismo", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        printed = capsys.readouterr()
        code = caught.value.code
        return Outcome(int(code) if code is not None else 0, printed.out, printed.err)

    return run


@pytest.fixture
def initialised(tmp_path: Path, verismo, monkeypatch) -> Path:
    """Return a folder made by `verismo init`, which is the current folder too."""
    for name in ("VERISMO_HOST", "VERISMO_PORT", "VERISMO_DATA", "VERISMO_WORKERS"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "gateway"
    assert verismo("init", folder).code == 0
    monkeypatch.chdir(folder)
    return folder
