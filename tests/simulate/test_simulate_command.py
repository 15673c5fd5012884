"""`verismo simulate` as a process."""

import re
import signal
import subprocess
import sys

import httpx2
import pytest
from click.testing import CliRunner

from verismo.cli.simulate import simulate
from verismo.model.errors import OperatorError


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_names_itself_a_simulator_serves_and_ends_cleanly(number):
    command = [sys.executable, "-m", "verismo", "simulate", "--port", "0", "--model", "small"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        line = process.stdout.readline()
        assert line.startswith("Simulated upstream, no model runs here: ")
        url = re.search(r"http://127\.0\.0\.1:\d+", line).group()
        models = httpx2.get(f"{url}/v1/models").json()["data"]
        assert [model["id"] for model in models] == ["small"]
        process.send_signal(number)
        output, errors = process.communicate(timeout=20)
    assert (process.returncode, output, errors) == (0, "", "")


def test_contradictory_options_are_an_operators_error():
    result = CliRunner().invoke(simulate, ["--latency-ms-p99", "5"])
    assert isinstance(result.exception, OperatorError)


def test_help_says_how_to_order_a_fault():
    result = CliRunner().invoke(simulate, ["--help"])
    assert result.exit_code == 0
    assert "x-simulate" in result.output
    assert "[simulate: error=500]" in result.output
