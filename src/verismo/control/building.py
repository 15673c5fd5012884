"""What a log takes in one step, while it is put together."""

from verismo.attest.leaf import LeafType, leaf_entry
from verismo.model.ledger import LogId
from verismo.ports.ledger import Growth, Run, SourceRow


class Building:
    """The growth of one log while rows are added to it.

    Args:
        log: which log.
        first_index: what its size was before.
    """

    def __init__(self, log: LogId, first_index: int) -> None:
        self._log = log
        self._first_index = first_index
        self.entries: list[bytes] = []
        self._runs: list[Run] = []
        self._source = ""
        self._first_seq = 0
        self._begin = 0

    def add(self, source: str, row: SourceRow) -> None:
        """Add a row's entry, to the last run if it follows on there."""
        count = len(self.entries) - self._begin
        if source != self._source or row.seq_n != self._first_seq + count:
            self._close_run()
            self._source, self._first_seq, self._begin = source, row.seq_n, len(self.entries)
        self.entries.append(leaf_entry(LeafType(row.leaf_type), row.statement, row.jws))

    def growth(self) -> Growth:
        """Return the growth."""
        self._close_run()
        self._begin = len(self.entries)
        return Growth(self._log, self._first_index, b"".join(self.entries), tuple(self._runs))

    def _close_run(self) -> None:
        count = len(self.entries) - self._begin
        if count:
            index = self._first_index + self._begin
            self._runs.append(Run(self._source, self._first_seq, count, self._log, index))
