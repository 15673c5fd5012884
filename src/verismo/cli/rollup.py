"""`verismo ledger rollup`, `archive` and `restore`: a day's signed summary, and its seven years."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path

import click

from verismo.cli.options import columns, config_option, moment
from verismo.config.load import load_config
from verismo.control import dayfiles
from verismo.control.dayrollup import RollupDesk, make_rollup, refuse_open_day, rolled_up
from verismo.control.rollups import Rollups, archive_log
from verismo.model.errors import IntegrityError, OperatorError, StateError
from verismo.model.ledger import LogId, origin_of
from verismo.model.retention import UploadProof
from verismo.wiring.rollups import (
    archive_at,
    clock_ms,
    open_desk,
    open_vaulted,
    restore_from,
)

NO_WORM = (
    "note: a folder is no WORM store. Verismo refuses to overwrite and to delete before the date; "
    'whoever owns the folder or the disk can do both. Use `kind = "s3"` where that counts.'
)


@click.command()
@config_option
@click.option(
    "--day",
    type=click.DateTime(formats=["%Y-%m-%d"]),
    required=True,
    help="A UTC day that is over: YYYY-MM-DD.",
)
@click.option("--region", help="Only the logs of this region.")
def rollup(config: Path, day: datetime, region: str | None) -> None:
    """Make the signed rollup of a day, and of days before it that have none.

    The same day again gives the same bytes. A log that added nothing by then is named and is no
    failure; one that cannot be rolled up is told once every other log had its turn. Uploading is
    another command: `verismo ledger archive`.
    """
    now_ms = clock_ms()
    wanted = day.date()
    refuse_open_day(wanted, now_ms)
    rows: list[tuple[str, ...]] = []
    idle: list[str] = []
    failure: StateError | IntegrityError | None = None
    with _explained():
        with open_desk(load_config(config), now_ms) as desk:
            for log in _logs(desk, region):
                made: list[tuple[str, ...]] = []
                try:
                    _roll_up(desk, log, wanted, now_ms, made)
                    idle += [] if made else [origin_of(desk.issuer, log)]
                except (StateError, IntegrityError) as error:
                    failure = failure or error
                rows += made
        if rows:
            click.echo(columns(("LOG", "DAY", "LEAVES", "SIZE", "ROOT"), rows))
        for origin in idle:
            click.echo(f"{origin}: nothing to roll up for {wanted}")
        if failure is not None:
            raise failure


def _logs(desk: RollupDesk, region: str | None) -> list[LogId]:
    """Return the logs of a region, or all of them."""
    logs = [state.log for state in desk.leaves.ledger.logs()]
    logs = [log for log in logs if region is None or log.region == region]
    if not logs:
        raise OperatorError(
            f"the ledger has no log of region {region}" if region else "the ledger has no log",
            next_step="`verismo ledger status` lists the logs.",
        )
    return logs


def _roll_up(
    desk: RollupDesk, log: LogId, wanted: date, now_ms: int, made: list[tuple[str, ...]]
) -> None:
    """Make what a log lacks up to a day; a row for each rollup, and for that day's, into `made`."""
    days = [one for one in Rollups(desk, None).due(log, now_ms) if one <= wanted]
    if wanted in desk.rollups.days(log):
        days.append(wanted)
    for one in days:
        make_rollup(desk, log, one, now_ms)
        told = rolled_up(desk.rollups, log, one)
        size, count = str(told.size), str(told.size - told.first)
        made.append((origin_of(desk.issuer, log), one.isoformat(), count, size, told.root))


@click.command()
@config_option
def archive(config: Path) -> None:
    """Upload every finished day that is not yet in the archive, and say what was read back.

    May be interrupted and repeated: what is there already is recognised. Nothing of a log is
    uploaded to an archive that does not hold its days before, because such an archive could not be
    restored. A log that fails is told once every other log had its turn.
    """
    loaded = load_config(config)
    vaulted = open_vaulted(loaded.archive)
    if vaulted is None:
        raise OperatorError(
            "there is no archive: [archive] kind is off", next_step='Set kind = "folder" or "s3".'
        )
    proofs: list[UploadProof] = []
    failure: StateError | IntegrityError | None = None
    with _explained():
        now_ms = clock_ms()
        with open_desk(loaded, now_ms) as desk:
            for state in desk.leaves.ledger.logs():
                try:
                    proofs += archive_log(desk, vaulted, state.log, now_ms)
                except (StateError, IntegrityError) as error:
                    failure = failure or error
        _show_uploads(proofs)
        if failure is not None:
            raise failure
    if not proofs:
        click.echo("nothing to do: every finished day is in the archive")
    if loaded.archive.kind == "folder":
        click.echo(NO_WORM)


def _show_uploads(proofs: Sequence[UploadProof]) -> None:
    rows = [
        (one.name.removeprefix(dayfiles.ROOT), one.mode, moment(one.until_ms), one.sha256)
        for one in proofs
    ]
    if rows:
        click.echo(columns(("OBJECT", "LOCK", "UNTIL", "SHA-256"), rows))


@click.command()
@click.option(
    "--from", "source", required=True, help="A folder, or s3://BUCKET/PREFIX (extra `cluster`)."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="An empty folder, or one to be made.",
)
@click.option(
    "--keys",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="The tenants' data keys, to open their records; the tree needs none.",
)
@click.option("--s3-region", default="", help="The bucket's region.")
@click.option("--s3-endpoint", default="", help="URL of a store other than AWS.")
def restore(source: str, data: Path, keys: Path | None, s3_region: str, s3_endpoint: str) -> None:
    """Rebuild and audit a ledger from its archive alone.

    Every rollup, file, tile, checkpoint and record is checked; the first that is not what was
    signed, or that a rollup names and is gone, ends the restore. Exit code 1 if the last days of a
    log, or a whole log, are not in the archive; what is there is restored.
    """
    with _explained():
        found = restore_from(archive_at(source, s3_region, s3_endpoint), data, keys)
    rows = [
        (one.origin, str(one.days), str(one.size), one.root, str(one.records)) for one in found.logs
    ]
    click.echo(columns(("LOG", "DAYS", "SIZE", "ROOT", "RECORDS OPENED"), rows))
    sealed = sum(one.sealed_files for one in found.logs)
    if sealed:
        click.echo(f"{sealed} files of records stay sealed: no key, or their tenant was erased")
    for prefix in found.incomplete:
        click.echo(f"left out, its manifest is gone or its upload did not end: {prefix}")
    for line in found.missing:
        click.echo(f"not in the archive: {line}")
    click.echo(f"key ring version {found.ring.version}, SHA-256 {found.ring.sha256}")
    click.echo(
        "Compare that digest with one from elsewhere: a forger's archive has another ring.\n"
        "This folder is for reading and audit. Before a gateway may go on from it: "
        "docs/runbooks/ledger-restore.md."
    )
    if found.incomplete or found.missing:
        click.echo("The archive is not whole; docs/runbooks/archive-failing.md says what to do.")
        sys.exit(1)


@contextmanager
def _explained() -> Iterator[None]:
    """Tell an operator what to do where something is not what was signed."""
    try:
        yield
    except IntegrityError as error:
        raise OperatorError(
            error.detail,
            next_step="Change nothing. docs/runbooks/archive-failing.md says how to find out which "
            "side was altered.",
        ) from error
