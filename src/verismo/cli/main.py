"""The `verismo` command: its groups are loaded only when they are called.

Exit codes: 0 done, 1 a check failed (verify, policy test, doctor), 2 wrong usage or configuration.
"""

import importlib
import sys
from typing import ClassVar

import click

from verismo import __version__
from verismo.model.errors import OperatorError


class LazyGroup(click.Group):
    """A group whose commands are imported on first use, so that `verismo verify` starts fast.

    It also keeps the verifier usable where only the core dependencies are installed.
    """

    modules: ClassVar[dict[str, tuple[str, str]]] = {
        "apikey": ("verismo.cli.apikey:apikey", "Create, list and revoke API keys."),
        "audit": ("verismo.cli.audit:audit", "Compute recorded decisions anew."),
        "backup": ("verismo.cli.backup:backup", "Copy a data folder while it is in use."),
        "canary": (
            "verismo.cli.canary:canary",
            "Roll candidates out, override, plan, compare and replay.",
        ),
        "budget": ("verismo.cli.budget:budget", "Look at routes' budgets and set limits."),
        "config": ("verismo.cli.config:config", "Check and show the configuration."),
        "db": ("verismo.cli.db:db", "Migrate the state database."),
        "decisions": ("verismo.cli.decisions:decisions", "List what controllers decided."),
        "demo": ("verismo.cli.demo:demo", "Run the gateway with a simulated upstream."),
        "doctor": ("verismo.cli.doctor:doctor", "Say what is missing or wrong on this machine."),
        "grounding": (
            "verismo.cli.grounding:grounding",
            "Say which source supports which sentence.",
        ),
        "init": ("verismo.cli.init:init", "Write a working configuration into a folder."),
        "keys": ("verismo.cli.keys:keys", "List, rotate and revoke signing keys."),
        "ledger": ("verismo.cli.ledger:ledger", "Look at the public log and audit it."),
        "operation": ("verismo.cli.operation:operation", "List, import and learn operations."),
        "policy": ("verismo.cli.policy:policy", "Test, check, evaluate and build the policy."),
        "prov": ("verismo.cli.prov:prov", "Show what produced an answer."),
        "restore": ("verismo.cli.backup:restore", "Bring a backup back into an empty folder."),
        "scale": ("verismo.cli.scale:scale", "Look at how replicas are decided."),
        "serve": ("verismo.cli.serve:serve", "Run the gateway."),
        "siem": ("verismo.cli.siem:siem", "Look at the export to SIEMs and compare a sink."),
        "simulate": ("verismo.cli.simulate:simulate", "Run a simulated upstream."),
        "slo": ("verismo.cli.slo:slo", "Look at error budgets."),
        "tenant": ("verismo.cli.tenant:tenant", "List, show, add and erase tenants."),
        "trajectory": (
            "verismo.cli.trajectory:trajectory_group",
            "Record the shape of a run, compare others.",
        ),
        "verify": ("verismo.cli.verify:verify", "Verify answers, offline or live."),
        "witness": ("verismo.cli.witness:witness", "Run a witness for other people's logs."),
    }
    internal: ClassVar[dict[str, str]] = {
        "agent-process": "verismo.cli.demoagent:agent_process",
        "control-process": "verismo.cli.control:control_process",
        "model-process": "verismo.cli.smollm:model_process",
        "simulator-process": "verismo.cli.simulate:simulator_process",
        "worker-process": "verismo.cli.worker:worker_process",
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the public commands' names, sorted."""
        return sorted(self.modules)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.modules[name][1]) for name in self.list_commands(ctx)])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command.

        Raises:
            OperatorError: the command needs an extra that is not installed.
        """
        if cmd_name in self.modules:
            target = self.modules[cmd_name][0]
        elif cmd_name in self.internal:
            target = self.internal[cmd_name]
        else:
            return None
        module, _, name = target.partition(":")
        try:
            command = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("verismo"):
                raise
            extra = "witness" if cmd_name == "witness" else "gateway"
            raise OperatorError(
                f"`verismo {cmd_name}` needs the package {error.name}, which is not installed",
                next_step=f"Install the {extra}: pip install 'verismo[{extra}]'",
            ) from error
        if not isinstance(command, click.Command):
            raise TypeError(f"{target} is not a command")
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="verismo")
def cli() -> None:
    """A gateway for LLM and agent APIs whose every answer carries a proof."""


def main(*command: str) -> None:
    """Run the command line and turn an operator's error into two lines and exit code 2.

    Args:
        command: words before those that were typed, for programs that stand for one command.
    """
    try:
        cli([*command, *sys.argv[1:]], prog_name="verismo")
    except OperatorError as error:
        click.echo(f"error: {error.detail}\nnext:  {error.advice}", err=True)
        sys.exit(2)
