"""`verismo keys`: list, rotate and revoke signing keys, and write out what is published of them."""

import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import click
import msgspec

from verismo.attest.keyentry import FOR_EVER_MS, KeyEntry, KeyRingRefused, state_at
from verismo.attest.keyring import (
    SignedRing,
    jwks_of,
    published_at,
    read_keyring,
    sha256_of,
    write_keyring,
)
from verismo.attest.keys import Role
from verismo.cli.options import columns, config_option, json_option, moment
from verismo.config.load import load_config
from verismo.config.schema import Config
from verismo.config.writing import write_whole
from verismo.control.rotation import Outcome, Rotation
from verismo.model.errors import OperatorError, StateError
from verismo.wiring.firststart import prepare_data
from verismo.wiring.keys import clock_ms, log_vkeys, open_newest_rotation, open_rotation

yes_option = click.option("--yes", is_flag=True, help="Do it without asking.")
out_option = click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="File to write, with its folder."
)


UNTIL_TOLD = (
    "Until they trust the new log key, witnesses answer 403 and verifiers refuse proofs. Send its "
    "verifier keys to each of them"
)
"""Said of a revoked log key, with where its successor's verifier keys are."""
_DASHED_KID = re.compile(r"-[A-Za-z0-9_-]{42}")


class KidCommand(click.Command):
    """A command that takes a kid: one in 64 begins with a dash, and is no option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the words apart, those of a thumbprint's length and letters as arguments."""
        return super().parse_args(ctx, _kids_last(args))


class KeyRow(msgspec.Struct, frozen=True):
    """What `list` shows of a key; `ends_ms` is 0 where no end is set."""

    kid: str
    role: str
    state: str
    created_ms: int
    not_before_ms: int
    ends_ms: int
    revoked_ms: int
    reason: str
    emergency: str


class VersionRow(msgspec.Struct, frozen=True):
    """What `ring` shows of a version."""

    version: int
    iat: int
    keys: int
    sha256: str
    prev: str


class Told(msgspec.Struct, frozen=True):
    """What `rotate --json` and `revoke --json` print."""

    changed: bool
    version: int
    key: KeyRow | None


@click.group()
def keys() -> None:
    """List, rotate and revoke signing keys."""


@keys.command("list")
@config_option
@json_option
@click.option("--role", type=click.Choice(get_args(Role)), help="Only the keys of this role.")
def list_keys(config: Path, as_json: bool, role: str | None) -> None:
    """List every key that this gateway ever had, with its state now."""
    now_ms = clock_ms()
    newest = _newest(load_config(config))
    entries = [k for k in newest.ring.keys if role is None or k.role == role]
    rows = [_row(entry, now_ms) for entry in entries]
    if as_json:
        _print_json(rows)
        return
    header = ("KID", "ROLE", "STATE", "BEGINS", "ENDS", "NOTE")
    lines = [
        (
            r.kid,
            r.role,
            r.state,
            moment(r.not_before_ms),
            moment(r.revoked_ms or r.ends_ms),
            _note(r),
        )
        for r in rows
    ]
    click.echo(columns(header, lines))


@keys.command()
@config_option
@json_option
@click.option(
    "--role",
    type=click.Choice(["token", "evidence", "rollup", "plan"]),
    default="token",
    show_default=True,
    help="What the key signs.",
)
@click.option("--emergency", is_flag=True, help="Use the new key at once, without the notice.")
@click.option("--reason", default="", help="Why, with --emergency; the ring publishes it.")
@out_option
@yes_option
def rotate(
    config: Path,
    as_json: bool,
    role: Role,
    emergency: bool,
    reason: str,
    **more: Path | bool | None,
) -> None:
    """Publish the next key of a role; it takes over after the notice.

    Run again before that, it changes nothing. With --out it also writes the key set (JWKS) as it
    is then. A running gateway follows by itself, and rotates its token key by itself in time.
    """
    if emergency != bool(reason.strip()):
        raise click.UsageError("--emergency and --reason belong together")
    loaded = load_config(config)
    is_new = open_rotation(loaded.data, loaded.keys).newest() is None
    if is_new:
        prepare_data(loaded.data, loaded.keys)
    if emergency and not more["yes"]:
        click.confirm(
            f"Use a new {role} key at once? Clients that keep the key set meet an unknown key.",
            abort=True,
        )
    rotation = open_newest_rotation(loaded.data, loaded.keys)
    outcome = _first(rotation) if is_new else rotation.rotate(role, clock_ms(), reason.strip())
    if isinstance(out := more["out"], Path):
        write_whole(out, _jwks(loaded))
    _tell(outcome, as_json=as_json)


