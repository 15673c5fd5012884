"""`verismo siem`: how the export stands, whether a sink has parity, and dead letters."""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import click
import msgspec

from verismo.attest.parity import HOUR_MS, HourManifest, Named, hour_of
from verismo.cli.options import Lifetime, columns, config_option, json_option, moment
from verismo.config.load import load_config
from verismo.control.siemparity import GRACE_MS, ParityOutcome, compare_sink
from verismo.wiring.siem import SiemParts, find_sink, open_parity

NAMES_MAX = 100
"""Records of one finding that are printed for people; `--json` has them all."""


_SPAN = "verismo.siem.span"


class SinkRow(msgspec.Struct, frozen=True):
    """What `status` shows of a sink and a log."""

    sink: str
    kind: str
    log: str
    sent: int
    waiting: int
    dead: int


class LetterRow(msgspec.Struct, frozen=True):
    """What `dead-letters list` shows of an event."""

    sink: str
    log: str
    index: int
    uid: str
    state: Literal["dead", "queued"]
    refused_ms: int
    reason: str


class ParityView(msgspec.Struct, frozen=True):
    """What `parity --json` prints."""

    sink: str
    whole: bool
    parity_ppm: int
    since_ms: int
    until_ms: int
    expected: int
    matched: int
    waiting: int
    unreadable: int
    missing: tuple[Named, ...]
    altered: tuple[Named, ...]
    duplicate: tuple[Named, ...]
    foreign: tuple[Named, ...]
    unproven: tuple[Named, ...]
    manifests: tuple[HourManifest, ...]
    contradicted: tuple[HourManifest, ...]


@click.group()
def siem() -> None:
    """Look at the export to SIEMs, and compare a sink with the ledger."""


@siem.command()
@config_option
@json_option
def status(config: Path, as_json: bool) -> None:
    """Show how far each sink is in each log."""
    loaded = load_config(config)
    parts = SiemParts(loaded)
    try:
        progress = {(one.sink, one.log): one for one in parts.store.progress()}
        rows = []
        for sink in loaded.siem.sinks:
            for name in parts.leaves.logs():
                one = progress.get((sink.name, name))
                sent, dead = (0, 0) if one is None else (one.cursor + 1, one.dead)
                waiting = parts.leaves.size(name) - sent
                rows.append(SinkRow(sink.name, sink.kind, name, sent, waiting, dead))
    finally:
        parts.close()
    if as_json:
        _print_json(rows)
        return
    if not loaded.siem.sinks:
        click.echo("no sink is set up: [siem.sinks.NAME] in verismo.toml, docs/siem.md")
        return
    header = ("SINK", "KIND", "LOG", "SENT", "WAITING", "DEAD")
    lines = [(r.sink, r.kind, r.log, str(r.sent), str(r.waiting), str(r.dead)) for r in rows]
    click.echo(columns(header, lines))


class Hour(click.ParamType[int]):
    """An hour such as `2026-11-22T15`, UTC, as Unix ms of its begin."""

    name = "hour"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return the hour's begin, Unix ms."""
        try:
            found = datetime.strptime(str(value), "%Y-%m-%dT%H").replace(tzinfo=UTC)
        except ValueError:
            self.fail(f"{value!r} is not an hour such as 2026-11-22T15 (UTC)", param, ctx)
        return int(found.timestamp()) * 1_000


def _note_span(context: click.Context, option: click.Parameter, value: int | None) -> None:
    if value is None:
        return
    if _SPAN in context.meta:
        raise click.UsageError("name --hour or --since, not both")
    context.meta[_SPAN] = (option.name, value)


