"""`verismo decisions`: what the controllers and people decided, with reasons in words."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import msgspec

from verismo.cli.moments import Moment, since
from verismo.cli.options import config_option, json_option, printable
from verismo.config.load import load_config
from verismo.control.decisionlist import Listed, Wanted, list_decisions
from verismo.control.reasonwords import in_words, spell, who_by
from verismo.model.decision import Action, Subject
from verismo.model.units import moment_utc
from verismo.ports.decisions import DecisionReader
from verismo.wiring.decisionaudit import recorded_decisions

FOLLOW_S: Final = 0.5


@click.command()
@config_option
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="The gateway's data folder; then no configuration is read.",
)
@click.option(
    "--controller",
    type=click.Choice(["canary", "budget", "scaling"]),
    default=None,
    help="Only this controller's, and what people told it.",
)
@click.option("--tenant", default="", help="Only about this tenant.")
@click.option("--operation", default="", help="Only about this operation.")
@click.option("--target", default="", help="Only about these replicas.")
@click.option(
    "--changes", is_flag=True, help="Only those that changed something or were a person's."
)
@click.option("--since", "since_ms", type=Moment(), help="Since when, such as 2h.")
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=20,
    show_default=True,
    help="How many of the newest.",
)
@click.option("--follow", is_flag=True, help="Go on with new ones until it is interrupted.")
@json_option
def decisions(
    config: Path,
    data: Path | None,
    since_ms: int | None,
    limit: int,
    *,
    follow: bool,
    as_json: bool,
    **about: str | bool | None,
) -> None:
    """List what was decided, oldest first, with reasons in words.

    With --json each decision is an object on a line of its own, as it is recorded.
    """
    folder = load_config(config).data if data is None else data
    wanted = msgspec.convert(
        {
            **{name: value for name, value in about.items() if value is not None},
            "since_ms": since(since_ms, time.time_ns() // 1_000_000),
        },
        type=Wanted,
    )
    with recorded_decisions(folder) as reader:
        last = reader.last()
        found = list_decisions(reader, wanted, limit)
        if not found and not follow and not as_json:
            click.echo("no recorded decision fits what was asked for", err=True)
        for one in found:
            # What comes meanwhile is told by following, once.
            if one.n <= last:
                tell_decision(one, as_json=as_json)
        if follow:
            for one in followed(reader, wanted, last):
                tell_decision(one, as_json=as_json)


def followed(reader: DecisionReader, wanted: Wanted, last: int) -> Iterator[Listed]:
    """Yield the decisions after a record, in order, and go on with new ones for ever.

    Args:
        reader: of the records.
        wanted: which decisions.
        last: number of the last record that was told.
    """
    pause = threading.Event()
    while True:
        newest = reader.last()
        if newest > last:
            since = msgspec.structs.replace(wanted, after=last)
            new = list_decisions(reader, since, newest - last)
            yield from (one for one in new if one.n <= newest)
            last = newest
        pause.wait(FOLLOW_S)


def tell_decision(one: Listed, *, as_json: bool = False) -> None:
    """Print one decision.

    Args:
        one: the decision.
        as_json: as an object on a line of its own.
    """
    if as_json:
        click.echo(msgspec.json.encode(one))
        return
    about = printable(_about(one.subject))
    changed = _changed(one.action)
    click.echo(f"{one.n}  {moment_utc(one.at_ms)}  {one.rule}  {one.verdict}  {about}{changed}")
    if one.person:
        click.echo(f"    by {printable(one.person)}: {printable(one.why)}")
    for reason in one.reasons:
        click.echo(f"    {printable(in_words(reason, who_by(one.channel)))}")


def _changed(action: Action) -> str:
    if action.kind == "none":
        return ""
    if action.kind == "replicas" and not action.after:
        # No target may have 0: the number stands for one that could not be read.
        return "  replicas unknown"
    before, after = spell(action.kind, action.before), spell(action.kind, action.after)
    name = action.kind.removesuffix("_ppm").removesuffix("_usd_micros")
    return f"  {name} {before} -> {after}" if before != after else f"  {name} {after}"


def _about(subject: Subject) -> str:
    names = (subject.target, subject.tenant, subject.operation)
    arms = f"{subject.baseline} -> {subject.candidate}" if subject.candidate else ""
    return " / ".join(one for one in (*names, arms) if one)
