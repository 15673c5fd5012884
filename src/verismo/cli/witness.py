"""`verismo witness`: run a witness for other people's logs; no gateway, no configuration."""

import base64
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from verismo.cli.options import columns, json_option
from verismo.config.writing import write_whole
from verismo.model.errors import OperatorError
from verismo.ports.witness import TrustedLog
from verismo.wiring.logs import set_up_logs
from verismo.wiring.witness import (
    make_witness,
    open_witness,
    policy_logs,
    serve_witness,
    trusted_log,
)

folder_argument = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
every_log_option = click.option(
    "--every-log", is_flag=True, help="Trust the key for every region and year of that gateway."
)


class HeadRow(msgspec.Struct, frozen=True):
    """What `status` shows of a log."""

    origin: str
    size: int
    root: str
    cosigned_s: int


class EvidenceRow(msgspec.Struct, frozen=True):
    """What `status` shows of a log that has shown two histories."""

    origin: str
    size: int
    seen_s: int


class WitnessStatus(msgspec.Struct, frozen=True):
    """What `status` shows."""

    name: str
    vkey: str
    trusted: tuple[str, ...]
    logs: tuple[HeadRow, ...]
    split_views: tuple[EvidenceRow, ...]


@click.group()
def witness() -> None:
    """Run a witness: it cosigns logs that only ever grow."""


@witness.command()
@folder_argument
@click.option("--name", required=True, help="A URL without scheme: witness.example/w1")
def init(folder: Path, name: str) -> None:
    """Make a witness in DIR and print its verifier key, for policy files."""
    click.echo(make_witness(folder, name))


@witness.command()
@folder_argument
@click.option("--vkey", multiple=True, help="A log's verifier key; may be given again.")
@click.option("--policy", type=click.Path(path_type=Path), help="Trust the logs of a policy file.")
@every_log_option
def trust(folder: Path, vkey: tuple[str, ...], policy: Path | None, *, every_log: bool) -> None:
    """Trust logs: their checkpoints are cosigned from now on. A running witness follows at once."""
    logs = [trusted_log(one, every_log=every_log) for one in vkey]
    if policy is not None:
        logs += policy_logs(policy, every_log=every_log)
    if not logs:
        raise OperatorError("no log is named", next_step="Add --vkey or --policy.")
    with open_witness(folder) as opened:
        count = opened.store.trust(logs)
    for one in logs:
        click.echo(f"trusted: {_scope(one)}")
    click.echo(f"{count} new, {len(logs) - count} known before")


@witness.command()
@folder_argument
@click.option("--vkey", required=True, help="A log's verifier key.")
def distrust(folder: Path, vkey: str) -> None:
    """Cosign nothing more that only this key has signed. A running witness follows at once.

    For a log key that was revoked. Trust the new one as well; what was cosigned last stays known.
    """
    raw = trusted_log(vkey, every_log=False).raw
    with open_witness(folder) as opened:
        removed = opened.store.distrust(raw)
    if not removed:
        raise OperatorError(
            "that key is not trusted here", next_step="Compare it with `verismo witness status`."
        )
    for one in removed:
        click.echo(f"no longer trusted: {_scope(one)}")


@witness.command()
@folder_argument
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to bind.")
@click.option("--port", default=8090, show_default=True, type=click.IntRange(0, 65_535))
def serve(folder: Path, host: str, port: int) -> None:
    """Answer add-checkpoint (C2SP tlog-witness) until SIGTERM. Plain HTTP: put TLS before it."""

    def ready(url: str, vkey: str) -> None:
        set_up_logs("info")
        click.echo(f"witness: {url}")
        click.echo(f"verifier key: {vkey}")

    serve_witness(folder, host, port, ready)


@witness.command()
@folder_argument
@json_option
@click.option(
    "--evidence",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the signed checkpoints of every split view into this folder.",
)
def status(folder: Path, evidence: Path | None, *, as_json: bool) -> None:
    """Show the trusted logs, what was cosigned last, and who has shown two histories.

    Exit code 1 if there is evidence of a split view.
    """
    with open_witness(folder) as opened:
        store = opened.store
        splits = store.evidence()
        found = WitnessStatus(
            name=opened.name,
            vkey=opened.vkey,
            trusted=tuple(_scope(one) for one in store.trusted()),
            logs=tuple(
                HeadRow(h.origin, h.size, base64.b64encode(h.root).decode(), h.timestamp_s)
                for h in store.heads()
            ),
            split_views=tuple(EvidenceRow(s.origin, s.size, s.seen_s) for s in splits),
        )
    if evidence is not None:
        for number, one in enumerate(splits, 1):
            write_whole(evidence / f"{number}-cosigned", one.known)
            write_whole(evidence / f"{number}-refused", one.other)
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        _print_status(found)
    if splits:
        raise click.exceptions.Exit(1)


def _scope(one: TrustedLog) -> str:
    return one.origin + ("REGION/YEAR" if one.every_log else "")


def _print_status(found: WitnessStatus) -> None:
    click.echo(f"witness {found.name}")
    click.echo(f"verifier key: {found.vkey}")
    for origin in found.trusted:
        click.echo(f"trusts {origin}")
    rows = [(h.origin, str(h.size), h.root, _second(h.cosigned_s)) for h in found.logs]
    click.echo(columns(("LOG", "SIZE", "ROOT", "COSIGNED"), rows))
    for one in found.split_views:
        click.echo(
            f"SPLIT VIEW: {one.origin} has signed two roots of size {one.size}; the second one "
            f"came {_second(one.seen_s)}"
        )


def _second(time_s: int) -> str:
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
