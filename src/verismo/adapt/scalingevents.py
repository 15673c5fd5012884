"""Proving from Kubernetes' own events that a target was scaled once in each gap at most.

Read is what `kubectl get events -o json` prints: SuccessfulRescale of HorizontalPodAutoscalers and
ScalingReplicaSet of Deployments. A gap counts as kept only where the log shows it: seconds that are
cut off, events that Kubernetes folded into one with a count, and sizes that do not continue one
another leave it open, which is no proof. Events live for an hour in a cluster by default, and this
proves nothing about the time before the first one.

Source: Kubernetes API, core/v1 Event; kube-controller-manager's messages.
"""

import bisect
import itertools
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

from verismo.model.errors import MalformedRequest

LOG_BYTES_MAX: Final = 64 * 1024 * 1024
"""A cluster with 64 MB of live events is read by namespace."""
EXPLAINED_US_MAX: Final = 30_000_000
"""How long after a rescale its Deployment may be seen to change: a busy cluster takes seconds."""
Kind = Literal[
    "breach",
    "too_coarse",
    "hidden_changes",
    "missing_event",
    "rolling_update",
    "unexplained_change",
]
_AUTOSCALER: Final = "HorizontalPodAutoscaler"
_DEPLOYMENT: Final = "Deployment"
_SECOND_US: Final = 1_000_000
_COMBINED: Final = "(combined from similar events): "

_rescaled = re.compile(r"New size: ([0-9]{1,6}); reason: .*", re.DOTALL).fullmatch
_scaled = re.compile(
    r"Scaled (up|down) replica set (\S{1,253})(?: from ([0-9]{1,6}))? to ([0-9]{1,6})"
    r"(?: from ([0-9]{1,6}))?"
).fullmatch
_moment = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?Z", re.ASCII
).fullmatch


class Scaled(msgspec.Struct, frozen=True):
    """One change of a target's size, as an event tells it.

    Args:
        event: `namespace/name` of the event.
        target: what was scaled: `namespace/kind/name`.
        at_us: Unix microseconds, the earliest that it can have been.
        blur_us: how much later it can have been.
        before: replicas before it; None where the event does not say.
        after: replicas after it.
        hidden: how many more changes are folded into this event.
        replica_set: of a Deployment, which of its replica sets changed.
    """

    event: str
    target: str
    at_us: int
    blur_us: int
    before: int | None
    after: int
    hidden: int = 0
    replica_set: str = ""

    @property
    def place(self) -> str:
        """The target, and its replica set where the event names one."""
        return f"{self.target}/{self.replica_set}" if self.replica_set else self.target


class Finding(msgspec.Struct, frozen=True):
    """Two events that are neighbours and do not prove their gap.

    Args:
        kind: `breach`, or why the log leaves it open.
        first: the earlier one.
        second: the later one; the same one where it hides changes.
        gap_us_max: the longest that can have been between them.
    """

    kind: Kind
    first: Scaled
    second: Scaled
    gap_us_max: int


class GapReport(msgspec.Struct, frozen=True):
    """What a log says of the gap.

    Args:
        verdict: `kept` only if each gap is proven; `breached` if one was surely not kept.
        actions: changes that were read.
        targets: how many targets they are of.
        findings: every pair that does not prove its gap.
    """

    verdict: Literal["kept", "breached", "unproven", "no_actions"]
    actions: int
    targets: int
    findings: tuple[Finding, ...]


class _Involved(msgspec.Struct, frozen=True):
    kind: str
    name: str
    namespace: str = ""


class _Meta(msgspec.Struct, frozen=True):
    name: str
    namespace: str = ""


class _Series(msgspec.Struct, frozen=True, rename="camel"):
    count: int
    last_observed_time: str


class _Event(msgspec.Struct, frozen=True, rename="camel"):
    metadata: _Meta
    involved_object: _Involved
    reason: str = ""
    message: str = ""
    first_timestamp: str | None = None
    last_timestamp: str | None = None
    event_time: str | None = None
    count: int | None = None
    series: _Series | None = None


class _Log(msgspec.Struct, frozen=True):
    kind: Literal["List", "EventList"]
    items: list[_Event]


