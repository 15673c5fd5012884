"""Adds a tenant to verismo.toml: the file stays as its owner wrote it, with a table at its end."""

import json
import tempfile
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import msgspec

from verismo.config.load import load_config
from verismo.config.schema import Config
from verismo.config.writing import write_whole
from verismo.model.errors import ConfigError, OperatorError
from verismo.model.tenant import Enforcement


class NewTenant(msgspec.Struct, frozen=True):
    """What a new tenant's table says.

    Args:
        id: its name; letters, digits, `.`, `_` and `-`.
        region: home region.
        purposes: at least one.
        models: models or `prefix*` patterns; empty reaches none.
        enforcement: None leaves the key out.
        budget_usd_per_day: US dollars.
    """

    id: str
    region: str
    purposes: tuple[str, ...]
    models: tuple[str, ...]
    enforcement: Enforcement | None
    budget_usd_per_day: Decimal


def append_tenant(
    path: Path, tenant: NewTenant, environ: Mapping[str, str] | None = None
) -> Config:
    """Append a tenant's table, after checking that the whole file stays valid with it.

    Nothing is written unless the result passes every check, and the file is replaced atomically;
    all of its text stays, so no backup is made.

    Args:
        path: the verismo.toml.
        tenant: what to add.
        environ: environment variables; None means the process's own.

    Returns:
        The configuration with the tenant in it.

    Raises:
        ConfigError: the file is not valid, before or after; nothing was written.
        OperatorError: the tenant is there already, or the file cannot be written.
    """
    before = load_config(path, environ)
    if tenant.id in before.plan.tenants:
        raise OperatorError(
            f"the tenant {tenant.id} is there already",
            next_step=f"Edit [tenants.{tenant.id}] in {path}, or choose another id.",
        )
    text = path.read_text(encoding="utf-8").rstrip("\n") + "\n\n" + table_text(tenant)
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", suffix=".trial"
    ) as trial:
        trial.write(text)
        trial.flush()
        try:
            after = load_config(Path(trial.name), environ)
        except ConfigError as error:
            detail = error.detail.replace(Path(trial.name).name, path.name)
            raise ConfigError(
                detail, next_step=f"Nothing was written. Mend the options of {tenant.id}."
            ) from error
    write_whole(path, text.encode(), path.stat().st_mode & 0o777)
    return msgspec.structs.replace(after, path=before.path)


def table_text(tenant: NewTenant) -> str:
    """Return a tenant's table as TOML, with a comment for each key."""
    enforcement = (
        f'enforcement = "{tenant.enforcement}"\n'
        if tenant.enforcement
        else '# enforcement = "observe", "safelist" or "id-only"; omitted: observe until an\n'
        "# operation names this tenant, then safelist\n"
    )
    return (
        f"[tenants.{_quoted(tenant.id)}]\n"
        "# Its data goes only to deployments of this region.\n"
        f"region = {_quoted(tenant.region)}\n"
        "# What its data may be used for; the first is the default of its API keys.\n"
        f"purposes = {_quoted(tenant.purposes)}\n"
        "# Models it may reach; `prefix*` is allowed, empty means none.\n"
        f"models = {_quoted(tenant.models)}\n"
        f"{enforcement}"
        "# US dollars; 0 allows no spending.\n"
        f"budget_usd_per_day = {tenant.budget_usd_per_day:f}\n"
        "# rate = { requests_per_minute = 0, tokens_per_minute = 0 }\n"
        "# cache_ttl_s = 0\n"
        "# capture = false\n"
    )


def _quoted(value: str | tuple[str, ...]) -> str:
    """Spell texts as TOML; for them JSON's spelling is TOML's, except for surrogate escapes."""
    return json.dumps(value, ensure_ascii=False)
