"""`verismo tenant`: list, show, add and erase tenants."""

import re
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path
from time import time_ns

import click
import msgspec

from verismo.cli.options import config_option, json_option, moment
from verismo.config.load import load_config
from verismo.config.schema import Config
from verismo.config.source import suggestion
from verismo.config.tenantfile import NewTenant, append_tenant
from verismo.config.writing import sync_folder
from verismo.model.errors import OperatorError, StateError
from verismo.model.ids import TenantId
from verismo.model.operation import Operation
from verismo.model.tenant import Tenant
from verismo.wiring.firststart import key_files
from verismo.wiring.handles import find_tenant_handle
from verismo.wiring.vault import erased_tenants, record_erasure


@click.group()
def tenant() -> None:
    """List, show, add and erase tenants."""


@tenant.command(name="list")
@config_option
@json_option
def list_tenants(config: Path, as_json: bool) -> None:
    """List the tenants of the configuration."""
    loaded = load_config(config)
    tenants = list(loaded.plan.tenants.values())
    if as_json:
        _write_json(msgspec.json.encode(tenants))
        return
    gone = erased_tenants(loaded.data)
    for found in tenants:
        erased = "  erased" if found.id in gone else ""
        click.echo(
            f"{found.id:<16} {found.region:<8} {found.enforcement:<9} "
            f"{_usd(found):>12} USD/day  {', '.join(found.purposes)}{erased}"
        )


@tenant.command()
@config_option
@click.argument("tenant_id", metavar="ID")
@json_option
def show(config: Path, tenant_id: str, as_json: bool) -> None:
    """Show one tenant, its handle and what it may run.

    The handle is the `aud` of every statement for this tenant: verify with `--audience HANDLE`.
    """
    loaded = load_config(config)
    found = _find(loaded, tenant_id)
    handle = find_tenant_handle(loaded.data, found.id)
    if as_json:
        settings: dict[str, object] = msgspec.to_builtins(found)
        _write_json(msgspec.json.encode({**settings, "handle": handle}))
        return
    erased_ms = erased_tenants(loaded.data).get(found.id)
    rows = {
        "handle": handle or "not yet: the first `verismo serve` makes its secret",
        "region": found.region,
        "purposes": ", ".join(found.purposes),
        "models": ", ".join(found.models) or "none",
        "enforcement": found.enforcement,
        "budget": f"{_usd(found)} USD/day",
        "rate": f"{found.rate.requests_per_minute or 'any'} requests/min, "
        f"{found.rate.tokens_per_minute or 'any'} tokens/min",
        "cache": f"{found.cache_ttl_s} s" if found.cache_ttl_s else "off",
        "capture": "on" if found.capture else "off",
        "erased": "no" if erased_ms is None else moment(erased_ms),
        "may run": ", ".join(_may_run(loaded, found.id)) or "nothing registered",
    }
    click.echo(found.id)
    for name, value in rows.items():
        click.echo(f"  {name:<12} {value}")


