"""`verismo db`: the schema of the state database."""

from pathlib import Path

import click

from verismo.cli.options import config_option
from verismo.config.load import load_config
from verismo.wiring import state


@click.group()
def db() -> None:
    """Migrate the state database."""


@db.command()
@config_option
def current(config: Path) -> None:
    """Say which schema the state database has and which one this version needs.

    Exit code 1 if they differ or there is no database yet, so that a deployment script can ask.
    """
    status = state.schema_status(load_config(config).data)
    if status.verdict == "absent":
        click.echo(
            f"absent: the first start, or `verismo db upgrade`, creates it with schema "
            f"{status.newest}"
        )
    else:
        found = status.found or "none"
        click.echo(f"{status.verdict}: has schema {found}, this version needs {status.newest}")
    if status.verdict != "current":
        raise click.exceptions.Exit(1)


@db.command()
@config_option
def upgrade(config: Path) -> None:
    """Bring the state database to the schema of this version; safe to run again."""
    before = state.upgrade_schema(load_config(config).data)
    if before.verdict == "current":
        click.echo(f"nothing to do: has schema {before.newest}")
    elif before.verdict == "absent":
        click.echo(f"created with schema {before.newest}")
    else:
        click.echo(f"upgraded from schema {before.found or 'none'} to {before.newest}")
