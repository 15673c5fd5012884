"""Where the numbers of decisions and of the steering go on when a process opens `adapt.db`.

A file that is new, or an old copy, knows less than the ledger: its next numbers would stand for two
different records, and those would get no leaf, since the ledger's cursor is past them. So it goes
on as a restored one does, after every number that can have been given out.
"""

import logging
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from verismo.adapters.adapt_file import AdaptFile, pass_numbers
from verismo.adapters.decisions_sqlite import SqliteDecisions, SqliteSteering
from verismo.adapters.ledger_sqlite import SqliteLedger
from verismo.control.leafsources import DECISIONS, STEERING
from verismo.model.errors import StateError
from verismo.wiring.ledgerreads import ledger_places

log = logging.getLogger("verismo.adapt")


def go_on_after_ledger(file: AdaptFile, data: Path, now_ms: int) -> None:
    """Let the next numbers come after those of the ledger, and log once what is lost.

    Args:
        file: opened to write; nothing was decided by it since.
        data: the data folder.
        now_ms: Unix ms.

    Raises:
        StateError: it cannot be written; or it is empty, and the ledger cannot be read, so that
            nobody knows which numbers were given out.
    """
    last = {DECISIONS: SqliteDecisions(file).last(), STEERING: SqliteSteering(file).last()}
    try:
        taken = _numbers_in_ledger(data)
    except StateError as error:
        if any(last.values()):
            # Whoever reads the ledger next says so; that is no reason to decide nothing.
            return
        raise StateError(
            f"adapt.db is empty, and the ledger cannot be asked whether it was: {error.detail}",
            next_step=error.advice,
        ) from error
    lacks = [name for name, number in last.items() if number < taken.get(name, 0)]
    if not lacks:
        return
    # A crash from here on: the numbers are passed, and the next start finds nothing to do.
    passed = pass_numbers(file.path, now_ms, max(taken[name] for name in lacks))
    fields = {
        "lacks": ", ".join(lacks),
        "last": last[lacks[0]],
        "in_ledger": taken[lacks[0]],
        "goes_on_after": passed,
        "next": "Controllers begin anew, or go on from the last record that is there. To go on "
        "from what is lost, stop Verismo and bring adapt.db back; `verismo audit` and `verismo "
        "ledger audit` name what is missing.",
    }
    log.error("adapt.db has lost records", extra={"fields": fields})


def _numbers_in_ledger(data: Path) -> Mapping[str, int]:
    """Return the last number of each source that the ledger took; nothing without a ledger."""
    with closing(SqliteLedger(ledger_places(data).state, read_only=True)) as ledger:
        return ledger.cursors()
