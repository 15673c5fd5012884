"""Parity: does a sink hold exactly the events of the ledger's leaves, each as it was sent?

For each log and hour a manifest is kept while events are sent: their count, the first and the last
leaf index, the Merkle root of their uids and that of their bytes, both in the order of the leaves.
It grows event by event, so nothing is counted twice and a late event finds its hour. To compare,
the events are made again from the ledger and looked for among what the sink gives back.

Delivery is at least once: a copy with the same content is named but takes nothing from parity.

Source: RFC 6962, section 2.1 (roots); ADR-022.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from verismo.attest import merkle
from verismo.attest.ocsf_frame import MAPPING
from verismo.model import canonical
from verismo.model.siem import HourTally, SiemEvent

HOUR_MS: Final = 3_600_000
PPM: Final = 1_000_000
MANIFEST_VERSION: Final = 1


class HourManifest(msgspec.Struct, frozen=True):
    """What one hour of one log is.

    Args:
        v: format version, 1.
        mapping: revision of the mapping from records to events.
        log: origin.
        hour_ms: begin of the hour, Unix ms.
        count: events.
        first_index, last_index: of their leaves; leaves of other hours may lie between them.
        uid_root: hex root over the uids in leaf order.
        event_root: hex root over the events' canonical bytes in leaf order.
    """

    v: int
    mapping: str
    log: str
    hour_ms: int
    count: int
    first_index: int
    last_index: int
    uid_root: str
    event_root: str


class Named(msgspec.Struct, frozen=True, order=True):
    """A record that a finding is about.

    Args:
        log: origin; empty if the sink's copy does not say.
        index: of the leaf; -1 if the ledger has no such record.
        uid: of the event.
        count: of a duplicate, how many copies there are.
    """

    log: str
    index: int
    uid: str
    count: int = 1


class ParityReport(msgspec.Struct, frozen=True):
    """How a sink compares with the ledger.

    Args:
        since_ms, until_ms: the hours that were compared, the end not included.
        expected: events of the ledger in them.
        matched: of those, how many the sink holds unaltered.
        missing: not there at all.
        altered: there in other words, whether or not a good copy is there as well.
        duplicate: there several times, each copy good.
        foreign: claims to be of these hours, and the ledger does not know it.
        unproven: claims to be of a leaf whose record is lost, so that nobody here can say whether
            it is what was sent; the first for each leaf.
        unreadable: lines that are no event.
    """

    since_ms: int
    until_ms: int
    expected: int
    matched: int
    missing: tuple[Named, ...]
    altered: tuple[Named, ...]
    duplicate: tuple[Named, ...]
    foreign: tuple[Named, ...]
    unreadable: int
    unproven: tuple[Named, ...] = ()

    @property
    def parity_ppm(self) -> int:
        """Matched records in millionths, rounded down: 1,000,000 is nothing less than parity."""
        whole = self.expected + len(self.foreign)
        return PPM if whole == 0 else self.matched * PPM // whole

    @property
    def is_whole(self) -> bool:
        """Whether the sink holds every event unaltered and none that the ledger does not know."""
        return not (self.missing or self.altered or self.foreign)


def hour_of(time_ms: int) -> int:
    """Return the begin of the hour, Unix ms."""
    return time_ms // HOUR_MS * HOUR_MS


def extend_tallies(
    earlier: Mapping[int, HourTally], events: Iterable[SiemEvent]
) -> tuple[HourTally, ...]:
    """Count events of one log into the manifests of their hours.

    Args:
        earlier: the log's tallies so far by hour; an hour that is not in it begins here.
        events: in the order of their leaves, each leaf once and after those counted before.

    Returns:
        The tallies that changed, by hour.

    Raises:
        merkle.ProofRefused: a stored frontier is damaged; restore the export's state.
    """
    grouped: dict[int, list[SiemEvent]] = {}
    for event in events:
        grouped.setdefault(hour_of(event.time_ms), []).append(event)
    return tuple(
        _extended(earlier.get(hour, HourTally(of_hour[0].log, hour)), of_hour)
        for hour, of_hour in sorted(grouped.items())
    )


def manifest_of(tally: HourTally) -> HourManifest:
    """Return the manifest that a tally stands for at this moment."""
    return HourManifest(
        v=MANIFEST_VERSION,
        mapping=MAPPING,
        log=tally.log,
        hour_ms=tally.hour_ms,
        count=tally.count,
        first_index=tally.first_index,
        last_index=tally.last_index,
        uid_root=merkle.CompactRange(tally.count, tally.uid_hashes).root().hex(),
        event_root=merkle.CompactRange(tally.count, tally.event_hashes).root().hex(),
    )


def _extended(tally: HourTally, events: list[SiemEvent]) -> HourTally:
    uids = merkle.CompactRange(tally.count, tally.uid_hashes)
    contents = merkle.CompactRange(tally.count, tally.event_hashes)
    uids.extend(merkle.leaf_hash(event.uid.encode("utf-8")) for event in events)
    contents.extend(merkle.leaf_hash(event.data) for event in events)
    return HourTally(
        log=tally.log,
        hour_ms=tally.hour_ms,
        count=uids.size,
        first_index=tally.first_index if tally.count else events[0].index,
        last_index=events[-1].index,
        uid_hashes=uids.hashes,
        event_hashes=contents.hashes,
    )


Member = TypeVar("Member", str, int)
_NO_NAME: Final = msgspec.Raw(b'""')
_NO_INDEX: Final = msgspec.Raw(b"-1")


class _SeenMetadata(msgspec.Struct, frozen=True):
    """What is read of an event; a place of a wrong type must not make it no event."""

    uid: str
    log_name: msgspec.Raw = _NO_NAME
    sequence: msgspec.Raw = _NO_INDEX

    def place(self) -> tuple[str, int]:
        """Return the log and the index that the event names; empty and -1 for what is neither."""
        return _read_or(self.log_name, ""), _read_or(self.sequence, -1)


class _SeenEvent(msgspec.Struct, frozen=True):
    metadata: _SeenMetadata
    time: int


class _Expected:
    """One event of the ledger and what was found of it."""

    __slots__ = ("altered", "digest", "good", "index", "log")

    def __init__(self, event: SiemEvent) -> None:
        self.log = event.log
        self.index = event.index
        self.digest = canonical.digest(event.data)
        self.good = 0
        self.altered = 0


def _never(_log: str, _index: int) -> bool:
    return False


class Comparison:
    """Compares what a sink gives back with the ledger, line by line.

    Memory grows with the events expected (some 300 bytes each), not with the sink.

    Args:
        since_ms, until_ms: the hours to compare, Unix ms, the end not included.
        is_lost: says whether the record of a leaf is lost, by its log and index.
    """

    def __init__(
        self, since_ms: int, until_ms: int, is_lost: Callable[[str, int], bool] = _never
    ) -> None:
        self._is_lost = is_lost
        self._unproven: dict[tuple[str, int], str] = {}
        self._since_ms = since_ms
        self._until_ms = until_ms
        self._expected: dict[str, _Expected] = {}
        self._foreign: dict[tuple[str, str], int] = {}
        self._unreadable = 0

    def expect(self, event: SiemEvent) -> None:
        """Add an event of the ledger; one of another hour is left out."""
        if self._since_ms <= event.time_ms < self._until_ms:
            self._expected[event.uid] = _Expected(event)

    def see(self, line: bytes) -> None:
        """Take one line of the sink.

        Args:
            line: the event, alone or after a syslog header; blank lines count for nothing.
        """
        if not line.strip():
            return
        text = line[max(line.find(b"{"), 0) :].rstrip()
        try:
            seen = msgspec.json.decode(text, type=_SeenEvent)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            self._unreadable += 1
            return
        expected = self._expected.get(seen.metadata.uid)
        if expected is None:
            if self._since_ms <= seen.time < self._until_ms:
                self._see_unknown(seen.metadata.uid, *seen.metadata.place())
        elif _is_same(text, expected.digest):
            expected.good += 1
        else:
            expected.altered += 1

    def _see_unknown(self, uid: str, log: str, index: int) -> None:
        if not self._is_of_lost(uid, log, index):
            self._foreign[log, uid] = self._foreign.get((log, uid), 0) + 1

    def _is_of_lost(self, uid: str, log: str, index: int) -> bool:
        """Say whether an event may be what was sent of a record that was lost afterwards."""
        if uid == f"{log}#{index}" or not self._is_lost(log, index):
            return False
        return self._unproven.setdefault((log, index), uid) == uid

    def report(self) -> ParityReport:
        """Return what was found so far."""
        found = [
            (Named(one.log, one.index, uid, one.good + one.altered), one)
            for uid, one in self._expected.items()
        ]
        altered = [named for named, one in found if one.altered]
        missing = [named for named, one in found if not (one.good or one.altered)]
        return ParityReport(
            since_ms=self._since_ms,
            until_ms=self._until_ms,
            expected=len(found),
            matched=len(found) - len(altered) - len(missing),
            missing=_sorted(missing),
            altered=_sorted(altered),
            duplicate=_sorted([n for n, one in found if one.good > 1 and not one.altered]),
            foreign=_sorted([Named(log, -1, u, n) for (log, u), n in self._foreign.items()]),
            unreadable=self._unreadable,
            unproven=_sorted([Named(log, n, uid) for (log, n), uid in self._unproven.items()]),
        )


def merged(since_ms: int, until_ms: int, parts: Sequence[ParityReport]) -> ParityReport:
    """Return the report of a span of time from those of its parts.

    Args:
        since_ms: begin of the whole span, Unix ms.
        until_ms: its end, not included.
        parts: of spans that follow each other; each saw every line, so its unreadable ones alike.
    """
    return ParityReport(
        since_ms=since_ms,
        until_ms=until_ms,
        expected=sum(part.expected for part in parts),
        matched=sum(part.matched for part in parts),
        missing=tuple(one for part in parts for one in part.missing),
        altered=tuple(one for part in parts for one in part.altered),
        duplicate=tuple(one for part in parts for one in part.duplicate),
        foreign=tuple(one for part in parts for one in part.foreign),
        unreadable=max((part.unreadable for part in parts), default=0),
        unproven=tuple(one for part in parts for one in part.unproven),
    )


def _sorted(found: list[Named]) -> tuple[Named, ...]:
    return tuple(sorted(found))


def _read_or(raw: msgspec.Raw, other: Member) -> Member:
    """Return what a member holds, or the other value where it is of another type."""
    try:
        return msgspec.json.decode(raw, type=type(other))
    except (msgspec.MsgspecError, UnicodeError):
        return other


def _is_same(text: bytes, digest: str) -> bool:
    """Say whether a text is the event with a digest, however a SIEM spells it.

    It may give members back in another order. A member that stands twice would let two readers see
    two events, so that is never the event that was sent.
    """
    if canonical.digest(text) == digest:
        return True
    try:
        spelled = canonical.encode(json.loads(text, object_pairs_hook=_unique))
    except (canonical.NotCanonical, ValueError, RecursionError):
        return False
    return canonical.digest(spelled) == digest


def _unique(pairs: list[tuple[str, canonical.Json]]) -> dict[str, canonical.Json]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members
