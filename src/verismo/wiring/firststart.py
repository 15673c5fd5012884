"""Makes the secrets of a new data folder, before any process needs them."""

from pathlib import Path

import msgspec

from verismo.adapters.secret_file import make_secret
from verismo.attest.succession import KeyRules
from verismo.wiring.handles import handle_secret_file
from verismo.wiring.keys import clock_ms, prepare_keys

_RULES = KeyRules()


class KeyFiles(msgspec.Struct, frozen=True):
    """Where a data folder keeps its secrets.

    Args:
        handles: secret that tenants' opaque handles are derived from.
        tenants: folder of the tenants' data keys.
    """

    handles: Path
    tenants: Path


def key_files(data: Path) -> KeyFiles:
    """Return where a data folder keeps its secrets."""
    return KeyFiles(handles=handle_secret_file(data), tenants=data / "keys" / "tenants")


def prepare_data(data: Path, rules: KeyRules = _RULES) -> list[Path]:
    """Make the secrets and the key ring of a new data folder; returns the files made now.

    Raises:
        StateError: answers were signed here before but the key is gone; making another would
            leave them without a key to verify them.
    """
    made = prepare_keys(data, rules, clock_ms())
    handles = key_files(data).handles
    return [*made, handles] if make_secret(handles) else made
