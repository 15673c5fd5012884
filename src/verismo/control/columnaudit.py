"""Compares what lies beside a signed statement in a journal's row with the statement.

Whoever reads a record by its prov_id, by its tenant or by its cost believes the row's columns, and
whoever shows where an answer comes from believes its graph. None of them is signed by itself, but
the statement says what each must be.
"""

from collections.abc import Iterator

from verismo.attest.provenance import GraphRefused, read_graph
from verismo.attest.statement import Statement, StatementRefused, Void, read_statement
from verismo.control.treeaudit import Finding
from verismo.model import canonical
from verismo.model.ids import TenantId
from verismo.ports.journal import JournalReader, Record

ROWS_AT_ONCE = 512
"""A row has a graph of some kilobytes."""


class ColumnAudit:
    """Walks the journals.

    Args:
        journal: reads them.
        owners: tenants by their handles, as far as they are known; added to.
    """

    def __init__(self, journal: JournalReader, owners: dict[str, TenantId]) -> None:
        self._journal = journal
        self._owners = owners

    def findings(self) -> Iterator[Finding]:
        """Yield every row that says something else than its statement.

        Raises:
            StateError: a journal cannot be read.
        """
        for slot in self._journal.slots():
            after = 0
            while records := self._journal.scan_uncaptured(slot, after, ROWS_AT_ONCE):
                for record in records:
                    for problem in self._problems(record):
                        yield Finding("column", slot, f"record {record.seq_n}: {problem}")
                after = records[-1].seq_n

    def _problems(self, record: Record) -> Iterator[str]:
        if record.kind == "void":
            yield from _void_problems(record)
            return
        try:
            statement = read_statement(record.statement)
        except StatementRefused as error:
            yield str(error)
            return
        if record.prov_id != statement.prov_id:
            yield f"it is kept as {record.prov_id}, signed was {statement.prov_id}"
        owner = self._owners.setdefault(statement.aud, record.tenant)
        if record.tenant != owner:
            yield f"it is kept as {record.tenant!r}'s, signed was the handle of {owner!r}"
        if record.cost_usd_micros != (statement.cost_usd_micros or 0):
            yield "its cost is not the signed one"
        if problem := _graph_problem(record.graph, statement):
            yield problem


def _void_problems(record: Record) -> Iterator[str]:
    try:
        void = canonical.decode(record.statement, Void)
    except canonical.NotCanonical as error:
        yield str(error)
        return
    if record.prov_id != void.prov_id:
        yield f"it is kept as {record.prov_id}, signed was {void.prov_id}"
    if record.tenant or record.graph or record.cost_usd_micros:
        yield "a gap has no tenant, graph or cost"


def _graph_problem(document: bytes, statement: Statement) -> str:
    try:
        graph, root = read_graph(document)
    except GraphRefused as error:
        return f"its graph: {error}"
    if (root, len(graph.nodes)) != (statement.dag.root, statement.dag.nodes):
        return "its graph is not the signed one"
    return ""
