"""What the SIEM export passes on: events, and hourly counts of them."""

import msgspec


class SiemEvent(msgspec.Struct, frozen=True):
    """One event of one leaf, ready to be sent.

    Args:
        log: origin of its log.
        index: of its leaf; `metadata.sequence`.
        uid: what readers dedupe by; `metadata.uid`.
        kind: kind of record, a word; `metadata.event_code`.
        severity: `severity_id`, 1 to 5.
        time_ms: when it happened, Unix ms; `time`.
        data: canonical JSON, one line.
    """

    log: str
    index: int
    uid: str
    kind: str
    severity: int
    time_ms: int
    data: bytes


class HourTally(msgspec.Struct, frozen=True):
    """A manifest of one hour of one log while it grows.

    Args:
        log: origin.
        hour_ms: begin of the hour, Unix ms; hours are those of the events' `time_ms`.
        count: events so far.
        first_index, last_index: of their leaves.
        uid_hashes, event_hashes: frontiers of two Merkle trees, over uids and over contents.
    """

    log: str
    hour_ms: int
    count: int = 0
    first_index: int = 0
    last_index: int = 0
    uid_hashes: tuple[bytes, ...] = ()
    event_hashes: tuple[bytes, ...] = ()
