"""`verismo config`: check and show the configuration."""

import sys
from pathlib import Path

import click
import msgspec

from verismo.cli.options import config_option, json_option
from verismo.config.effective import effective, flattened
from verismo.config.load import load_config
from verismo.config.reference import reference
from verismo.model.plan import plan_digest
from verismo.wiring.chosen import policy_digest


@click.group()
def config() -> None:
    """Check and show the configuration."""


@config.command()
@config_option
def check(config: Path) -> None:
    """Read everything and name every problem; exit code 2 if there is one.

    The policy is loaded too, as a worker does, once all else is in order.
    """
    found = load_config(config)
    plan = found.plan
    bundle = policy_digest(found)
    for warning in found.warnings:
        click.echo(f"warning: {warning}")
    click.echo(
        f"OK: {len(plan.tenants)} tenants, {len(plan.providers)} providers, "
        f"{len(plan.deployments)} deployments, {len(plan.operations)} operations, "
        f"{len(found.warnings)} warnings"
    )
    click.echo(f"plan: {plan_digest(plan)}")
    click.echo(f"policy: {bundle}")


@config.command()
@config_option
@json_option
def show(config: Path, as_json: bool) -> None:
    """Print the configuration in force, defaults included and secrets masked."""
    values = effective(load_config(config))
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(values)).decode() + "\n")
        return
    for name, value in flattened(values):
        click.echo(f"{name} = {msgspec.json.encode(value).decode()}")


@config.command(name="reference")
def reference_command() -> None:
    """Print docs/configuration.md: every key with type, default and meaning."""
    click.echo(reference(), nl=False)
