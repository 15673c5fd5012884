"""`verismo ledger`: how the public log stands, proofs from it, and the audit of everything."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click
import msgspec

from verismo.cli.options import columns, config_option, json_option
from verismo.cli.rollup import archive, restore, rollup
from verismo.config.load import load_config
from verismo.config.writing import write_whole
from verismo.control.treeaudit import Finding
from verismo.model.errors import OperatorError, ProofPending
from verismo.model.ids import is_prov_id
from verismo.model.ledger import LogId, read_log_id
from verismo.wiring.ledgeradoption import adopt_ledger
from verismo.wiring.ledgeraudit import Audited
from verismo.wiring.ledgertools import LedgerStatus, LedgerTools, audit_published

SHOWN_MAX = 20
"""Findings of one kind that are printed; the rest is counted."""
PENDING_EXIT = 1


@click.group()
def ledger() -> None:
    """Look at the public log, make proofs from it, audit it."""


ledger.add_command(archive)
ledger.add_command(restore)
ledger.add_command(rollup)


@ledger.command()
@config_option
@json_option
def status(config: Path, *, as_json: bool) -> None:
    """Say how far each log is, what waits, who has cosigned, and each log's verifier key.

    Exit code 1 if the ledger refuses to go on, or a witness knows another ledger than this one;
    a line that begins with REFUSED, AHEAD or SPLIT says why.
    """
    with closing(LedgerTools(load_config(config))) as tools:
        found = tools.status(time.time_ns() // 1_000_000)
    if as_json:
        click.echo(msgspec.json.encode(found))
        _exit_refused(found)
        return
    rows = [
        (
            one.origin,
            str(one.size),
            str(one.signed_size),
            "" if one.published_size is None else str(one.published_size),
            "" if one.checkpoint_age_ms is None else f"{one.checkpoint_age_ms / 1_000:.1f} s",
        )
        for one in found.logs
    ]
    click.echo(columns(("LOG", "ENTRIES", "SIGNED", "PUBLISHED", "CHECKPOINT AGE"), rows))
    for line in _standing(found):
        click.echo(line)
    for one in found.logs:
        words = "nobody is asked" if one.witnessed is None else one.witnessed.words
        click.echo(f"witnesses of {one.origin}: {words}")
    for one in found.logs:
        click.echo(f"verifier key: {one.vkey}")
    _exit_refused(found)


@ledger.command()
@config_option
@click.argument("prov_id")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Where to write it; by default PROV_ID.tlog-proof, `-` for standard output.",
)
def proof(prov_id: str, config: Path, out: Path | None) -> None:
    """Write the proof file of one answer; exit code 1 if it is not under a checkpoint yet."""
    if not is_prov_id(prov_id):
        raise OperatorError(f"{prov_id!r} is not a prov_id", next_step="It is a UUIDv7.")
    with closing(LedgerTools(load_config(config))) as tools:
        try:
            content = tools.proof(prov_id)
        except ProofPending as error:
            click.echo(f"{error.detail}; try again in a second", err=True)
            raise click.exceptions.Exit(PENDING_EXIT) from error
    if out == Path("-"):
        click.echo(content, nl=False)
        return
    path = out or Path(f"{prov_id}.tlog-proof")
    write_whole(path, content)
    click.echo(f"wrote {path}")


@ledger.command()
@config_option
@click.argument("first", type=click.IntRange(min=0))
@click.option("--log", "log_path", required=True, help="Which log: REGION/YEAR.")
def consistency(first: int, log_path: str, config: Path) -> None:
    """Prove that a log goes on from the size FIRST: `old`, hashes and checkpoint, for a witness."""
    with closing(LedgerTools(load_config(config))) as tools:
        content = tools.consistency(_log_id(log_path), first)
    click.echo(content, nl=False)


@ledger.command()
@config_option
@click.option("--tiles", help="Audit one log by its folder or URL alone; needs --log-key.")
@click.option("--log-key", help="The log's verifier key: name+hash+key.")
@json_option
def audit(config: Path, tiles: str | None, log_key: str | None, *, as_json: bool) -> None:
    """Walk everything: tree, tiles, checkpoints, journals against tree, gaps, keys in force.

    Also cosigned checkpoints, the second place beside the keys, the rollups, every record's
    columns and graph against its statement, and files that belong to no log.
    Exit code 1 if anything is wrong; each problem is named, with --json as an object on a line of
    its own. Exit code 2 if there is nothing to walk.
    """
    walked: list[Audited] = []
    if (tiles is None) != (log_key is None):
        raise OperatorError(
            "--tiles and --log-key belong together",
            next_step="Name both, or neither to audit the gateway's own data folder.",
        )
    if tiles is not None and log_key is not None:
        count = _print_findings(audit_published(tiles, log_key, walked.append), as_json=as_json)
    else:
        with closing(LedgerTools(load_config(config))) as tools:
            count = _print_findings(tools.audit(walked.append), as_json=as_json)
    if not walked and not count:
        raise OperatorError(
            "there is no log to walk",
            next_step="Check `data` of the configuration; a log begins once the gateway runs.",
        )
    if not as_json:
        for one in walked:
            lost = f", {one.lost} of them without a record since a restore" if one.lost else ""
            size = "no checkpoint" if one.size is None else f"{one.size} entries{lost}"
            click.echo(f"walked {one.origin}: {size}")
        click.echo("everything fits together" if not count else _problems(count))
    if count:
        raise click.exceptions.Exit(1)


@ledger.command()
@config_option
@click.option(
    "--tiles",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder with REGION/YEAR/checkpoint and tile/ of every log, as newly published.",
)
@click.option(
    "--unsafe-nothing-newer",
    is_flag=True,
    help="Nothing newer than the backup was ever published; if that is wrong, the log forks.",
)
def adopt(config: Path, tiles: Path | None, *, unsafe_nothing_newer: bool) -> None:
    """Go on from the published log after a restore; the gateway must not run."""
    if (tiles is None) != unsafe_nothing_newer:
        raise OperatorError(
            "name either --tiles or --unsafe-nothing-newer",
            next_step="Name the newest published tiles; docs/runbooks/ledger-refused.md.",
        )
    outcome = adopt_ledger(load_config(config), tiles, time.time_ns() // 1_000_000)
    for one in outcome.logs:
        lost = f", {one.lost} of them without a record here" if one.lost else ""
        click.echo(f"{one.log.path}: goes on from {one.size} entries{lost}")
    if outcome.appended:
        click.echo(f"{outcome.appended} records will be added that the logs lack")
    for words in outcome.silent:
        click.echo(f"could not be asked whether the log is the newest: {words}")
    if outcome.kept is not None:
        click.echo(f"the old state is kept as {outcome.kept}")
    click.echo("the ledger goes on with the next start of the gateway")


def _print_findings(findings: Iterator[Finding], *, as_json: bool) -> int:
    counts: Counter[str] = Counter()
    for finding in findings:
        counts[finding.kind] += 1
        if as_json:
            click.echo(json.dumps(msgspec.to_builtins(finding)))
        elif counts[finding.kind] <= SHOWN_MAX:
            click.echo(f"{finding.kind}: {finding.where}: {finding.detail}")
    for kind, count in counts.items():
        if count > SHOWN_MAX and not as_json:
            click.echo(f"{kind}: {count - SHOWN_MAX} more; --json lists all")
    return counts.total()


def _problems(count: int) -> str:
    return "1 problem" if count == 1 else f"{count} problems"


def _exit_refused(found: LedgerStatus) -> None:
    if found.is_restored or found.lost or found.contradictions.said:
        raise click.exceptions.Exit(1)


def _standing(found: LedgerStatus) -> list[str]:
    """Say whether anything waits, and for whom."""
    waits = f"the oldest record without a proof is {found.delay_ms / 1_000:.1f} s old"
    lines = [waits if found.delay_ms else "every record has its proof"]
    if not found.logs and not found.lost:
        lines = ["there is no log yet: the first begins once the gateway runs"]
    if found.is_restored:
        lines.append(
            "REFUSED: this folder was restored; `verismo ledger adopt` goes on from what is "
            "published (docs/runbooks/ledger-refused.md)"
        )
    lines += [f"REFUSED: {words}" for words in found.lost]
    if found.contradictions.stops:
        lines.append(
            "REFUSED: a quorum of witnesses knows another ledger than this one, so nothing is "
            "signed (docs/runbooks/witness-split-view.md)"
        )
    for one in found.contradictions.said:
        name = ascii(one.witness)[1:-1]
        lines.append(f"{one.reason.upper()}: {one.log}: the witness {name}: {one.detail}")
    lines.append(f"integrated by: {found.integrator or 'nobody; the gateway does not run here'}")
    return lines


def _log_id(text: str) -> LogId:
    region, _, year = text.partition("/")
    found = read_log_id(region, year)
    if found is None:
        raise OperatorError(f"{text!r} names no log", next_step="Write REGION/YEAR: eu/2026.")
    return found
