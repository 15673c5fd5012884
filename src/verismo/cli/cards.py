"""`verismo canary card`: posts the card of a comparison to Slack, or prints it."""

import threading
from contextlib import closing
from pathlib import Path

import click
import msgspec

from verismo.adapt.canaryfile import CanaryFile
from verismo.config.environment import secret_of
from verismo.control.card import card_of, encode_card, file_facts
from verismo.model.errors import OperatorError
from verismo.ports.cards import CardUndelivered
from verismo.wiring.cards import open_webhook, post_card

TIMEOUT_S = 10.0


@click.command()
@click.option(
    "--decision",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="What `verismo canary compare --out` wrote.",
)
@click.option(
    "--webhook-env",
    help="Name of the environment variable that holds the address of an incoming webhook.",
)
@click.option("--link", default="", help="An https URL where more is told, such as of the CI run.")
def card(file: Path, webhook_env: str | None, link: str) -> None:
    """Post the card of a comparison to Slack; without a webhook print its JSON.

    Exit code 1 if Slack does not take it, after five tries at most.
    """
    body = encode_card(card_of(file_facts(_read(file), link)))
    if webhook_env is None:
        click.echo(msgspec.json.format(body, indent=2))
        return
    url = secret_of(webhook_env)
    if url is None:
        raise OperatorError(
            f"the environment variable {webhook_env} is not set",
            next_step="Put the webhook's address into it, or leave --webhook-env away.",
        )
    with closing(open_webhook(url.reveal(), TIMEOUT_S)) as webhook:
        try:
            post_card(webhook, body, threading.Event().wait)
        except CardUndelivered as error:
            click.echo(f"the card was not delivered: {error.detail}", err=True)
            raise click.exceptions.Exit(1) from error
    click.echo("the card was posted")


def _read(file: Path) -> CanaryFile:
    try:
        return msgspec.json.decode(file.read_bytes(), type=CanaryFile)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise OperatorError(
            f"{file} holds no decisions of a canary: {error}",
            next_step="Name the file that `verismo canary compare --out FILE` wrote.",
        ) from error