def read_events(data: bytes) -> tuple[Scaled, ...]:
    """Read the changes of size out of a log; events about other things are passed over.

    Args:
        data: a core/v1 List of events as JSON, 64 MB at most.

    Returns:
        The changes by target and time; what one event folds together as its first and its last.

    Raises:
        MalformedRequest: not such a list, or a scaling event that does not read as one: print the
            log again with `kubectl get events -A -o json`, or report the event that it names.
    """
    if len(data) > LOG_BYTES_MAX:
        raise MalformedRequest(f"the log has over {LOG_BYTES_MAX} bytes; split it by namespace")
    try:
        log = msgspec.json.decode(data, type=_Log)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise MalformedRequest(f"not a list of Kubernetes events: {error}") from error
    found = [change for event in log.items for change in _changes(event)]
    return tuple(sorted(set(found), key=lambda one: (one.target, one.at_us, one.event)))


def verify_gap(changes: Sequence[Scaled], gap_ms: int) -> GapReport:
    """Say whether every two changes of a target are a gap apart.

    Args:
        changes: from `read_events`, in any order.
        gap_ms: over 0.

    Raises:
        ValueError: a gap of 0 or less, which nothing could breach.
    """
    if gap_ms <= 0:
        raise ValueError("a gap of 0 ms or less cannot be breached")
    gap_us = gap_ms * 1_000
    ordered = sorted(changes, key=lambda one: (one.target, one.at_us, one.event))
    findings = [_hidden(one) for one in ordered if one.hidden]
    for first, second in itertools.pairwise(sorted(ordered, key=lambda one: one.place)):
        if first.place == second.place:
            findings.extend(_judge(first, second, gap_us))
    for first, second in itertools.pairwise(ordered):
        if first.target == second.target and first.place != second.place:
            findings.extend(_open("rolling_update", first, second, gap_us))
    findings.extend(_unexplained(ordered, gap_us))
    kinds = {finding.kind for finding in findings}
    verdict: Literal["kept", "breached", "unproven", "no_actions"] = "kept"
    if "breach" in kinds:
        verdict = "breached"
    elif kinds:
        verdict = "unproven"
    elif not ordered:
        verdict = "no_actions"
    targets = len({one.target for one in ordered})
    return GapReport(verdict, sum(1 + one.hidden for one in ordered), targets, tuple(findings))


def _distance_us(first: Scaled, second: Scaled) -> tuple[int, int]:
    """Return the shortest and the longest that can have been between two changes."""
    return (
        second.at_us - first.at_us - first.blur_us,
        second.at_us + second.blur_us - first.at_us,
    )


def _open(kind: Kind, first: Scaled, second: Scaled, gap_us: int) -> list[Finding]:
    """Return what is to be said of two changes that are one target's scalings, or may be none."""
    shortest_us, longest_us = _distance_us(first, second)
    return [Finding(kind, first, second, longest_us)] if shortest_us < gap_us else []


def _unexplained(ordered: Sequence[Scaled], gap_us: int) -> list[Finding]:
    """Return changes of a Deployment near a rescale of its autoscaler that did not make them.

    Args:
        ordered: by target and time.
        gap_us: over 0.
    """
    rescales: dict[str, list[Scaled]] = {}
    for one in ordered:
        if f"/{_AUTOSCALER}/" in one.target:
            name = one.target.replace(f"/{_AUTOSCALER}/", f"/{_DEPLOYMENT}/")
            rescales.setdefault(name, []).append(one)
    findings: list[Finding] = []
    for one in ordered:
        known = rescales.get(one.target, [])
        at = bisect.bisect_right(known, one.at_us, key=lambda rescale: rescale.at_us)
        before, after = known[max(at - 1, 0) : at], known[at : at + 1]
        if any(_explains(rescale, one) for rescale in (*before, *after)):
            continue
        for rescale in before:
            findings.extend(_open("unexplained_change", rescale, one, gap_us))
        for rescale in after:
            findings.extend(_open("unexplained_change", one, rescale, gap_us))
    return findings


