"""A process that integrates a journal until a tree has a size: `integrating.py FOLDER SIZE...`.

The journal holds real records and is read again and again under rising numbers, so that a tree of
ten million leaves needs no journal of twenty gigabytes; everything else is as in the control
process. It prints one JSON object for each size.
"""

import json
import resource
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from verismo.adapters.checkpoint_file import FolderCheckpoints
from verismo.adapters.journal_reader import SqliteJournalReader
from verismo.adapters.ledger_sqlite import SqliteLedger
from verismo.adapters.secret_file import make_secret
from verismo.adapters.signer_file import FileSigner
from verismo.adapters.tiles_folder import FolderTiles
from verismo.control.integrator import Integrator, IntegratorSettings, LedgerDesk
from verismo.control.leafsources import JournalSource
from verismo.ports.ledger import SourceRow
from verismo.wiring.ledgerreads import ledger_places

ISSUER = "https://bench.example"
SLOT = "s0"


class Repeated:
    """A `LeafSource` of a journal's records over and over, up to a number.

    Args:
        source: of the journal.
        records: how many it has, numbered from 1.
    """

    def __init__(self, source: JournalSource, records: int) -> None:
        self._source = source
        self._records = records
        self.end = 0

    def names(self) -> Sequence[str]:
        """Return the one slot."""
        return [SLOT]

    def rows(self, name: str, after: int, limit: int) -> Sequence[SourceRow]:
        """Return the records after `after`, renumbered; at most to the end of one repetition."""
        limit = min(limit, self.end - after)
        base = after - after % self._records
        rows = self._source.rows(name, after - base, limit) if limit > 0 else ()
        return [SourceRow(base + one.seq_n, one.leaf_type, one.statement, one.jws) for one in rows]


def main(folder: Path, records: int, sizes: list[int]) -> None:
    places = ledger_places(folder)
    key = folder / "keys" / "log.key"
    make_secret(key)
    with (
        closing(SqliteJournalReader(folder)) as journal,
        closing(SqliteLedger(places.state)) as store,
    ):
        source = Repeated(JournalSource(journal), records)
        desk = LedgerDesk(
            sources=(source,),
            store=store,
            lease=store,
            tiles=FolderTiles(places.tiles),
            memory=FolderCheckpoints(places.memory),
            signer=FileSigner(key, "log"),
        )
        integrator = Integrator(desk, IntegratorSettings(ISSUER, "us", "bench"))
        for size in sizes:
            source.end = size
            began_s, began_cpu_s = time.perf_counter(), time.process_time()
            while integrator.step(time.time_ns() // 1_000_000).taken:
                pass
            print(
                json.dumps(
                    {
                        "size": size,
                        "seconds": time.perf_counter() - began_s,
                        "cpu_s": time.process_time() - began_cpu_s,
                        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024,
                    }
                ),
                flush=True,
            )
        # The last checkpoint is signed once its interval is over.
        integrator.step(time.time_ns() // 1_000_000 + 2_000)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), [int(size) for size in sys.argv[3:]])
