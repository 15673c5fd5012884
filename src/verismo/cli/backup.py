"""`verismo backup` and `verismo restore`."""

from pathlib import Path

import click

from verismo.cli.options import moment
from verismo.wiring.backup import back_up
from verismo.wiring.backup import restore as restore_into

FOLDER = click.Path(path_type=Path, file_okay=False)
KEYS_LEFT_OUT = (
    "private keys: not in this backup, only the public key ring. A gateway restored from it starts "
    "once keys/ is put back from your own copy; the old answers verify without it."
)
KEYS_INSIDE = (
    "private keys: IN this backup, unencrypted. Who reads it can sign as this gateway and read "
    "captured content: store it as you store the keys."
)


@click.command()
@click.option("--data", type=FOLDER, required=True, help="The gateway's data folder.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="A new folder, or a new file that ends with .tar.gz.",
)
@click.option("--with-keys", is_flag=True, help="Also copy the private keys.")
def backup(data: Path, out: Path, with_keys: bool) -> None:
    """Copy a data folder while it is in use: journals, state, key ring and, if asked for, keys."""
    manifest = back_up(data, out, with_keys=with_keys)
    size_bytes = sum(file.bytes for file in manifest.files.values())
    click.echo(f"backed up {data} to {out}: {len(manifest.files)} files, {size_bytes} bytes")
    for slot, last_seq in sorted(manifest.slots.items()):
        click.echo(f"slot {slot}: up to number {last_seq}")
    click.echo(KEYS_INSIDE if with_keys else KEYS_LEFT_OUT)
    others = [name for name in manifest.left_out if name != "keys"]
    if others:
        click.echo(f"left out: {', '.join(others)}")


@click.command()
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="What `verismo backup` wrote.",
)
@click.option("--data", type=FOLDER, required=True, help="An empty folder, or one to be made.")
def restore(source: Path, data: Path) -> None:
    """Bring a backup back into an empty folder, with every file checked."""
    restoration = restore_into(source, data)
    manifest = restoration.manifest
    click.echo(
        f"restored {data} from {source}, made {moment(manifest.made_ms)}: "
        f"{len(manifest.files)} files verified"
    )
    for slot, last_seq in sorted(manifest.slots.items()):
        click.echo(f"slot {slot}: ended with number {last_seq}, read only from now on")
    click.echo(f"new answers go to fresh slots: {restoration.first_slot}, ...")
    click.echo(
        "warning: answers given after the backup was made are not in it; their proofs still "
        "verify, but GET /v1/prov does not find them. Repeat what was revoked or erased since. "
        "If signing keys were rotated since, run `verismo keys ring --adopt FILE` with the newest "
        "published key ring before the gateway starts. The public log waits until `verismo ledger "
        "adopt` has gone on from its newest published tiles.",
        err=True,
    )
    if not manifest.has_keys:
        click.echo(KEYS_LEFT_OUT)