def _explains(rescale: Scaled, change: Scaled) -> bool:
    """Say whether a Deployment was changed to the size that its autoscaler had just set."""
    earliest_us, latest_us = _distance_us(rescale, change)
    is_soon = latest_us >= 0 and earliest_us <= EXPLAINED_US_MAX
    return change.after == rescale.after and is_soon


def _judge(first: Scaled, second: Scaled, gap_us: int) -> list[Finding]:
    """Return what speaks against the gap between two changes that follow one another."""
    shortest_us, longest_us = _distance_us(first, second)
    findings = []
    if longest_us < gap_us:
        findings.append(Finding("breach", first, second, longest_us))
    elif shortest_us < gap_us:
        findings.append(Finding("too_coarse", first, second, longest_us))
    # An autoscaler's event has no size before it, but no autoscaler scales to the size that is.
    is_continued = (
        second.after != first.after if second.before is None else (second.before == first.after)
    )
    if not is_continued:
        findings.append(Finding("missing_event", first, second, longest_us))
    return findings


def _hidden(change: Scaled) -> Finding:
    return Finding("hidden_changes", change, change, 0)


def _changes(event: _Event) -> list[Scaled]:
    size = _size(event)
    if size is None:
        return []
    target, replica_set, before, after = size
    count = event.series.count if event.series else 1 if event.count is None else event.count
    name = f"{event.metadata.namespace}/{event.metadata.name}"
    if count < 1:
        raise MalformedRequest(f"event {name} counts {count} changes")
    first_text = event.event_time or event.first_timestamp or event.last_timestamp
    last_text = event.series.last_observed_time if event.series else event.last_timestamp
    first_us, first_blur_us = _time(first_text, name)
    one = Scaled(name, target, first_us, first_blur_us, before, after, 0, replica_set)
    if count == 1:
        return [one]
    last_us, last_blur_us = _time(last_text, name)
    if last_us < first_us:
        raise MalformedRequest(f"event {name} ends before it begins")
    if event.message.startswith(_COMBINED):
        # Only the last message is kept of them.
        return [Scaled(name, target, last_us, last_blur_us, before, after, count - 1, replica_set)]
    last = Scaled(name, target, last_us, last_blur_us, before, after, count - 2, replica_set)
    return [one, last]


def _size(event: _Event) -> tuple[str, str, int | None, int] | None:
    """Return target, replica set, size before and size after; None where it is about none."""
    about = event.involved_object
    message = event.message.removeprefix(_COMBINED)
    place = f"{about.namespace}/{about.kind}/{about.name}"
    if (about.kind, event.reason) == (_AUTOSCALER, "SuccessfulRescale"):
        found = _rescaled(message)
        if found is None:
            raise MalformedRequest(f"event {event.metadata.name}: {message[:200]!r} has no size")
        return place, "", None, int(found[1])
    if (about.kind, event.reason) == (_DEPLOYMENT, "ScalingReplicaSet"):
        found = _scaled(message)
        if found is None:
            raise MalformedRequest(f"event {event.metadata.name}: {message[:200]!r} has no size")
        before = found[3] or found[5]
        _check_direction(event, found[1], before, int(found[4]))
        return place, found[2], int(before) if before else None, int(found[4])
    return None


def _check_direction(event: _Event, way: str, before: str | None, after: int) -> None:
    if before is not None and (after > int(before)) != (way == "up"):
        raise MalformedRequest(f"event {event.metadata.name} does not go {way}")


def _time(text: str | None, name: str) -> tuple[int, int]:
    """Return Unix microseconds and how much later it may have been; whole seconds were cut off."""
    found = _moment(text or "")
    if found is None:
        raise MalformedRequest(f"event {name} has no time in UTC: {text!r}")
    year, month, day, hour, minute, second = (int(found[part]) for part in range(1, 7))
    try:
        at = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise MalformedRequest(f"event {name} has no such time: {text!r}") from error
    whole_us = int(at.timestamp()) * _SECOND_US
    if found[7] is None:
        return whole_us, _SECOND_US - 1
    digits = found[7]
    blur_us = max(0, 10 ** (6 - len(digits)) - 1) if len(digits) < 6 else 0
    return whole_us + int(digits[:6].ljust(6, "0")), blur_us