def _dollars(_context: click.Context, _option: click.Parameter, text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation as error:
        raise click.BadParameter(f"{text!r} is not an amount") from error
    if not amount.is_finite():
        raise click.BadParameter(f"{text!r} is not an amount")
    return amount


@tenant.command()
@config_option
@click.argument("id", metavar="ID")
@click.option("--region", required=True, help="Home region, such as us or eu.")
@click.option(
    "--purpose", "purposes", multiple=True, required=True, help="May be repeated; first = default."
)
@click.option("--model", "models", multiple=True, help="Model or `prefix*`; may be repeated.")
@click.option(
    "--enforcement",
    type=click.Choice(["observe", "safelist", "id-only"]),
    help="Omitted: observe until an operation names the tenant, then safelist.",
)
@click.option(
    "--budget-usd-per-day", default="0", show_default=True, callback=_dollars, help="US dollars."
)
def add(config: Path, **options: str | tuple[str, ...] | Decimal | None) -> None:
    """Append a tenant to verismo.toml, if the whole file stays valid with it."""
    new = msgspec.convert(options, NewTenant)
    loaded = append_tenant(config, new)
    click.echo(f"Added {new.id} to {loaded.path}.")
    if not new.models:
        click.echo("It may reach no model yet: name some in its `models`.")
    click.echo(f"Next: verismo apikey create {new.id}")


@tenant.command()
@config_option
@click.argument("tenant_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Erase without asking. There is no way back.")
def erase(config: Path, tenant_id: str, yes: bool) -> None:
    """Erase a tenant's captured content by deleting its data key.

    Captured content and its salts are stored only encrypted under that key, so without it nobody
    can read them again, in backups of the journal either. (A backup that holds the key itself must
    be deleted as well.) What stays are hashes and signatures: they prove that answers were given
    and say nothing of what was in them. The tenant's table in verismo.toml, its API keys and its
    budget are not changed; no new data key is made for it.
    """
    loaded = load_config(config)
    name = _erasable(loaded, tenant_id)
    if not yes:
        click.confirm(f"Erase all captured content of {name} for ever?", abort=True)
    key, had_key = _key(loaded, name), _key(loaded, name).exists()
    erased_ms = erased_tenants(loaded.data).get(name)
    if erased_ms is not None and not had_key:
        click.echo(f"{name} was erased already, at {moment(erased_ms)}. Nothing changed.")
        return
    if erased_ms is None:
        # Durable before the key goes: a crash between the two leaves the tenant recorded as
        # erased, no key can be made anew, and running the command again deletes the old one.
        record_erasure(loaded.data, name, time_ns() // 1_000_000)
    if had_key:
        _delete(key)
    what = "its data key is deleted" if had_key else "it had no data key, so nothing was captured"
    click.echo(f"Erased {name}: {what}. Recorded in {loaded.data / 'state.db'}.")


def _delete(key: Path) -> None:
    try:
        key.unlink(missing_ok=True)
        sync_folder(key.parent)
    except OSError as error:
        raise StateError(
            f"the tenant is recorded as erased, but {key} cannot be deleted: {error.strerror}",
            next_step="Mend the folder's permissions and run the command again.",
        ) from error


def _erasable(config: Config, tenant_id: str) -> TenantId:
    """A tenant that left the configuration may still have a key, and can be erased too."""
    is_name = re.fullmatch(r"[A-Za-z0-9._-]{1,128}", tenant_id) is not None
    if is_name and _key(config, TenantId(tenant_id)).exists():
        return TenantId(tenant_id)
    return _find(config, tenant_id).id


def _find(config: Config, tenant_id: str) -> Tenant:
    found = config.plan.tenants.get(TenantId(tenant_id))
    if found is None:
        raise OperatorError(
            f"there is no tenant {tenant_id!r}{suggestion(tenant_id, config.plan.tenants)}",
            next_step="`verismo tenant list` shows them.",
        )
    return found


def _key(config: Config, tenant_id: TenantId) -> Path:
    return key_files(config.data).tenants / f"{tenant_id}.key"


def _may_run(config: Config, tenant_id: TenantId) -> list[str]:
    return [
        _label(operation)
        for operation in config.plan.operations.values()
        if not operation.tenants or tenant_id in operation.tenants
    ]


def _label(operation: Operation) -> str:
    return operation.name if operation.kind == "graphql" else operation.id


def _usd(found: Tenant) -> str:
    """Spell a budget in dollars: two decimal places, or six where they are needed."""
    micros = found.budget_usd_micros_per_day
    whole, rest = divmod(micros, 1_000_000)
    return f"{whole}.{rest // 10_000:02}" if rest % 10_000 == 0 else f"{whole}.{rest:06}"


def _write_json(data: bytes) -> None:
    sys.stdout.write(msgspec.json.format(data).decode() + "\n")
