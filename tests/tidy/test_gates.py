"""The gates themselves: what tests/conftest.py, the Makefile and scripts/ promise."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.tidy.source import ROOT

SEED = """
import logging
import os
import time

import pytest


@pytest.mark.external("no-such-program", "sh")
def test_that_needs_a_program():
    raise AssertionError("ran")


def test_that_is_quick():
    assert "OPENAI_API_KEY" not in os.environ
    assert "HTTPS_PROXY" not in os.environ


def test_that_takes_long():
    time.sleep(0.3)


@pytest.mark.slow
def test_that_says_so():
    time.sleep(0.3)


def test_that_logs_half_a_pair():
    logging.getLogger("seed").warning("\\ud800")
"""


@pytest.fixture
def suite(tmp_path: Path):
    """Return a function that runs the seeded tests under our conftest, in another process."""
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path / "tests")
    (tmp_path / "tests" / "test_seed.py").write_text(SEED, encoding="utf-8")

    def run(*arguments: str, **environment: str) -> str:
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", *arguments],
            cwd=tmp_path,
            env={**os.environ, "OPENAI_API_KEY": "x", "HTTPS_PROXY": "http://x", **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return ran.stdout + ran.stderr

    return run


@pytest.mark.slow
def test_what_needs_a_missing_program_is_skipped_and_named(suite):
    printed = suite()
    assert "not run here: 1 test (needs no-such-program)" in printed
    assert re.search(r"=+ 4 passed, 1 skipped in [0-9.]+s =+\s*\Z", printed)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [(), ("-n", "2")], ids=["one", "two"])
def test_one_process_or_several_fail_a_long_test_without_the_mark_where_time_is_strict(
    suite, processes
):
    printed = suite(*processes, VERISMO_STRICT_TIME="1")
    assert "FAILED tests/test_seed.py::test_that_takes_long" in printed
    assert "not run here: 1 test (needs no-such-program)" in printed
    assert re.search(r"=+ 1 failed, 3 passed, 1 skipped in [0-9.]+s =+\s*\Z", printed)


def test_make_help_names_every_target_that_people_use():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"(?m)^\.PHONY: (.*)$", makefile)
    assert phony is not None
    targets = {name for name in phony[1].split() if not name.startswith("environment-")}
    printed = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert {line.split()[1] for line in printed.splitlines()} == targets
    assert {"run", "test", "check", "bench", "help"} <= targets


@pytest.mark.parametrize("name", ["environment", "test-tools", "run-tests", "../.ci/run"])
def test_scripts_can_be_run_and_parse(name):
    script = ROOT / "scripts" / name
    assert os.access(script, os.X_OK)
    shell = "bash" if "bash" in script.read_text(encoding="utf-8").splitlines()[0] else "sh"
    assert subprocess.run([shell, "-n", script], check=False).returncode == 0


STAND_IN_FOR_UV = """#!/bin/sh
# Writes what it is asked to pin, where it is asked to pin it without dependencies.
for word do lock="$word"; done
case " $* " in *" --no-deps "*) sed 's/$/==0/' >"$lock" ;; esac
"""


def test_the_lock_of_the_model_is_compiled_without_dependencies_and_keeps_its_head(tmp_path):
    lock = ROOT / "requirements" / "model.txt"
    (tmp_path / "requirements").mkdir()
    copies = [
        shutil.copy(one, tmp_path / "requirements") for one in (lock.with_name("compile.sh"), lock)
    ]
    uv = tmp_path / "uv"
    uv.write_text(STAND_IN_FOR_UV, encoding="utf-8")
    uv.chmod(0o755)
    subprocess.run([copies[0]], env={**os.environ, "UV": str(uv)}, check=True)
    stated = lock.read_text(encoding="utf-8")
    written = Path(copies[1]).read_text(encoding="utf-8").splitlines()
    head = [line for line in stated.splitlines() if line.startswith("#")]
    names = re.findall(r"(?m)^([\w-]+)==", stated)
    assert head
    assert written == [*head, *(f"{name}==0" for name in names)]
