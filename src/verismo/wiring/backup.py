"""Backs a data folder up and restores it: gives the adapters the clock and the randomness."""

import secrets
import time
from pathlib import Path

import msgspec

from verismo.adapters.backup import Manifest, make_backup
from verismo.adapters.journal_slot import next_slot_name
from verismo.adapters.restoration import restore_backup


class Restoration(msgspec.Struct, frozen=True):
    """What a restore did.

    Args:
        manifest: of the backup.
        first_slot: the name of the slot that the first worker writes to from now on.
    """

    manifest: Manifest
    first_slot: str


def back_up(data: Path, out: Path, *, with_keys: bool) -> Manifest:
    """Copy a data folder while it is in use; see `adapters.backup.make_backup`."""
    return make_backup(data, out, with_keys=with_keys, now_ms=time.time_ns() // 1_000_000)


def restore(source: Path, data: Path) -> Restoration:
    """Restore a backup into an empty folder; see `adapters.restoration.restore_backup`."""
    now_ms = time.time_ns() // 1_000_000
    manifest, _ = restore_backup(source, data, secrets.token_hex(4), now_ms)
    return Restoration(manifest, next_slot_name(data, 0))
