"""A process that integrates a journal of real records into trees of given sizes.

    integrating.py grow FOLDER RECORDS SIZE...            one tree; a JSON object for each size
    integrating.py compare FOLDER RECORDS SMALL LARGE LEAVES ROUNDS    two trees side by side

The journal is read again and again under rising numbers, so that a tree of ten million leaves needs
no journal of twenty gigabytes; everything else is as in the control process. `compare` grows a
small tree and a large one in turn by the same number of leaves, round after round, and prints the
CPU of each turn: what disturbs the machine disturbs both.
"""

import json
import resource
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
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


class Tree:
    """One growing tree and the process's own use of CPU while it grows.

    Args:
        folder: where tiles, state and keys of this tree go.
        journal: of the records.
        records: how many the journal has.
        stack: closes the tree's store.
    """

    def __init__(
        self, folder: Path, journal: SqliteJournalReader, records: int, stack: ExitStack
    ) -> None:
        places = ledger_places(folder)
        key = folder / "keys" / "log.key"
        make_secret(key)
        store = stack.enter_context(closing(SqliteLedger(places.state)))
        self._source = Repeated(JournalSource(journal), records)
        desk = LedgerDesk(
            sources=(self._source,),
            store=store,
            lease=store,
            tiles=FolderTiles(places.tiles),
            memory=FolderCheckpoints(places.memory),
            signer=FileSigner(key, "log"),
        )
        self._integrator = Integrator(desk, IntegratorSettings(ISSUER, "us", "bench"))

    @property
    def size(self) -> int:
        """How many leaves it has, all integrated."""
        return self._source.end

    def grow(self, size: int) -> dict[str, float]:
        """Integrate until the tree has a size; returns what that took."""
        self._source.end = size
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        while self._integrator.step(time.time_ns() // 1_000_000).taken:
            pass
        return {
            "size": size,
            "seconds": time.perf_counter() - began_s,
            "cpu_s": time.process_time() - began_cpu_s,
            "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024,
        }

    def finish(self) -> None:
        """Have the last checkpoint signed, as it is once its interval is over."""
        self._integrator.step(time.time_ns() // 1_000_000 + 2_000)


def grow(folder: Path, records: int, sizes: list[int]) -> None:
    """Grow one tree and print a line for each size."""
    with closing(SqliteJournalReader(folder)) as journal, ExitStack() as stack:
        tree = Tree(folder, journal, records, stack)
        for size in sizes:
            print(json.dumps(tree.grow(size)), flush=True)
        tree.finish()


def compare(folder: Path, records: int, sizes: tuple[int, int], leaves: int, rounds: int) -> None:
    """Grow two trees in turn and print the CPU seconds of each turn, small and large."""
    with closing(SqliteJournalReader(folder)) as journal, ExitStack() as stack:
        trees = [
            Tree(folder / name, journal, records, stack) for name in ("small-tree", "large-tree")
        ]
        for tree, size in zip(trees, sizes, strict=True):
            tree.grow(size)
        for turn in range(rounds):
            taken = {}
            for tree in trees if turn % 2 else reversed(trees):
                taken[tree] = tree.grow(tree.size + leaves)["cpu_s"]
            print(json.dumps([taken[tree] for tree in trees]), flush=True)


if __name__ == "__main__":
    place, counts = Path(sys.argv[2]), [int(one) for one in sys.argv[3:]]
    if sys.argv[1] == "grow":
        grow(place, counts[0], counts[1:])
    else:
        compare(place, counts[0], (counts[1], counts[2]), counts[3], counts[4])
