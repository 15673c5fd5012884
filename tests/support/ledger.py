"""A ledger for tests: sources that a test fills, and real stores in a folder."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import msgspec

from verismo.adapters.checkpoint_file import FolderCheckpoints
from verismo.adapters.ledger_sqlite import FILE_NAME, SqliteLedger
from verismo.adapters.secret_file import make_secret
from verismo.adapters.signer_file import FileSigner
from verismo.adapters.tiles_folder import FolderTiles
from verismo.attest.checkpoint import open_checkpoint
from verismo.attest.leaf import LeafType, leaf_entry
from verismo.attest.merkle import CompactRange, leaf_hash
from verismo.attest.note import verifier_key
from verismo.attest.tile import entries_path, read_bundle
from verismo.control.integrator import Integrator, IntegratorSettings, LedgerDesk
from verismo.model.errors import StateError
from verismo.model.ledger import LogId, origin_of
from verismo.ports.ledger import SourceRow

ISSUER = "https://gateway.example"
NOW_MS = 1_790_000_000_000
"""In September 2026."""
EU = LogId("eu", 2026)
US = LogId("us", 2026)


def row(seq_n: int, region: str = "eu", iat: int = NOW_MS, slot: str = "s0") -> SourceRow:
    """Return an answer's row; its bytes follow from the arguments."""
    statement = json.dumps({"iat": iat, "region": region, "seq": {"signer": slot, "n": seq_n}})
    jws = "h.." + hashlib.sha256(statement.encode()).hexdigest()
    return SourceRow(seq_n, LeafType.ANSWER, statement.encode(), jws.encode())


class Rows:
    """A `LeafSource` of lists that a test fills; a name in `broken` cannot be read."""

    def __init__(self) -> None:
        self.lists: dict[str, list[SourceRow]] = {}
        self.broken: set[str] = set()

    def add(self, count: int, *, slot: str = "s0", region: str = "eu", iat: int = NOW_MS) -> None:
        """Add answers after those of a slot."""
        rows = self.lists.setdefault(slot, [])
        last = rows[-1].seq_n if rows else 0
        rows += [row(last + 1 + n, region, iat, slot) for n in range(count)]

    def names(self) -> Sequence[str]:
        """Return the slots."""
        return sorted(self.lists)

    def rows(self, name: str, after: int, limit: int) -> Sequence[SourceRow]:
        """Return rows as the port says."""
        if name in self.broken:
            raise StateError(f"{name} is broken")
        return [one for one in self.lists[name] if one.seq_n > after][:limit]


class Place:
    """A data folder with a ledger; every `open_*` is another process's view of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = Rows()
        self._opened: list[SqliteLedger] = []
        self.log_folder = folder / "log"
        self.key_file = folder / "keys" / "log.key"
        make_secret(self.key_file)
        self.signer = FileSigner(self.key_file, "log")
        self.tiles = FolderTiles(self.log_folder)
        self.memory = FolderCheckpoints(folder / "keys" / "checkpoints")

    def renew_key(self) -> None:
        """Take another log key, as after the first was revoked."""
        self.key_file = self.key_file.with_name("log-2.key")
        make_secret(self.key_file)
        self.signer = FileSigner(self.key_file, "log")

    def store(self) -> SqliteLedger:
        """Open the ledger's state."""
        self._opened.append(SqliteLedger(self.folder / FILE_NAME))
        return self._opened[-1]

    def close(self) -> None:
        """Close every store that was opened, so that the files may be copied."""
        for one in self._opened:
            one.close()

    def desk(self, store: SqliteLedger | None = None) -> LedgerDesk:
        """Return the parts of an integrator."""
        store = store or self.store()
        return LedgerDesk(
            sources=(self.source,),
            store=store,
            lease=store,
            tiles=FolderTiles(self.log_folder),
            memory=self.memory,
            signer=self.signer,
        )

    def integrator(self, desk: LedgerDesk | None = None, **settings: object) -> Integrator:
        """Return an integrator as a process of its own would have it."""
        given = {"issuer": ISSUER, "home_region": "eu", "holder": "a", **settings}
        return Integrator(desk or self.desk(), msgspec.convert(given, IntegratorSettings))

    def entries(self, log: LogId, size: int) -> list[bytes]:
        """Return the entries that the published bundles hold."""
        found: list[bytes] = []
        while len(found) < size:
            width = min(256, size - len(found))
            index = len(found) // 256
            path = entries_path(index, width)
            data = self.tiles.read(log, path) or self.tiles.read(log, entries_path(index))
            assert data is not None, path
            found += read_bundle(data)[:width]
        return found

    def check(self, log: LogId) -> int:
        """Check that the published log proves itself, and return its size."""
        note = self.tiles.read(log, "checkpoint")
        if note is None:
            return 0
        origin = origin_of(ISSUER, log)
        checkpoint, _ = open_checkpoint(note, verifier_key(origin, self.signer.public_key))
        entries = self.entries(log, checkpoint.size)
        frontier = CompactRange()
        frontier.extend([leaf_hash(entry) for entry in entries])
        assert frontier.root() == checkpoint.root
        assert len(set(entries)) == len(entries), "an entry stands twice"
        return checkpoint.size

    def check_all(self) -> None:
        """Every row of every source is in a published log, exactly once, and nothing else is."""
        logs = [state.log for state in self.store().logs()]
        found = [entry for log in logs for entry in self.entries(log, self.check(log))]
        wanted = [
            leaf_entry(LeafType(one.leaf_type), one.statement, one.jws)
            for rows in self.source.lists.values()
            for one in rows
        ]
        assert sorted(found) == sorted(wanted)
