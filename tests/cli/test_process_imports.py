"""Each process loads what it runs and nothing of the others: every start waits for its imports."""

import subprocess
import sys

import pytest

SERVER = {"uvicorn", "starlette"}
WORKER = {"verismo.wiring.worker", "genai_prices", "regorus"}
CONTROL = {"verismo.wiring.control"}
SIMULATOR = {"verismo.simulate.server", "graphql"}
STATE = {"sqlalchemy"}
EXAMPLE = {"mcp", "openai", "bm25s", "numpy"}
UNCHOSEN = {"boto3", "verismo.adapters.siem_http", "verismo.adapters.witness_http"}

FOREIGN = {
    "verismo.cli.serve": SERVER | WORKER | CONTROL | SIMULATOR | STATE | UNCHOSEN,
    "verismo.cli.demo": SERVER | WORKER | CONTROL | SIMULATOR | EXAMPLE | UNCHOSEN,
    "verismo.cli.demoagent": SERVER | WORKER | CONTROL | SIMULATOR | STATE | EXAMPLE | UNCHOSEN,
    "verismo.cli.demoparts": WORKER | CONTROL | SIMULATOR | STATE | UNCHOSEN,
    "verismo.cli.worker": CONTROL | SIMULATOR | UNCHOSEN,
    "verismo.cli.control": WORKER | SIMULATOR | UNCHOSEN | {"httpx2"},
    "verismo.cli.simulate": WORKER | CONTROL | STATE | UNCHOSEN,
}
OWN = {
    "verismo.cli.serve": {"verismo.control.supervisor"},
    "verismo.cli.demo": STATE,
    "verismo.cli.demoagent": {"verismo.control.supervisor"},
    "verismo.cli.demoparts": EXAMPLE | {"uvicorn"},
    "verismo.cli.worker": WORKER,
    "verismo.cli.control": CONTROL | STATE,
    "verismo.cli.simulate": SIMULATOR,
}


@pytest.mark.slow
@pytest.mark.parametrize("module", sorted(FOREIGN))
def test_process_loads_nothing_that_another_runs(module):
    code = f"import sys, {module}; print(*sys.modules)"
    output = subprocess.check_output((sys.executable, "-c", code), text=True, timeout=60)
    loaded = set(output.split())
    assert loaded & FOREIGN[module] == set()
    assert OWN[module] <= loaded