@siem.command()
@config_option
@json_option
@click.option("--sink", required=True, help="Name of the sink.")
@click.option(
    "--hour",
    type=Hour(),
    callback=_note_span,
    expose_value=False,
    help="One hour, such as 2026-11-22T15 (UTC).",
)
@click.option(
    "--since",
    type=Lifetime(),
    callback=_note_span,
    expose_value=False,
    help="Every whole hour of the last, such as 24h.",
)
@click.option(
    "--from",
    "from_file",
    type=click.Path(path_type=Path, exists=True),
    help="File or folder with what the sink received, instead of asking the sink.",
)
@click.option("--strict", is_flag=True, help="Fail on copies of the same event as well.")
def parity(config: Path, as_json: bool, sink: str, from_file: Path | None, strict: bool) -> None:
    """Compare what a sink holds with the ledger; by default the last hour that is over.

    Names every record that is missing, altered, there several times, or unknown to the ledger.
    Exit code 0 at 100 %, 1 otherwise. Delivery is at least once, so copies alone do not fail.
    """
    span = _span(click.get_current_context(), time.time_ns() // 1_000_000)
    loaded = load_config(config)
    parts = SiemParts(loaded)
    try:
        outcome = compare_sink(open_parity(loaded, parts, sink, from_file), *span)
    finally:
        parts.close()
    whole = outcome.is_whole and not (strict and outcome.report.duplicate)
    if as_json:
        _print_json(_view(sink, outcome, whole))
    else:
        _tell(sink, outcome)
    sys.exit(0 if whole else 1)


@siem.group("dead-letters")
def dead_letters() -> None:
    """List and retry events that a sink refused."""


@dead_letters.command("list")
@config_option
@json_option
@click.option("--sink", default="", help="Only those of this sink.")
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=1_000,
    show_default=True,
    help="Letters to list at most.",
)
def list_letters(config: Path, as_json: bool, sink: str, limit: int) -> None:
    """List what was put aside, oldest leaf first."""
    loaded = load_config(config)
    parts = SiemParts(loaded)
    try:
        letters = parts.store.dead_letters(sink, limit)
    finally:
        parts.close()
    if sink and not letters:
        # Letters of a sink that was taken out of the configuration are still shown.
        find_sink(loaded, sink)
    rows = [
        LetterRow(
            sink=one.sink,
            log=one.event.log,
            index=one.event.index,
            uid=one.event.uid,
            state=one.state,
            refused_ms=one.refused_ms,
            reason=one.reason,
        )
        for one in letters
    ]
    if as_json:
        _print_json(rows)
        return
    header = ("SINK", "LOG", "LEAF", "UID", "STATE", "REFUSED", "REASON")
    lines = [
        (r.sink, r.log, str(r.index), r.uid, r.state, moment(r.refused_ms), r.reason) for r in rows
    ]
    click.echo(columns(header, lines))


@dead_letters.command("retry")
@config_option
@click.option("--sink", required=True, help="Name of the sink.")
@click.argument("uids", nargs=-1)
def retry_letters(config: Path, sink: str, uids: tuple[str, ...]) -> None:
    """Queue dead letters to be sent again, all of the sink's or those named by UIDS.

    The control process sends them with its next round; what is refused again stays dead.
    """
    loaded = load_config(config)
    find_sink(loaded, sink)
    parts = SiemParts(loaded)
    try:
        count = parts.store.queue_dead_letters(sink, uids)
    finally:
        parts.close()
    click.echo(f"queued {count} dead letters of {sink}")


def _span(context: click.Context, now_ms: int) -> tuple[int, int]:
    """Return whole hours: the one named, those since, or the last one that is over."""
    which, value = context.meta.get(_SPAN, ("", 0))
    if which == "hour":
        if value > now_ms:
            raise click.UsageError("--hour lies in the future: nothing can be said of it")
        return value, value + HOUR_MS
    if which == "since":
        end = hour_of(now_ms)
        return min(hour_of(now_ms - value), end - HOUR_MS), end
    end = hour_of(now_ms - GRACE_MS)
    return end - HOUR_MS, end


def _view(sink: str, outcome: ParityOutcome, whole: bool) -> ParityView:
    report = outcome.report
    return ParityView(
        sink=sink,
        whole=whole,
        parity_ppm=report.parity_ppm,
        since_ms=report.since_ms,
        until_ms=report.until_ms,
        expected=report.expected,
        matched=report.matched,
        waiting=outcome.waiting,
        unreadable=report.unreadable,
        missing=report.missing,
        altered=report.altered,
        duplicate=report.duplicate,
        foreign=report.foreign,
        unproven=report.unproven,
        manifests=outcome.manifests,
        contradicted=outcome.contradicted,
    )


def _tell(sink: str, outcome: ParityOutcome) -> None:
    report = outcome.report
    span = f"{moment(report.since_ms)} to {moment(report.until_ms)}"
    percent = f"{report.parity_ppm // 10_000}.{report.parity_ppm % 10_000:04d} %"
    told = f"{percent} of {report.expected} records"
    click.echo(f"{sink}: {told if report.expected else 'the ledger has no records'}, {span}")
    for what, found in (
        ("missing", report.missing),
        ("altered", report.altered),
        ("duplicate", report.duplicate),
        ("foreign", report.foreign),
    ):
        for one in found[:NAMES_MAX]:
            leaf = "no leaf" if one.index < 0 else f"leaf {one.index}"
            copies = f" ({one.count} copies)" if one.count > 1 else ""
            click.echo(f"  {what:<9} {one.uid}  {leaf} of {one.log or '-'}{copies}")
        if len(found) > NAMES_MAX:
            click.echo(f"  {what:<9} and {len(found) - NAMES_MAX} more; --json names all")
    if outcome.waiting:
        click.echo(f"  {outcome.waiting} of the missing were not sent yet: `verismo siem status`")
    if report.unproven:
        click.echo(
            f"  {len(report.unproven)} events are of leaves whose records a restore has lost: "
            "nobody here can say whether they are as they were sent"
        )
    if report.unreadable:
        click.echo(f"  {report.unreadable} lines of the sink are no events")
    for manifest in outcome.contradicted:
        hour = moment(manifest.hour_ms)
        click.echo(f"  the ledger no longer agrees with what was sent of {manifest.log} at {hour}")


def _print_json(value: object) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))
