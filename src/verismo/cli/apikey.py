"""`verismo apikey`: keys that call the gateway, and under `admin` keys to the control API."""

import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict, Unpack

import click
import msgspec

from verismo.cli.options import Lifetime, columns, config_option, json_option, moment
from verismo.config.load import load_config
from verismo.config.source import suggestion
from verismo.model.apikey import (
    RANDOM_BYTES,
    ApiKeyText,
    key_sha256,
    key_state,
    new_api_key,
)
from verismo.model.errors import NotFound, OperatorError
from verismo.model.ids import KeyId, TenantId
from verismo.model.plan import Plan
from verismo.model.tenant import ApiKey, RateLimit
from verismo.ports.admins import AdminKey, AdminRole
from verismo.wiring.handles import find_tenant_handle
from verismo.wiring.state import open_state

expires_option = click.option(
    "--expires", type=Lifetime(), help="Lifetime, such as 90d; without it the key never expires."
)
quiet_option = click.option("--quiet", is_flag=True, help="Print the key and nothing else.")


class KeyOptions(TypedDict):
    """What `create` is told about a new key; `expires` is a lifetime in milliseconds."""

    tenant: str
    name: str
    expires: int | None
    purpose: str
    role: Literal["caller", "auditor"]
    requests_per_minute: int
    tokens_per_minute: int


class KeyRow(msgspec.Struct, frozen=True):
    """What `list` shows of a key that calls the gateway; never its hash."""

    id: str
    tenant: str
    name: str
    purpose: str
    role: str
    requests_per_minute: int
    tokens_per_minute: int
    created_ms: int
    expires_ms: int
    revoked_ms: int
    state: str


class AdminRow(msgspec.Struct, frozen=True):
    """What `admin list` shows of an administrator's key; never its hash."""

    id: str
    name: str
    role: str
    created_ms: int
    expires_ms: int
    revoked_ms: int
    state: str


@click.group()
def apikey() -> None:
    """Create, list and revoke API keys."""


@apikey.command()
@config_option
@click.option("--tenant", required=True, help="Whose key it is.")
@click.option("--name", default="", help="A label for people.")
@expires_option
@click.option("--purpose", default="", help="Purpose of its calls; default: the tenant's first.")
@click.option(
    "--role",
    type=click.Choice(["caller", "auditor"]),
    default="caller",
    show_default=True,
    help="An auditor may read any tenant's provenance.",
)
@click.option("--requests-per-minute", type=click.IntRange(min=0), default=0, help="0: no limit.")
@click.option("--tokens-per-minute", type=click.IntRange(min=0), default=0, help="0: no limit.")
@quiet_option
def create(config: Path, quiet: bool, **options: Unpack[KeyOptions]) -> None:
    """Create a key that calls the gateway and print it, once."""
    loaded, tenant = load_config(config), options["tenant"]
    _check_tenant(loaded.plan, tenant, options["purpose"])
    text, now_ms = new_api_key(secrets.token_bytes(RANDOM_BYTES)), _now_ms()
    key = ApiKey(
        id=text.id,
        tenant=TenantId(tenant),
        secret_sha256=key_sha256(text),
        name=options["name"],
        purpose=options["purpose"],
        role=options["role"],
        created_ms=now_ms,
        expires_ms=_end_ms(now_ms, options["expires"]),
        rate=RateLimit(options["requests_per_minute"], options["tokens_per_minute"]),
    )
    handle = find_tenant_handle(loaded.data, key.tenant)  # may refuse: then no key was made
    with open_state(loaded.data) as state:
        state.directory.add_api_key(key)
    _show(text, f"{key.role} of {tenant}", key.expires_ms, quiet=quiet)
    if handle is not None and not quiet:
        click.echo(f"Its answers name the audience {handle}.", err=True)


@apikey.command("list")
@config_option
@json_option
@click.option("--tenant", help="Only this tenant's keys.")
def list_keys(config: Path, as_json: bool, tenant: str | None) -> None:
    """List the keys that call the gateway, revoked and expired ones too."""
    now_ms = _now_ms()
    with open_state(load_config(config).data) as state:
        rows = [
            _row(key, now_ms)
            for key in state.directory.api_keys()
            if tenant is None or key.tenant == tenant
        ]
    if as_json:
        _print_json(rows)
        return
    header = ("ID", "TENANT", "NAME", "ROLE", "PURPOSE", "CREATED", "EXPIRES", "STATE")
    lines = [
        (r.id, r.tenant, r.name, r.role, r.purpose, moment(r.created_ms), moment(r.expires_ms))
        for r in rows
    ]
    states = [r.state for r in rows]
    click.echo(columns(header, [(*line, s) for line, s in zip(lines, states, strict=True)]))


