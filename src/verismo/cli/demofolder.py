"""The demo's folder: a configuration like any other, in which the demo keeps its own parts current.

What `verismo init` writes is written once. At every start the ports of this start, the agent's
tables and those of a model on this machine are put in again, so that an older folder works too.
"""

import re
from importlib.resources import files
from pathlib import Path

import msgspec

from verismo.config.install import install, prepare
from verismo.config.load import FILE_NAME
from verismo.config.scaffold import recipe_for
from verismo.config.writing import write_whole

CHECKPOINT_MS = 250
"""Nobody likes to watch a demonstration wait; a gateway signs its tree's head once a second."""
TOOLS_PORT, AGENT_PORT = 9101, 9102
"""As the example's files have them."""

_BEGIN = "# The demo's own parts, written at every start ------------------------------------------"
_SIMULATOR_URL = re.compile(r'(base_url = "http://127\.0\.0\.1:)\d+')
_CHECKPOINTS = re.compile(r"^# (checkpoint_interval_ms = )\d+$", re.MULTILINE)
_CONTROL_PORT = re.compile(r"(\[control\][^\[]*?\n)#? ?port = \d+", re.DOTALL)
_TENANT_MODELS = 'models = ["gpt-*", "text-embedding-*"]'
_DEMO_MODELS = 'models = ["gpt-*", "text-embedding-*", "simulated-*", "smollm2-*"]'
OWN_OPERATIONS = "operations/demo.toml"
REGRESSION_OPERATIONS = "operations/demo-regression.toml"
"""Of the other scenario: its deployments are not there in this one."""
_CHAT_OPERATIONS = "operations/chat.toml"
_DEPLOYMENTS = 'deployments = ["chat-us", "chat-eu", "chat-ap"]\naliases ='
_WITH_CANDIDATE = _DEPLOYMENTS.replace("aliases", 'candidates = ["chat-us-next"]\naliases')
_CANDIDATE = """
# For `verismo canary start`: what `candidates` of support.answer names. The simulator answers here
# as it does for chat-us.
[deployments.chat-us-next]
provider = "simulator"
model = "gpt-4o-mini"
region = "us"
"""


class Ports(msgspec.Struct, frozen=True):
    """The loopback ports of one start; 0 for what does not run.

    Args:
        simulator: of the simulated upstream.
        tools: of the agent's tools.
        agent: of the agent.
        model: of the model on this machine.
        control: of the control API; commands read it from the configuration.
    """

    simulator: int
    tools: int = 0
    agent: int = 0
    model: int = 0
    control: int = 0


def prepare_folder(data: Path, ports: Ports) -> Path:
    """Make the folder, or bring an older one up to date.

    Args:
        data: the demo's folder.
        ports: of this start.

    Returns:
        Its configuration file.

    Raises:
        OperatorError: a file cannot be read or written.
    """
    path = data / FILE_NAME
    if not path.exists():
        install(prepare(data, recipe_for("simulator")))
    text, _, _ = path.read_text(encoding="utf-8").partition(_BEGIN)
    text = _SIMULATOR_URL.sub(rf"\g<1>{ports.simulator}", text)
    text = _CONTROL_PORT.sub(rf"\g<1>port = {ports.control}", text)
    text = _CHECKPOINTS.sub(rf"\g<1>{CHECKPOINT_MS}", text)
    text = text.replace(_TENANT_MODELS, _DEMO_MODELS)
    text = _with_candidate(data, text)
    (data / REGRESSION_OPERATIONS).unlink(missing_ok=True)
    providers, operations = _own_parts(ports)
    write_whole(data / OWN_OPERATIONS, operations.encode("utf-8"))
    write_whole(path, f"{text.rstrip()}\n\n{_BEGIN}\n{providers}".encode())
    return path


def _with_candidate(data: Path, text: str) -> str:
    """Give the demo's operation a candidate, unless its table was changed by hand.

    Args:
        data: the demo's folder.
        text: of verismo.toml.

    Returns:
        The text, with the deployment that is the candidate.
    """
    path = data / _CHAT_OPERATIONS
    try:
        operations = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return text
    changed = operations.replace(_DEPLOYMENTS, _WITH_CANDIDATE)
    if changed != operations:
        write_whole(path, changed.encode("utf-8"))
    is_wanted = "chat-us-next" in changed and "[deployments.chat-us-next]" not in text
    return f"{text.rstrip()}\n{_CANDIDATE}" if is_wanted else text


def _own_parts(ports: Ports) -> tuple[str, str]:
    """Return what stands in verismo.toml and in operations/ for the agent and for the model."""
    providers, operations = [], []
    if ports.agent:
        example = files("verismo.examples.agentic_rag")
        text = (example / "providers.toml").read_text(encoding="utf-8")
        for usual, port in ((TOOLS_PORT, ports.tools), (AGENT_PORT, ports.agent)):
            text = text.replace(f"127.0.0.1:{usual}", f"127.0.0.1:{port}")
        providers.append(text)
        operations.append((example / "operations.toml").read_text(encoding="utf-8"))
    if ports.model:
        small = files("verismo") / "templates" / "demo"
        text = (small / "smollm2.toml").read_text(encoding="utf-8")
        providers.append(text.replace("127.0.0.1:9103", f"127.0.0.1:{ports.model}"))
        operations.append((small / "smollm2-operations.toml").read_text(encoding="utf-8"))
    joined = "\n".join(operations)
    if ports.model:
        joined = joined.replace('["docs-reader"]', '["smollm2"]')
    return "\n".join(providers), joined
