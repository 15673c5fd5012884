"""Compares two gateways from outside, by the metrics that both publish, or a Prometheus server has.

Who splits the traffic is somebody else; nothing is changed here. The first window is the reference:
it says where the baseline's p95 lies and which margins the buckets allow there. Then one window
after another is judged by the canary's rule, until it answers or the windows are over. What the
metrics do not tell is no data, and no data is HOLD. A few windows that the baseline loses, or both
arms alike, or that are thin, are made up for by as many more at the end. One that the candidate
loses is not: a process that fails and starts anew loses just the window that tells of it.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from verismo.adapt.bucketgrid import (
    GridTooCoarse,
    Margins,
    Reference,
    Wanted,
    edges_of_bounds,
    margins_on,
    reference_of,
)
from verismo.adapt.canaryfile import (
    FINAL,
    VERSION,
    CanaryFile,
    FileLook,
    Outcome,
    conclude,
    decide_outside,
    file_look,
)
from verismo.adapt.canaryobservation import CanaryObservation
from verismo.adapt.canarysettings import CanarySettings
from verismo.adapt.canarystate import P95_PPM, P99_PPM, CanaryState, edges_of, start
from verismo.control.federation import Federated, read_federated
from verismo.control.metricsaddress import shown_address
from verismo.control.metricstext import TextRefused
from verismo.control.scrapes import (
    Growth,
    Meters,
    Reading,
    SourceLies,
    grown,
    is_one_source,
    read_metrics,
    window_of,
    without_costs,
)
from verismo.model.decision import Subject
from verismo.model.units import Milliseconds
from verismo.ports.scrape import MetricsReader, ScrapeFailed

ARMS: Final = ("baseline", "candidate")
SHARED: Final = "arms_overlap: a target belongs to both arms, so their selectors do not part them"
ONE_SOURCE: Final = "arms_overlap: both addresses lead to one gateway, whose counters are on both"
PARTS: Final = 6
"""Scrapes of a window; from how their means differ the spread of costs is estimated."""
LATE_MS_MAX: Final = 10_000
"""How late a page may be read; where earlier ones took longer it is left out, not made up for."""
LATE: Final = "late: earlier pages took so long that this one was not read"
SPARE: Final = 5
"""One more window for so many of them at most makes up for lost ones and for thin ones."""
SPARE_MIN: Final = 2
"""How many there are at least: a read that fails between two windows spoils both."""
SUBJECT: Final = Subject("", "outside", "baseline", "candidate")


class Comparison(msgspec.Struct, frozen=True):
    """What is compared.

    Args:
        baseline: URL of the metrics of the gateway that serves now.
        candidate: URL of the one that may take over.
        windows: how many are judged, after the reference, unless there is an answer before.
        window_ms: how long each is; at least `PARTS` milliseconds.
        meters: which metrics are read.
        score: weights and margins that are asked for.
        federated: how to take pages that a Prometheus server makes of what it has; None where the
            gateways themselves publish them.
    """

    baseline: str
    candidate: str
    windows: int
    window_ms: int
    meters: Meters
    score: CanarySettings
    federated: Federated | None = None

    @property
    def spare(self) -> int:
        """How many windows more there may be, in place of lost ones and of thin ones."""
        return max(SPARE_MIN, self.windows // SPARE)


class Clock(msgspec.Struct, frozen=True):
    """The time, and how to wait for it.

    Args:
        now_ms: returns Unix ms.
        until: waits until a time, Unix ms; returns at once if it is over.
    """

    now_ms: Callable[[], int]
    until: Callable[[int], Awaitable[None]]


class Telling(msgspec.Struct, frozen=True):
    """Who is told how a comparison goes on.

    Args:
        look: is given each look as it is made.
        fault: is given why an arm cannot be read when the comparison begins.
    """

    look: Callable[[FileLook], None]
    fault: Callable[[str], None]


class _Part(msgspec.Struct, frozen=True):
    """Both arms' growth in one window, or why there is none; a spare one may be made up for."""

    baseline: tuple[Growth, ...] = ()
    candidate: tuple[Growth, ...] = ()
    fault: str = ""
    is_spare: bool = False


_Pages = tuple[Reading | str, Reading | str]
"""What each arm counts, or why it cannot be told."""


class _Base(msgspec.Struct, frozen=True):
    """What the reference window has set."""

    settings: CanarySettings
    reference: Reference | None
    note: str