@apikey.command()
@config_option
@click.argument("key_id", metavar="ID")
def revoke(config: Path, key_id: str) -> None:
    """Revoke a key that calls the gateway; running gateways refuse it within a second."""
    with open_state(load_config(config).data) as state:
        try:
            key = state.directory.revoke_api_key(KeyId(_public_part(key_id)), _now_ms())
        except NotFound as error:
            raise OperatorError(
                error.detail, next_step="`verismo apikey list` shows every id."
            ) from error
    click.echo(f"revoked {key.id} of {key.tenant} at {moment(key.revoked_ms)}")


@apikey.group()
def admin() -> None:
    """Create, list and revoke keys to the control API."""


@admin.command("create")
@config_option
@click.option("--name", required=True, help="Who holds it; acts are recorded under this name.")
@click.option(
    "--role",
    type=click.Choice(["viewer", "operator", "admin"]),
    default="viewer",
    show_default=True,
    help="viewer reads, operator also acts, admin also changes who may do what.",
)
@expires_option
@quiet_option
def create_admin(
    config: Path, name: str, role: AdminRole, expires: int | None, quiet: bool
) -> None:
    """Create a key to the control API and print it, once."""
    data = load_config(config).data
    text, now_ms = new_api_key(secrets.token_bytes(RANDOM_BYTES), "va"), _now_ms()
    key = AdminKey(
        id=text.id,
        name=name,
        role=role,
        secret_sha256=key_sha256(text),
        created_ms=now_ms,
        expires_ms=_end_ms(now_ms, expires),
    )
    with open_state(data) as state:
        state.admins.add_admin_key(key)
    _show(text, f"{role} {name}", key.expires_ms, quiet=quiet)


@admin.command("list")
@config_option
@json_option
def list_admins(config: Path, as_json: bool) -> None:
    """List the keys to the control API, revoked and expired ones too."""
    now_ms = _now_ms()
    with open_state(load_config(config).data) as state:
        rows = [
            AdminRow(
                k.id, k.name, k.role, k.created_ms, k.expires_ms, k.revoked_ms, key_state(k, now_ms)
            )
            for k in state.admins.admin_keys()
        ]
    if as_json:
        _print_json(rows)
        return
    header = ("ID", "NAME", "ROLE", "CREATED", "EXPIRES", "STATE")
    lines = [
        (r.id, r.name, r.role, moment(r.created_ms), moment(r.expires_ms), r.state) for r in rows
    ]
    click.echo(columns(header, lines))


@admin.command("revoke")
@config_option
@click.argument("key_id", metavar="ID")
def revoke_admin(config: Path, key_id: str) -> None:
    """Revoke a key to the control API."""
    with open_state(load_config(config).data) as state:
        try:
            key = state.admins.revoke_admin_key(KeyId(_public_part(key_id)), _now_ms())
        except NotFound as error:
            raise OperatorError(
                error.detail, next_step="`verismo apikey admin list` shows every id."
            ) from error
    click.echo(f"revoked {key.id} of {key.name} at {moment(key.revoked_ms)}")


def _check_tenant(plan: Plan, name: str, purpose: str) -> None:
    tenant = plan.tenants.get(TenantId(name))
    if tenant is None:
        raise OperatorError(
            f"there is no tenant {name!r}{suggestion(name, plan.tenants)}",
            next_step="`verismo tenant list` shows them; `verismo tenant add` adds one.",
        )
    if purpose and purpose not in tenant.purposes:
        raise OperatorError(
            f"{name} has no purpose {purpose!r}{suggestion(purpose, tenant.purposes)}",
            next_step=f"Its purposes are {', '.join(tenant.purposes)}; add one in verismo.toml.",
        )


def _show(text: ApiKeyText, whose: str, expires_ms: int, *, quiet: bool) -> None:
    # Only the key goes to standard output, so that `KEY=$(verismo apikey create ...)` works.
    if not quiet:
        until = f"until {moment(expires_ms)}" if expires_ms else "without an end"
        click.echo(f"key {text.id}: {whose}, {until}.", err=True)
        click.echo("Keep it now: only its hash is stored, so it is not shown again.", err=True)
    click.echo(text.text)


def _public_part(text: str) -> str:
    """Take the id out of a whole key too: whoever has to revoke in a hurry pastes what leaked."""
    parts = text.strip().split("_")
    return parts[1] if len(parts) == 3 and parts[0] in ("vk", "va") else text.strip()


def _row(key: ApiKey, now_ms: int) -> KeyRow:
    return KeyRow(
        id=key.id,
        tenant=key.tenant,
        name=key.name,
        purpose=key.purpose,
        role=key.role,
        requests_per_minute=key.rate.requests_per_minute,
        tokens_per_minute=key.rate.tokens_per_minute,
        created_ms=key.created_ms,
        expires_ms=key.expires_ms,
        revoked_ms=key.revoked_ms,
        state=key_state(key, now_ms),
    )


def _print_json(rows: Sequence[msgspec.Struct]) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(rows)).decode("utf-8"))


def _end_ms(now_ms: int, lifetime_ms: int | None) -> int:
    return 0 if lifetime_ms is None else now_ms + lifetime_ms


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
