"""`verismo init`: write a working configuration into a folder."""

from pathlib import Path

import click

from verismo.config.install import Installation, install, prepare
from verismo.config.load import FILE_NAME, load_config
from verismo.config.scaffold import Recipe, recipe_for
from verismo.model.errors import OperatorError


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--provider",
    default="simulator",
    show_default=True,
    metavar="openai|anthropic|URL|simulator",
    help="Where models are; a URL is any API that speaks OpenAI's protocol.",
)
@click.option("--model", default="", help="Chat model to ask for, instead of the provider's usual.")
@click.option("--force", is_flag=True, help="Overwrite files that exist and differ.")
def init(folder: Path, provider: str, model: str, force: bool) -> None:
    """Write verismo.toml, operations/ and policy/ into DIR, with sample tenants.

    Keys, journals and state (var/) are never touched.
    """
    recipe = recipe_for(provider, model)
    installation = prepare(folder, recipe)
    if installation.overwritten and not force:
        listed = "\n       ".join(str(folder / name) for name in installation.overwritten)
        raise OperatorError(
            f"these files exist and would be overwritten:\n       {listed}",
            next_step="Add --force to overwrite them, or name another folder.",
        )
    install(installation)
    _report(installation)
    config = load_config(folder / FILE_NAME)
    plan = config.plan
    click.echo(
        f"Checked: {len(plan.tenants)} tenants, {len(plan.operations)} operations, "
        f"{len(plan.deployments)} deployments."
    )
    _say_next(folder, recipe)


def _report(installation: Installation) -> None:
    for name in sorted(installation.files):
        verb = "overwrote" if name in installation.overwritten else "wrote"
        click.echo(f"{verb}  {installation.folder / name}")
    for name in installation.stale:
        click.echo(f"removed  {installation.folder / name} (an unchanged sample)")


def _say_next(folder: Path, recipe: Recipe) -> None:
    click.echo("\nNext:")
    click.echo(f"  cd {folder}")
    if recipe.credential:
        click.echo(f"  export {recipe.credential}=...")
    elif recipe.extras:
        click.echo("  verismo simulate &            # the simulated upstream")
    else:
        click.echo(f"  edit verismo.toml             # the model is {recipe.model!r}")
    click.echo("  verismo doctor                # what is missing on this machine")
    click.echo("  verismo apikey create --tenant TENANT_001")
    click.echo("  verismo serve")
