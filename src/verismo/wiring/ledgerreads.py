"""Composes what a worker answers of the ledger: the published logs, and proof files."""

from pathlib import Path

import msgspec

from verismo.adapters.ledger_sqlite import FILE_NAME, SqliteLedger
from verismo.adapters.tiles_folder import FolderTiles
from verismo.config.schema import Config
from verismo.gateway.logfiles import LogFiles
from verismo.gateway.proofs import LedgerReads, ProofMaker, Proofs
from verismo.gateway.records import Records


class LedgerPlaces(msgspec.Struct, frozen=True):
    """Where a data folder keeps its ledger.

    Args:
        state: the database of indices and checkpoints.
        tiles: what is published, a folder for each region and year.
        memory: the second place for checkpoints, beside the keys.
    """

    state: Path
    tiles: Path
    memory: Path


def ledger_places(data: Path) -> LedgerPlaces:
    """Return where a data folder keeps its ledger."""
    return LedgerPlaces(data / FILE_NAME, data / "log", data / "keys" / "checkpoints")


def open_ledger_reads(config: Config, records: Records) -> LedgerReads:
    """Return what a worker answers of the ledger; nothing of it has to exist yet."""
    places = ledger_places(config.data)
    tiles = FolderTiles(places.tiles)
    reader = SqliteLedger(places.state, read_only=True)
    return LedgerReads(LogFiles(tiles), Proofs(records, ProofMaker(reader, tiles)))
