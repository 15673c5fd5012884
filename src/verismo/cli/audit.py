"""`verismo audit`: computes recorded decisions anew and names every record that is not itself."""

import json
import time
from pathlib import Path
from typing import Final

import click

from verismo.cli.moments import Moment, since
from verismo.cli.options import config_option, json_option, printable
from verismo.config.load import load_config
from verismo.control.decisionaudit import Mismatch
from verismo.wiring.decisionaudit import Audited, AuditRequest, audit_decisions

SHOWN_MAX: Final = 50
"""Mismatches that are printed; the rest is counted."""


@click.command()
@config_option
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="The gateway's data folder; then no configuration is read.",
)
@click.option(
    "--since",
    "since_ms",
    type=Moment(),
    help="Judge what was decided since: 24h (ago), 2026-11-22 or 2026-11-22T15:00Z.",
)
@json_option
def audit(config: Path, data: Path | None, since_ms: int | None, *, as_json: bool) -> None:
    """Compute every recorded decision anew; check signatures, numbers, links and steering.

    Each decision is computed from its recorded state, observation and settings by the rule that
    decided it, and must come to the same bytes. Exit code 0 if all is as recorded, 1 if something
    is not: each mismatch is named with its record. 2 if there is nothing to audit. A decision by
    another version of its rule needs that version, and is no mismatch.
    """
    now_ms = time.time_ns() // 1_000_000
    from_ms = since(since_ms, now_ms)
    if data is None:
        loaded = load_config(config)
        days = loaded.adapt.keep_days
        request = AuditRequest(loaded.data, now_ms, from_ms, days)
    else:
        request = AuditRequest(data, now_ms, from_ms)
    audited = audit_decisions(request)
    if as_json:
        answer = {"decisions": audited.counts.decisions, "mismatches": len(audited.mismatches)}
        click.echo(json.dumps(answer))
    else:
        _tell(audited)
    if audited.mismatches:
        raise click.exceptions.Exit(1)


def _tell(audited: Audited) -> None:
    counts, found = audited.counts, audited.mismatches
    for one in found[:SHOWN_MAX]:
        click.echo(f"{_where(one)}: {printable(one.detail)}\n  next:  {one.next_step}")
    if len(found) > SHOWN_MAX:
        click.echo(f"and {len(found) - SHOWN_MAX} more mismatches")
    click.echo(
        f"{counts.decisions} decisions in {counts.records} records, {counts.computed} computed anew"
    )
    for needed, count in sorted(counts.needed.items()):
        click.echo(f"{count} not computed: they need {printable(needed)}")
    if counts.forgotten:
        click.echo(f"{counts.forgotten} not computed: what they were made from is not kept so long")
    right = "everything is as it was recorded" if counts.records else "nothing was recorded then"
    click.echo(_words(len(found)) if found else right)


def _where(one: Mismatch) -> str:
    what = "steering" if one.kind == "steering" else "record"
    about = f" about {printable(one.subject)}" if one.subject else ""
    return f"{what} {one.n}{about}: {one.kind}"


def _words(count: int) -> str:
    return "1 mismatch" if count == 1 else f"{count} mismatches"
