"""Composes what reads and audits decisions at the command line."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from verismo.adapters.adapt_file import FILE_NAME, AdaptFile
from verismo.adapters.adapt_leaves import SqliteAdaptLeaves
from verismo.adapters.decisions_sqlite import SqliteDecisions, SqliteSteering
from verismo.adapters.keyring_files import KeyRingFiles
from verismo.adapters.ledger_sqlite import SqliteLedger
from verismo.attest.keyentry import KeyEntry
from verismo.control.decisionaudit import (
    KEEP_MS_MIN,
    AuditCounts,
    AuditDesk,
    DecisionAudit,
    Mismatch,
)
from verismo.control.leafsources import DECISIONS
from verismo.control.rotation import RingHistory
from verismo.control.rules import RULES
from verismo.control.steeringaudit import SteeringAudit
from verismo.model.errors import StateError
from verismo.ports.decisions import DecisionReader
from verismo.ports.ledger import AdaptRows, LedgerReader
from verismo.ports.steering import SteeringReader
from verismo.wiring.ledgerreads import ledger_places

DAY_MS = 86_400_000


class AuditRequest(msgspec.Struct, frozen=True):
    """What is to be audited.

    Args:
        data: the data folder.
        now_ms: Unix ms.
        since_ms: records written before are followed and not judged; 0 judges all.
        keep_days: how long the bytes of decisions are kept at least.
    """

    data: Path
    now_ms: int
    since_ms: int = 0
    keep_days: int = KEEP_MS_MIN // DAY_MS


class Audited(msgspec.Struct, frozen=True):
    """What an audit found.

    Args:
        counts: what was looked at.
        mismatches: what is wrong, in order.
    """

    counts: AuditCounts
    mismatches: tuple[Mismatch, ...]


@contextmanager
def recorded_decisions(data: Path) -> Iterator[DecisionReader]:
    """Open the decisions of a data folder to read them.

    Args:
        data: the folder; a gateway may be running on it.

    Raises:
        StateError: there are none.
    """
    with _opened(data) as file:
        yield SqliteDecisions(file)


def audit_decisions(request: AuditRequest) -> Audited:
    """Recompute the decisions of a data folder, and compare the steering with them.

    Args:
        request: which, and from when on.

    Raises:
        StateError: there is nothing to audit, or a file of it cannot be read.
    """
    with (
        _opened(request.data) as file,
        closing(SqliteLedger(ledger_places(request.data).state, read_only=True)) as ledger,
    ):
        decisions, steering = SqliteDecisions(file), SqliteSteering(file)
        leaves = SqliteAdaptLeaves(file)
        since = decisions.first_since(request.since_ms) or decisions.last() + 1
        desk = AuditDesk(
            reader=decisions,
            keys=_believed_keys(request.data),
            rules=RULES,
            now_ms=request.now_ms,
            keep_ms=request.keep_days * DAY_MS,
            since=since if request.since_ms else 1,
            in_ledger=ledger.cursors().get(DECISIONS, 0),
            is_lost=lambda n: _is_lost(ledger, leaves, n),
        )
        return audit_with(desk, steering)


def audit_with(desk: AuditDesk, steering: SteeringReader) -> Audited:
    """Walk the records once, and the versions of the steering beside them.

    Args:
        desk: what the records are judged by.
        steering: what gateways were told.

    Raises:
        StateError: one of both cannot be read.
    """
    audit = DecisionAudit(desk)
    versions = SteeringAudit(steering, desk.keys, audit, desk.since)
    found: list[Mismatch] = []
    for record, mismatches in audit.walk():
        found += mismatches
        if record is not None:
            found += versions.see(record)
    found += versions.rest()
    return Audited(audit.counts, tuple(found))


@contextmanager
def _opened(data: Path) -> Iterator[AdaptFile]:
    path = data / FILE_NAME
    if not path.is_file():
        raise StateError(
            f"there are no decisions: {path} is not there",
            next_step="Name the gateway's data folder with --data; decisions begin once it runs "
            "with [adapt] enabled.",
        )
    with closing(AdaptFile(path, read_only=True)) as file:
        yield file


def _is_lost(ledger: LedgerReader, leaves: AdaptRows, n: int) -> bool:
    """Say whether a record became a leaf and is not there, not even as an archive gave it back."""
    if ledger.locate(DECISIONS, n) is None:
        return False
    return all(row.n != n for row in leaves.rows(DECISIONS, n - 1, 1))


def _believed_keys(data: Path) -> Sequence[KeyEntry]:
    """Return the keys of the newest version of a key ring whose whole history holds.

    Raises:
        StateError: there is none, or it does not hold.
    """
    history = RingHistory(KeyRingFiles(data)).read()
    if not history:
        raise StateError(
            f"there is no key ring in {data}, so no signature can be checked",
            next_step="Bring keyring/ back from a backup.",
        )
    return history[-1].ring.keys
