"""Where leaves come from: every slot's journal, the versions of the key ring, and what the control
plane has signed.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from verismo.attest.leaf import LeafType
from verismo.model.errors import StateError
from verismo.model.ledger import LogId, is_log_region, origin_of, year_of, year_span_ms
from verismo.ports.journal import JournalReader
from verismo.ports.keyring import RingVersion
from verismo.ports.ledger import AdaptRows, LedgerForked, SourceRow

KEY_RING = "@keyring"
DECISIONS = "@decisions"
STEERING = "@steering"
ADAPT_TYPES = {DECISIONS: LeafType.DECISION, STEERING: LeafType.PLAN}
"""What the control plane signs: its sequences, and what their leaves stand for."""
_TYPES = {"answer": LeafType.ANSWER, "void": LeafType.VOID}


class JournalSource:
    """The journals as a `LeafSource`: one sequence for each slot.

    Args:
        reader: of every slot.
    """

    def __init__(self, reader: JournalReader) -> None:
        self._reader = reader

    def names(self) -> Sequence[str]:
        """Return the slots' names."""
        return self._reader.slots()

    def rows(self, name: str, after: int, limit: int) -> Sequence[SourceRow]:
        """Return records in order; see `ports.ledger.LeafSource`."""
        return [
            SourceRow(seq_n, _TYPES[kind], statement, jws)
            for seq_n, kind, statement, jws in self._reader.scan_signed(name, after, limit)
        ]


class RingVersions(Protocol):
    """The versions of a key ring: a store's as they are, or those of a checked history."""

    def versions(self) -> Sequence[RingVersion]:
        """Return every version from the first.

        Raises:
            StateError: a version cannot be read, or is not believed.
        """
        ...


class KeyRingSource:
    """The versions of the key ring as a `LeafSource`; no slot's name begins with `@`.

    Args:
        ring: for what becomes leaves, a checked history: what is in a log stays there. For looking
            at what became leaves, the store itself.
    """

    def __init__(self, ring: RingVersions) -> None:
        self._ring = ring

    def names(self) -> Sequence[str]:
        """Return its one name."""
        return (KEY_RING,)

    def rows(self, name: str, after: int, limit: int) -> Sequence[SourceRow]:
        """Return versions in order; see `ports.ledger.LeafSource`."""
        return [
            SourceRow(one.version, LeafType.KEY_RING, one.statement, one.jws)
            for one in self._ring.versions()[after : after + limit]
        ]


class AdaptSource:
    """Records of decisions and versions of the steering as a `LeafSource`.

    Args:
        reader: of both.
    """

    def __init__(self, reader: AdaptRows) -> None:
        self._reader = reader

    def names(self) -> Sequence[str]:
        """Return its two names."""
        return tuple(ADAPT_TYPES)

    def rows(self, name: str, after: int, limit: int) -> Sequence[SourceRow]:
        """Return rows in order; see `ports.ledger.LeafSource`."""
        return [
            SourceRow(one.n, ADAPT_TYPES[name], one.statement, one.jws)
            for one in self._reader.rows(name, after, limit)
        ]


class _Stated(msgspec.Struct, frozen=True, gc=False):
    """What of a statement decides its log; voids have no region, key rings neither of the two."""

    iat: int
    iss: str = ""
    region: str = ""


_decode = msgspec.json.Decoder(_Stated).decode


class LogChooser:
    """Says which log a row belongs to: the region and year that its own signed bytes name.

    A log's origin names the issuer too. A record of another one would prove nothing in these logs,
    and there is no place for it in any other: it is refused, and never left out.

    Args:
        issuer: whose logs these are.
        home_region: for what belongs to no tenant: voids and key ring versions.
    """

    def __init__(self, issuer: str, home_region: str) -> None:
        self._issuer = issuer
        self._home_region = home_region
        self._logs: dict[tuple[str, str, int], LogId] = {}
        self._year = 0
        self._year_ms = range(0)

    def choose(self, source: str, row: SourceRow) -> LogId:
        """Return the log of a row.

        Raises:
            LedgerForked: another issuer signed it; an operator has to look.
            StateError: the statement cannot be read.
        """
        stated = _read_stated(source, row)
        iat = max(0, stated.iat)
        if iat not in self._year_ms:
            self._year = year_of(iat)
            self._year_ms = year_span_ms(self._year)
        key = (stated.iss or self._issuer, stated.region or self._home_region, self._year)
        log = self._logs.get(key)
        if log is None:
            log = LogId(key[1], self._year)
            self._check(log, key[0], f"record {row.seq_n} of {source}")
            self._logs[key] = log
        return log

    def _check(self, log: LogId, issuer: str, record: str) -> None:
        if not is_log_region(log.region):
            raise StateError(
                f"the region {log.region[:64]!r} cannot name a log",
                next_step="A region has letters, digits, `.`, `_` and `-`, and no dot in front.",
            )
        if origin_of(issuer, log) != origin_of(self._issuer, log):
            raise LedgerForked(
                f"{record} was signed as {issuer[:128]!r}, and these are logs of {self._issuer!r}",
                next_step="Nothing is lost. Set `issuer` back to what it was, and the ledger goes "
                "on; a new issuer needs a data folder of its own.",
            )


def stated_ms(source: str, row: SourceRow) -> int:
    """Return when a row was signed, as it says itself, Unix ms.

    Raises:
        StateError: the statement cannot be read.
    """
    return _read_stated(source, row).iat


def _read_stated(source: str, row: SourceRow) -> _Stated:
    try:
        return _decode(row.statement)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StateError(
            f"record {row.seq_n} of {source} is damaged: {error}",
            next_step="Keep the journal file for examination, check the disk, and restore a "
            "backup. Nothing after that record is integrated until then.",
        ) from error