class OutsideWatch:
    """One comparison from its first scrape to its answer.

    Args:
        asked: what is compared.
        metrics: reads the two URLs.
        clock: the time.
        telling: who is told.
    """

    def __init__(
        self,
        asked: Comparison,
        metrics: MetricsReader,
        clock: Clock,
        telling: Telling,
    ) -> None:
        self._asked = asked
        self._metrics = metrics
        self._clock = clock
        self._telling = telling
        self._looks: list[FileLook] = []
        self._last: _Pages = ("", "")
        self._told: Reading | str = ""
        self._step = -1

    async def run(self) -> CanaryFile:
        """Compare until there is an answer."""
        began_ms = self._clock.now_ms()
        self._last = await self._read_both()
        self._told = self._last[1]
        for name, found in zip(ARMS, self._last, strict=True):
            if isinstance(found, str):
                # It may come later; a wrong key or address would cost a whole window.
                self._telling.fault(f"{name}: {found}")
        part = await self._window(began_ms)
        try:
            base = self._settle(part)
        except (SourceLies, GridTooCoarse) as error:
            failed = Outcome("HOLD", ("insufficient_data", str(error)))
            return self._file(began_ms, self._asked.score, "", failed)
        outcome = await self._judge(began_ms, part, base)
        return self._file(began_ms, base.settings, base.note, outcome)

    async def _judge(self, began_ms: int, part: _Part, base: _Base) -> Outcome:
        state = start(SUBJECT, base.settings, began_ms)
        since_ms = began_ms
        number = spare = lost = 0
        while number <= self._asked.windows + (0 if lost else min(spare, self._asked.spare)):
            if number:
                part = await self._window(since_ms)
            shown, fault = self._shown(part, since_ms, base)
            now_ms = self._clock.now_ms()
            decision = decide_outside(state, shown, base.settings, now_ms)
            look = file_look(state, shown, decision, fault)
            self._looks.append(look)
            self._telling.look(look)
            state = decision.state
            if decision.verdict in FINAL:
                return Outcome(decision.verdict, decision.reasons)
            if _has_left(state, base.reference):
                return Outcome("HOLD", ("insufficient_data", "latency_left_the_buckets"))
            spare += part.is_spare or decision.reasons[0] == "window_thin"
            lost += bool(fault) and not part.is_spare
            since_ms += self._asked.window_ms
            number += 1
        outcome = conclude(state, base.settings, self._looks[-1])
        why = ("insufficient_data", f"candidate_lost_windows={lost}", *outcome.reasons[1:])
        return Outcome("HOLD", why) if lost else outcome

    async def _window(self, since_ms: int) -> _Part:
        """Scrape both until a window is over."""
        grew: tuple[list[Growth], list[Growth]] = ([], [])
        fault, is_lost = "", False
        readings = [*self._last[:: self._step]]
        for part in range(1, PARTS + 1):
            due_ms = since_ms + self._asked.window_ms * part // PARTS
            await self._clock.until(due_ms)
            is_late = self._clock.now_ms() > due_ms + LATE_MS_MAX
            last, self._last = self._last, (LATE, LATE) if is_late else await self._read_both()
            readings.extend(self._last[:: self._step])
            is_lost = self._is_lost(self._last) or is_lost
            for found, name, before, after in zip(grew, ARMS, last, self._last, strict=True):
                try:
                    found.append(_grown(before, after))
                except SourceLies as error:
                    fault = fault or f"{name}: {error}"
        known = [one for one in readings if not isinstance(one, str)]
        if not fault and is_one_source(known):
            fault, is_lost = ONE_SOURCE, True
        return _Part(tuple(grew[0]), tuple(grew[1]), fault, bool(fault) and not is_lost)

    def _is_lost(self, pages: _Pages) -> bool:
        """Say whether the candidate hides what it did; where neither arm can be read, it does not.

        It does not either if its counters went on once they can be read again.
        """
        ours, theirs = pages
        if isinstance(theirs, str):
            # Pages are late or of shared targets for both arms, whichever of them is to blame.
            return not isinstance(ours, str) or ours in (LATE, SHARED)
        before, self._told = self._told, theirs
        try:
            _grown(before, theirs)
        except SourceLies:
            return True
        return False

    async def _read_both(self) -> _Pages:
        # Now the one first, now the other: whatever is ahead of the other is found to be two.
        self._step = -self._step
        urls = (self._asked.baseline, self._asked.candidate)[:: self._step]
        ours, theirs = [await self._read(one) for one in urls][:: self._step]
        if isinstance(ours, str) or isinstance(theirs, str) or not ours.targets & theirs.targets:
            return ours, theirs
        return SHARED, SHARED

    async def _read(self, url: str) -> Reading | str:
        """Return what a URL counts, or why it cannot be told."""
        federated, meters = self._asked.federated, self._asked.meters
        try:
            text = await self._metrics.read(url)
            if federated is None:
                return read_metrics(text, meters)
            return read_federated(text, meters, federated, self._clock.now_ms())
        except (ScrapeFailed, TextRefused, SourceLies) as error:
            return error.detail if isinstance(error, ScrapeFailed) else str(error)

    def _settle(self, part: _Part) -> _Base:
        """Take the margins that the buckets allow where the baseline's latency lies."""
        if part.fault:
            raise SourceLies(part.fault)
        ours, theirs = part.baseline[0].bounds_us, part.candidate[0].bounds_us
        if ours != theirs:
            raise SourceLies("buckets_differ: the two histograms have different bounds")
        has_latency = bool(self._asked.score.weights.p95_ppm or self._asked.score.weights.p99_ppm)
        bake_ms = (self._asked.windows + self._asked.spare + 2) * self._asked.window_ms
        score = msgspec.structs.replace(
            self._asked.score,
            # Where no latency has to be known before, the rule judges the reference as well.
            windows_min=self._asked.windows + (not has_latency),
            bake_ms_max=max(self._asked.score.bake_ms_max, bake_ms),
        )
        if not has_latency:
            return _Base(score, None, "latency has no weight and is not compared")
        window = window_of(part.baseline, "baseline", 0, 1, has_latency=True)
        p95, p99 = (window.latency.quantile_edge(share) for share in (P95_PPM, P99_PPM))
        if p95 is None or p99 is None:
            raise SourceLies("the baseline answered no request in the first window")
        reference = reference_of(p95, p99)
        edges = edges_of_bounds(ours)
        found = [
            margins_on(edges, ours, reference, wanted)
            for wanted in (
                Wanted(score.p95_tolerance_ppm, score.p95_harm_ppm),
                Wanted(score.p99_tolerance_ppm, score.p99_harm_ppm),
            )
        ]
        settled = msgspec.structs.replace(
            score,
            p95_tolerance_ppm=found[0].tolerance_ppm,
            p95_harm_ppm=found[0].harm_ppm,
            p99_tolerance_ppm=found[1].tolerance_ppm,
            p99_harm_ppm=found[1].harm_ppm,
        )
        return _Base(settled, reference, _note(score, found[0]))

    def _shown(self, part: _Part, since_ms: int, base: _Base) -> tuple[CanaryObservation, str]:
        until_ms = since_ms + self._asked.window_ms
        has_latency = base.reference is not None
        try:
            if part.fault:
                raise SourceLies(part.fault)
            if part.baseline[0].bounds_us != part.candidate[0].bounds_us:
                raise SourceLies("buckets_differ: the two histograms have different bounds")
            ours = window_of(part.baseline, "baseline", since_ms, until_ms, has_latency=has_latency)
            theirs = window_of(
                part.candidate, "candidate", since_ms, until_ms, has_latency=has_latency
            )
        except (SourceLies, GridTooCoarse) as error:
            return CanaryObservation(None, None), str(error)
        if not ours.cost_usd_micros or not theirs.cost_usd_micros:
            # A side whose costs are not told is not cheaper: then no costs are compared.
            ours, theirs = without_costs(ours), without_costs(theirs)
        return CanaryObservation(ours, theirs), ""

    def _file(
        self, began_ms: int, settings: CanarySettings, note: str, outcome: Outcome
    ) -> CanaryFile:
        arms = [shown_address(one) for one in (self._asked.baseline, self._asked.candidate)]
        where = f"scraped from {' and '.join(arms)}"
        if self._asked.federated is not None:
            where = self._asked.federated.note
        return CanaryFile(
            v=VERSION,
            origin="scraped",
            note=f"{where}; {note}" if note else where,
            subject=SUBJECT,
            score=settings,
            started_ms=Milliseconds(began_ms),
            decisions=tuple(self._looks),
            verdict=outcome.verdict,
            reasons=outcome.reasons,
        )


def _grown(before: Reading | str, after: Reading | str) -> Growth:
    if isinstance(before, str):
        raise SourceLies(before)
    if isinstance(after, str):
        raise SourceLies(after)
    return grown(before, after)


def _has_left(state: CanaryState, reference: Reference | None) -> bool:
    edges = edges_of(state)
    if reference is None or edges is None:
        return False
    return edges[0] < reference.first or edges[1] > reference.last


def _note(asked: CanarySettings, found: Margins) -> str:
    return (
        "p95 on the buckets of the metrics: tolerance at least "
        f"{_percent(found.tolerance_least_ppm)} (asked {_percent(asked.p95_tolerance_ppm)}), harm "
        f"at most {_percent(found.harm_most_ppm)} (asked {_percent(asked.p95_harm_ppm)})"
    )


def _percent(share_ppm: int) -> str:
    return f"{share_ppm / 10_000:.1f} %"
