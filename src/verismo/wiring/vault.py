"""Composes the tenants' data keys and the record of who was erased."""

import logging
from collections.abc import Mapping
from pathlib import Path

from verismo.adapters.erasures_sqlite import adopt_markers
from verismo.adapters.vault_file import FileVault
from verismo.config.schema import Config
from verismo.control.daystatements import GATEWAY
from verismo.model.ids import TenantId
from verismo.wiring.firststart import key_files
from verismo.wiring.keys import BACK_IT_UP
from verismo.wiring.state import State, open_state, schema_status

log = logging.getLogger("verismo.vault")


def open_vault(data: Path, state: State) -> FileVault:
    """Return the vault of a data folder, once what earlier versions marked is recorded.

    Args:
        data: the data folder.
        state: of the same folder; open as long as the vault is used.

    Raises:
        StateError: a marker cannot be read, or state.db cannot be written.
    """
    folder = key_files(data).tenants
    adopt_markers(folder, state.erasures)
    return FileVault(folder, state.erasures)


def make_data_keys(config: Config) -> list[TenantId]:
    """Make the data keys that the rollups of the days to come are sealed under.

    A key that is first made by the rollup, after midnight, is in no backup of the day before; what
    is archived of that day could then not be opened from it.

    Args:
        config: the validated configuration; each of its tenants has a key afterwards, save those
            that were erased, and so has what belongs to no tenant.

    Returns:
        Whose keys were made now.

    Raises:
        StateError: a key or state.db cannot be written.
    """
    with open_state(config.data) as state:
        vault = open_vault(config.data, state)
        made = [one for one in (GATEWAY, *config.plan.tenants) if vault.make_key(one)]
    if made:
        folder = str(key_files(config.data).tenants)
        fields = {"count": len(made), "folder": folder, "next": BACK_IT_UP}
        log.warning("made data keys", extra={"fields": fields})
    return made


def erased_tenants(data: Path) -> Mapping[TenantId, int]:
    """Return when each tenant of a data folder was erased, Unix ms; an absent folder stays absent.

    Raises:
        StateError: state.db cannot be used.
    """
    if schema_status(data).verdict == "absent" and not key_files(data).tenants.is_dir():
        return {}
    with open_state(data) as state:
        adopt_markers(key_files(data).tenants, state.erasures)
        return state.erasures.erased()


def record_erasure(data: Path, tenant: TenantId, now_ms: int) -> None:
    """Record that a tenant is erased, durably; delete its key only afterwards.

    Raises:
        StateError: state.db cannot be written.
    """
    with open_state(data) as state:
        state.erasures.record(tenant, now_ms)
