"""One witness as the log sees it: what it has cosigned, what it refused, when to ask again."""

import asyncio
import logging
from typing import Final

import msgspec

from verismo.attest.cosignature import verify_cosignature
from verismo.attest.note import NoteRefused, NoteSignature, VerifierKey, read_signature_lines
from verismo.model.ledger import LogId
from verismo.ports.witness import Cosigned

PAUSE_MS_MIN: Final = 1_000
PAUSE_MS_MAX: Final = 60_000
REASONS: Final = (
    "ahead",
    "bad_answer",
    "conflict",
    "declined",
    "forbidden",
    "rolled_back",
    "split",
    "state",
    "timeout",
    "unavailable",
    "unknown_log",
)
_GRAVE: Final = frozenset({"ahead", "bad_answer", "rolled_back", "split"})
"""Not the weather: one of the two, log or witness, is not what it should be."""

log = logging.getLogger("verismo.witnessing")


class WitnessAddress(msgspec.Struct, frozen=True):
    """A witness that can be asked.

    Args:
        name: as in the policy.
        key: it cosigns with.
        url: its submission prefix.
    """

    name: str
    key: VerifierKey
    url: str


class WitnessStanding(msgspec.Struct, frozen=True):
    """How a witness stands.

    Args:
        name: as in the policy; octets that are not UTF-8 are replaced.
        cosigned_age_ms: since its last cosignature; None if there was none since the start.
        failures: by reason.
    """

    name: str
    cosigned_age_ms: int | None
    failures: dict[str, int]


class PeerRefused(Exception):
    """A witness will not cosign, or answers what cannot be.

    Args:
        reason: one of `REASONS`.
        detail: what happened, for the operator.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def verified(address: WitnessAddress, text: str, answer: Cosigned) -> NoteSignature:
    """Return a witness's own cosignature; those of unknown keys are ignored.

    Args:
        address: of the witness.
        text: the checkpoint's note text.
        answer: what the witness answered.

    Raises:
        PeerRefused: there is none, or it is not of this key over this text.
    """
    key = address.key
    try:
        lines = read_signature_lines(answer.lines)
        own = [one for one in lines if (one.name, one.key_hash) == (key.name, key.key_hash)]
        if not own:
            raise PeerRefused("bad_answer", f"it answered without a cosignature of {key.name}")
        verify_cosignature(key, text, own[0])
    except NoteRefused as error:
        raise PeerRefused("bad_answer", f"it answered what does not verify: {error}") from error
    return own[0]


class Peer:
    """One witness.

    Args:
        address: where and who.
    """

    def __init__(self, address: WitnessAddress) -> None:
        self.address = address
        self.name = address.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        self.task: asyncio.Task[None] | None = None
        self._sizes: dict[LogId, int] = {}
        """What it says it cosigned last; a guess that its 409 puts right."""
        self._cosigned: dict[LogId, int] = {}
        """What it did cosign, as we verified."""
        self._pauses: dict[LogId | None, tuple[int, int]] = {}
        """Until when it is left alone and how long that was, for one log or (None) for all."""
        self._failures = dict.fromkeys(REASONS, 0)
        self._told: dict[LogId | None, str] = {}
        self._cosigned_ms: int | None = None

    def is_idle(self) -> bool:
        """Say whether nothing is under way; raises what an earlier request failed with."""
        if self.task is not None and self.task.done():
            task, self.task = self.task, None
            task.result()
        return self.task is None

    def wants(self, log_id: LogId, size: int, now_ms: int) -> bool:
        """Say whether it should be asked for a size of a log now."""
        if self._cosigned.get(log_id, -1) >= size:
            return False
        return not any(self._is_resting(one, now_ms) for one in (None, log_id))

    def size(self, log_id: LogId) -> int:
        """Return the size that it is thought to know; 0 if nothing is known."""
        return self._sizes.get(log_id, 0)

    def told_size(self, log_id: LogId, size: int, now_ms: int) -> None:
        """Take note of the size that it named in a 409."""
        cosigned = self._cosigned.get(log_id, 0)
        if size < cosigned:
            self._cosigned[log_id] = size
            self._count(
                log_id,
                "rolled_back",
                f"it cosigned size {cosigned} and now knows only {size}: an old copy of its memory "
                "is in use. It is asked to catch up; until then it would take another history. "
                "Tell whoever runs it",
            )
        self._sizes[log_id] = size

    def has_cosigned(self, log_id: LogId, size: int) -> None:
        """Take note of a cosignature that was found."""
        self._sizes[log_id] = max(size, self._sizes.get(log_id, 0))
        self._cosigned[log_id] = max(size, self._cosigned.get(log_id, 0))

    def succeeded(self, log_id: LogId, size: int, now_ms: int) -> None:
        """Take note of a cosignature that it gave now."""
        self.has_cosigned(log_id, size)
        self._cosigned_ms = now_ms
        for one in (None, log_id):
            self._pauses.pop(one, None)
            if self._told.pop(one, ""):
                log.info("a witness cosigns again", extra={"fields": {"witness": self.name}})

    def failed(self, log_id: LogId | None, reason: str, detail: str, now_ms: int) -> None:
        """Count a failure and leave the witness alone for a while, twice as long each time.

        Args:
            log_id: the log that it concerns; None if the witness could not be reached at all.
            reason: one of `REASONS`.
            detail: what happened.
            now_ms: Unix ms.
        """
        _, last_ms = self._pauses.get(log_id, (0, PAUSE_MS_MIN // 2))
        pause_ms = min(2 * last_ms, PAUSE_MS_MAX)
        self._pauses[log_id] = (now_ms + pause_ms, pause_ms)
        self._count(log_id, reason, detail)

    def standing(self, now_ms: int) -> WitnessStanding:
        """Return how it stands."""
        age = None if self._cosigned_ms is None else max(0, now_ms - self._cosigned_ms)
        return WitnessStanding(self.name, age, dict(self._failures))

    def _is_resting(self, log_id: LogId | None, now_ms: int) -> bool:
        until_ms, pause_ms = self._pauses.get(log_id, (0, 0))
        # A clock that stepped back must not prolong a pause.
        return 0 < until_ms - now_ms <= pause_ms

    def _count(self, log_id: LogId | None, reason: str, detail: str) -> None:
        """Count a failure; the log says it once, until it is another one."""
        self._failures[reason] += 1
        if self._told.get(log_id) == reason:
            return
        self._told[log_id] = reason
        fields = {"witness": self.name, "reason": reason, "error": detail}
        level = logging.ERROR if reason in _GRAVE else logging.WARNING
        log.log(level, "a witness did not cosign", extra={"fields": fields})