@keys.command(cls=KidCommand)
@config_option
@json_option
@click.argument("kid")
@click.option("--reason", required=True, help="Why; the ring publishes it.")
@click.option(
    "--at",
    help="Since when it may be in other hands, such as 2026-01-31T12:00Z; without it, from now on.",
)
@yes_option
def revoke(config: Path, as_json: bool, kid: str, reason: str, at: str | None, yes: bool) -> None:
    """Revoke a key for good; one that is in use is replaced at once.

    What it has signed is believed from then on only with a witness's proof that it is older than
    the revocation. There is no way back.
    """
    at_ms = None if at is None else _time_ms(at)
    if at_ms is not None and at_ms > clock_ms():
        raise click.BadParameter("--at lies in the future: until then the key would still count")
    if not reason.strip():
        raise click.UsageError("--reason must not be empty")
    loaded = load_config(config)
    rotation = open_newest_rotation(loaded.data, loaded.keys)
    if not yes:
        click.confirm(f"Revoke {kid} for ever?", abort=True)
    outcome = rotation.revoke(kid, clock_ms(), reason.strip(), at_ms)
    if not as_json:
        click.echo(f"revoked {kid}")
    _tell(outcome, as_json=as_json)
    if outcome.key is not None and outcome.key.role == "log":
        (old,) = [one for one in rotation.history()[-1].ring.keys if one.kid == kid]
        try:
            new, before = (
                log_vkeys(loaded.data, loaded.plan.issuer, one) for one in (outcome.key, old)
            )
        except StateError as error:
            _tell_unread(kid, error)
        else:
            _tell_log_keys(new, before)


@keys.command()
@config_option
@json_option
@out_option
@click.option(
    "--adopt",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A published keyring.json with newer versions, after a backup was restored.",
)
def ring(config: Path, as_json: bool, out: Path | None, adopt: Path | None) -> None:
    """Show the versions of the key ring; with --out write it as the gateway serves it."""
    loaded = load_config(config)
    if adopt is not None:
        _adopt(loaded, adopt)
    history = _rotation(loaded).history()
    if out is not None:
        write_whole(out, write_keyring(history))
    rows = [
        VersionRow(s.ring.version, s.ring.iat, len(s.ring.keys), sha256_of(s), s.ring.prev)
        for s in history
    ]
    if as_json:
        _print_json(rows)
        return
    lines = [(str(r.version), moment(r.iat), str(r.keys), r.sha256) for r in rows]
    click.echo(columns(("VERSION", "MADE", "KEYS", "SHA-256"), lines))


@keys.command()
@config_option
@out_option
def jwks(config: Path, out: Path | None) -> None:
    """Print the key set (JWKS) as it is now, or write it with --out."""
    document = _jwks(load_config(config))
    if out is None:
        click.echo(document, nl=False)
        return
    write_whole(out, document)
    click.echo(f"wrote {out}", err=True)


def _rotation(config: Config) -> Rotation:
    rotation = open_rotation(config.data, config.keys)
    if rotation.newest() is None:
        # One that is lost is another matter than none yet, and no start makes it again.
        open_newest_rotation(config.data, config.keys)
        raise StateError(
            f"{config.data} has no key ring yet",
            next_step="`verismo serve` makes it at its first start, `verismo keys rotate` too.",
        )
    return rotation


