"""How the ledger stands: sizes, ages of checkpoints, and how long records wait for their proof.

Worked out from the stores alone, so it is true whether an integrator runs or not.
"""

from collections.abc import Sequence

import msgspec

from verismo.control.leafsources import stated_ms
from verismo.model.ledger import LogId
from verismo.ports.ledger import LeafSource, LedgerReader


class LogHealth(msgspec.Struct, frozen=True):
    """One log.

    Args:
        log: which log.
        size: entries that have an index.
        signed_size: entries under the last checkpoint.
        checkpoint_age_ms: since that was signed, None without one.
    """

    log: LogId
    size: int
    signed_size: int
    checkpoint_age_ms: int | None


class LedgerHealth(msgspec.Struct, frozen=True):
    """The whole ledger.

    Args:
        logs: every log, sorted.
        delay_ms: age of the oldest record that is under no checkpoint, 0 if none waits.
    """

    logs: tuple[LogHealth, ...]
    delay_ms: int


def observe_ledger(
    reader: LedgerReader, sources: Sequence[LeafSource], now_ms: int
) -> LedgerHealth:
    """Look at the ledger.

    Args:
        reader: of its state.
        sources: where leaves come from.
        now_ms: Unix ms.

    Raises:
        StateError: a store cannot be read: there is no data, which is an alarm of its own.
    """
    logs: list[LogHealth] = []
    waiting: list[int] = []
    by_name = {name: source for source in sources for name in source.names()}
    for state in reader.logs():
        latest = reader.latest_checkpoint(state.log)
        signed = 0 if latest is None else latest.size
        age = None if latest is None else max(0, now_ms - latest.signed_ms)
        logs.append(LogHealth(state.log, state.assigned, signed, age))
        if signed < state.assigned:
            for run in reader.runs(state.log, signed, 1):
                before = run.first_seq + max(0, signed - run.first_index) - 1
                waiting += _first_ms(by_name.get(run.source), run.source, before)
    cursors = reader.cursors()
    for name, source in by_name.items():
        waiting += _first_ms(source, name, cursors.get(name, 0))
    delay_ms = max(0, now_ms - min(waiting)) if waiting else 0
    return LedgerHealth(tuple(logs), delay_ms)


def _first_ms(source: LeafSource | None, name: str, after: int) -> list[int]:
    """Return when the first row after a number was signed, nothing if there is none."""
    rows = [] if source is None else source.rows(name, after, 1)
    return [stated_ms(name, row) for row in rows]
