"""A recorded rollout as a file that can be replayed without its gateway."""

from typing import Final, TypeVar

import msgspec

from verismo.adapt.canaryevent import LACKED, CanaryEvent
from verismo.adapt.canaryfile import VERSION, CanaryFile, FileLook, file_look
from verismo.adapt.canaryobservation import CanaryObservation
from verismo.adapt.canarysettings import CanarySettings
from verismo.adapt.canarystate import CanaryState
from verismo.attest.controlrecord import ControlRecord, RecordRefused, read_record
from verismo.control.pins import ARMS
from verismo.control.rollouts import RULES
from verismo.model import canonical
from verismo.model.decision import Decision, Subject, decode_decision, digest_of
from verismo.model.errors import NotFound, StateError
from verismo.model.window import Arm
from verismo.ports.decisions import DecisionReader

ROWS: Final = 1_000
_ARMS: Final[tuple[tuple[Arm, ...], ...]] = (ARMS[:1], ARMS[1:], ARMS)
_EXCHANGES: Final = frozenset(digest_of(CanaryEvent("deployment_changed", one)) for one in _ARMS)
_LACKED: Final = digest_of(CanaryEvent(LACKED))
"""What records of these events name as their observation."""

Kept = TypeVar("Kept", bound=msgspec.Struct)


class _Begun(msgspec.Struct, frozen=True):
    """Where evidence last began, at a start or an exchange, and until what the looks go on."""

    record: ControlRecord
    looks: tuple[ControlRecord, ...] = ()
    until: str = ""


def rollout_file(reader: DecisionReader, subject: Subject) -> CanaryFile:
    """Return a rollout from where its evidence began until no look changed it, or until now.

    It begins with the last start, or since another deployment stands behind one of its names. What
    a person did ends it, and a clock that was set back. That the configuration did not know it for
    a while is passed over: it changed nothing of it.

    Args:
        reader: of the records.
        subject: route and both deployments.

    Raises:
        NotFound: there is no rollout of it that was looked at.
        StateError: a record or its bytes cannot be read, or were forgotten.
    """
    begun = _last_start(reader, subject)
    if begun is None or not begun.looks:
        raise NotFound("there is no such rollout that was looked at")
    settings = _kept(reader, begun.record.settings, CanarySettings)
    state = _decision(reader, begun.record).state
    looks = tuple(_look(reader, one) for one in begun.looks)
    until = begun.until or "until now"
    return CanaryFile(
        v=VERSION,
        origin="gateway",
        note=f"records {begun.record.n} to {begun.looks[-1].n} of {begun.record.iss}, {until}",
        subject=subject,
        score=settings,
        started_ms=state.decided_ms,
        decisions=looks,
        verdict=looks[-1].verdict,
        reasons=looks[-1].reasons,
        state=state if begun.record.rule == "canary-event" else msgspec.UNSET,
    )


def _last_start(reader: DecisionReader, subject: Subject) -> _Begun | None:
    wanted = canonical.encode(subject).decode("utf-8")
    begun, after = None, 0
    while rows := reader.rows(after, ROWS):
        for row in rows:
            if row.rule in RULES and row.subject == wanted:
                begun = _after(begun, _record(row.statement, row.n))
        after = rows[-1].n
    return begun


def _after(begun: _Begun | None, record: ControlRecord) -> _Begun | None:
    """Return what is known after one more record."""
    if record.rule == "canary-act":
        # Only a start has nothing that it overrides.
        if not record.of:
            return _Begun(record)
        return _over(begun, "until a person acted on it")
    if record.rule == "canary-event":
        if record.inputs == _LACKED and not _went_back(begun, record):
            return begun
        if record.inputs in _EXCHANGES:
            return _Begun(record)
        return _over(begun, "until its clock was set back")
    if begun is None or begun.until:
        return begun
    return msgspec.structs.replace(begun, looks=(*begun.looks, record))


def _went_back(begun: _Begun | None, record: ControlRecord) -> bool:
    """Say whether the clock did, so that an event took the times of the state back with it."""
    return begun is not None and record.iat < (begun.looks[-1:] or (begun.record,))[0].iat


def _over(begun: _Begun | None, until: str) -> _Begun | None:
    if begun is None or begun.until:
        return begun
    return msgspec.structs.replace(begun, until=until)


def _look(reader: DecisionReader, record: ControlRecord) -> FileLook:
    before = _kept(reader, record.before, CanaryState)
    shown = _kept(reader, record.inputs, CanaryObservation)
    return file_look(before, shown, _decision(reader, record))


def _decision(reader: DecisionReader, record: ControlRecord) -> Decision[CanaryState]:
    try:
        return decode_decision(_bytes(reader, record.decision), Decision[CanaryState])
    except canonical.NotCanonical as error:
        raise _unreadable(f"the decision of record {record.n}: {error}") from error


def _kept(reader: DecisionReader, digest: str, kind: type[Kept]) -> Kept:
    try:
        return canonical.decode(_bytes(reader, digest), kind)
    except canonical.NotCanonical as error:
        raise _unreadable(f"the bytes under {digest}: {error}") from error


def _bytes(reader: DecisionReader, digest: str) -> bytes:
    kept = reader.blob(digest)
    if kept is None or canonical.digest(kept) != digest:
        raise _unreadable(f"the bytes under {digest} are missing, forgotten or altered")
    return kept


def _unreadable(what: str) -> StateError:
    return StateError(
        f"the rollout cannot be read: {what}", next_step="`verismo audit` says what is wrong."
    )


def _record(statement: bytes, n: int) -> ControlRecord:
    try:
        return read_record(statement)
    except RecordRefused as error:
        raise _unreadable(f"record {n}: {error}") from error