def _adopt(config: Config, file: Path) -> None:
    try:
        offered = read_keyring(file.read_bytes())
    except (OSError, KeyRingRefused) as error:
        raise OperatorError(
            f"{file} cannot be read as a key ring: {error}",
            next_step="Give what /.well-known/attest/keyring.json has served.",
        ) from error
    outcome = open_rotation(config.data, config.keys).adopt(offered, clock_ms())
    said = "adopted up to" if outcome.changed else "nothing changed: this is the newest,"
    click.echo(f"{said} version {outcome.version}", err=True)


def _newest(config: Config) -> SignedRing:
    return _rotation(config).history()[-1]


def _jwks(config: Config) -> bytes:
    newest = _newest(config).ring
    entries = published_at(newest, clock_ms(), config.keys.overlap_ms)
    return msgspec.json.format(jwks_of(entries)) + b"\n"


def _first(rotation: Rotation) -> Outcome:
    """The keys of a new folder were made a moment ago: nothing is left to rotate."""
    newest = rotation.history()[-1].ring
    first = next((entry for entry in newest.keys if entry.role == "token"), None)
    return Outcome(newest.version, True, first)


def _row(entry: KeyEntry, now_ms: int) -> KeyRow:
    return KeyRow(
        kid=entry.kid,
        role=entry.role,
        state=state_at(entry, now_ms),
        created_ms=entry.created_ms,
        not_before_ms=entry.not_before_ms,
        ends_ms=0 if entry.end_ms == FOR_EVER_MS else entry.end_ms,
        revoked_ms=entry.revoked_ms,
        reason=entry.reason,
        emergency=entry.emergency,
    )


def _note(row: KeyRow) -> str:
    notes = [f"emergency: {row.emergency}"] if row.emergency else []
    return "; ".join([*notes, f"revoked: {row.reason}"] if row.reason else notes)


def _tell(outcome: Outcome, *, as_json: bool) -> None:
    row = None if outcome.key is None else _row(outcome.key, clock_ms())
    if as_json:
        _print_json(Told(outcome.changed, outcome.version, row))
        return
    if row is None:
        click.echo(f"version {outcome.version} of the key ring; the key in use is another one")
    elif outcome.changed:
        click.echo(f"version {outcome.version} of the key ring: new {row.role} key {row.kid}")
        click.echo(f"it signs from {moment(row.not_before_ms)} on; it is published now")
    else:
        click.echo(f"nothing changed: the next {row.role} key {row.kid} is published already")
        click.echo(f"it signs from {moment(row.not_before_ms)} on")


def _tell_log_keys(vkeys: Sequence[str], before: Sequence[str]) -> None:
    """Say who has to be told: a log key is pinned, so a new one is refused until then."""
    if not vkeys:
        return
    click.echo(f"{UNTIL_TOLD}, by another way than this gateway:", err=True)
    for one in vkeys:
        click.echo(f"  {one}", err=True)
    click.echo("The operator of each witness runs:", err=True)
    click.echo(f"  verismo witness trust DIR --vkey '{vkeys[-1]}' --every-log", err=True)
    click.echo(f"  verismo witness distrust DIR --vkey '{before[-1]}'", err=True)


def _tell_unread(kid: str, error: StateError) -> None:
    """Say that a log key is revoked although which logs it signed cannot be read."""
    click.echo(f"{kid} is revoked, but its logs cannot be named: {error.detail}", err=True)
    click.echo(error.advice, err=True)
    click.echo(f"{UNTIL_TOLD}; `verismo ledger status` shows them once it can be read.", err=True)


def _print_json(value: object) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value)).decode() + "\n")


def _time_ms(text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a time such as 2026-01-31T12:00Z") from error
    if at.tzinfo is None:
        raise click.BadParameter(f"{text!r} has no zone; write 2026-01-31T12:00Z")
    return int(at.astimezone(UTC).timestamp() * 1_000)


def _kids_last(args: Sequence[str]) -> list[str]:
    if "--" in args:
        return list(args)
    kids = [word for word in args if _DASHED_KID.fullmatch(word)]
    return [*(word for word in args if word not in kids), *(["--", *kids] if kids else [])]
