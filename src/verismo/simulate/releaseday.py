"""A simulated release day: what a rollout would have been shown, from public traces of traffic.

Nobody sent these requests and no gateway served them. How many come in each ten minutes is one
client of a public trace of a production service; how long prompts and answers are is another. Speed
and prices are assumed, here and in the file. The canary's own decisions set the split, so that the
day goes as the rollout goes; every file says `simulated`.
"""

import csv
import gzip
import math
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

import msgspec

from verismo.adapt import canary
from verismo.adapt.canaryfile import VERSION, CanaryFile, FileLook, file_look
from verismo.adapt.canaryobservation import CanaryObservation
from verismo.adapt.canarysettings import PPM, CanarySettings
from verismo.adapt.canarystate import start
from verismo.model.decision import Subject
from verismo.model.errors import OperatorError
from verismo.model.ids import DeploymentId, OperationId, TenantId
from verismo.model.units import Milliseconds, UsdMicros
from verismo.model.window import Arm, Tally, Window

CONVERSATIONS: Final = "azure-llm-2023/conv_first_half.csv.gz"
RATES: Final = "servegen/rates_10min.csv.gz"
MODEL, CLIENT = "m-mid", "67"
"""A client of medium size whose load rises and falls with the day."""
STEP_MS: Final = 600_000
LOOK_MS: Final = 60_000
DAY_LOOKS: Final = 1_440
FIXED_US, PROMPT_US, ANSWER_US = 50_000, 120, 18_000
"""Assumed: time of an answer, of each token of its prompt, of each token of its own."""
PROMPT_NANO_USD, ANSWER_NANO_USD = 3_000, 15_000
"""Assumed prices: 3 and 15 US dollars for a million tokens."""
SUBJECT: Final = Subject("SIMULATED", "release.day", "baseline", "candidate")


class Trace(msgspec.Struct, frozen=True):
    """What a day is made of.

    Args:
        rates_per_s: mean requests a second, for each ten minutes of the day.
        tokens: of prompt and answer, request by request.
    """

    rates_per_s: tuple[float, ...]
    tokens: tuple[tuple[int, int], ...]


class DaySettings(msgspec.Struct, frozen=True):
    """What happens on the day.

    Args:
        seed: of all draws.
        begin_hour: when the rollout begins, 0 to 23.
        slower: factor on the candidate's latencies.
        failing_ppm: share of the candidate's requests that fail; of the baseline's 0.1 % do.
        dearer: factor on the candidate's costs.
        score: by what it is judged.
    """

    seed: int = 1
    begin_hour: int = 9
    slower: float = 1.0
    failing_ppm: int = 1_000
    dearer: float = 1.0
    score: CanarySettings = CanarySettings()


def read_trace(folder: Path) -> Trace:
    """Read the traces of a day.

    Args:
        folder: with the files CONVERSATIONS and RATES.

    Raises:
        OperatorError: they are not there, or are something else.
    """
    try:
        tokens = tuple(
            (int(row["ContextTokens"]), int(row["GeneratedTokens"]))
            for row in _rows(folder / CONVERSATIONS)
        )
        rates = tuple(
            float(row["rate_rps"])
            for row in _rows(folder / RATES)
            if (row["model"], row["client"]) == (MODEL, CLIENT)
        )[: 24 * 6]
    except (OSError, EOFError, KeyError, ValueError, csv.Error) as error:
        raise _no_trace(folder, str(error) or type(error).__name__) from error
    if not tokens or len(rates) < 24 * 6 or not all(0 <= one < 1e4 for one in rates):
        raise _no_trace(folder, "it holds no day of this client")
    return Trace(rates, tokens)


def release_day(trace: Trace, settings: DaySettings) -> CanaryFile:
    """Simulate a rollout from its begin until it ends, or the day does.

    Args:
        trace: traffic of a day.
        settings: what happens on it.
    """
    random = Random(settings.seed)
    first = settings.begin_hour * 60
    state = start(SUBJECT, settings.score, first * LOOK_MS)
    looks: list[FileLook] = []
    level = 0.0
    for number in range(first, DAY_LOOKS):
        level = 0.9 * level + random.gauss(0, 0.15 * math.sqrt(1 - 0.81))
        rate = trace.rates_per_s[number * LOOK_MS // STEP_MS]
        drawn = _Minute(trace, settings, random, math.exp(level))
        shown = drawn.shown(_poisson(random, rate * LOOK_MS / 1_000), state.weight_ppm, number)
        decision = canary.decide(state, shown, settings.score, (number + 1) * LOOK_MS)
        looks.append(file_look(state, shown, decision))
        state = decision.state
        if state.ended:
            break
    return CanaryFile(
        v=VERSION,
        origin="simulated",
        note=_note(settings),
        subject=SUBJECT,
        score=settings.score,
        started_ms=Milliseconds(first * LOOK_MS),
        decisions=tuple(looks),
        verdict=looks[-1].verdict,
        reasons=looks[-1].reasons,
    )


class _Minute:
    """Draws the requests of one minute."""

    def __init__(self, trace: Trace, settings: DaySettings, random: Random, level: float) -> None:
        self._trace = trace
        self._settings = settings
        self._random = random
        self._level = level

    def shown(self, requests: int, weight_ppm: int, number: int) -> CanaryObservation:
        """Return both windows."""
        theirs = sum(self._random.random() * PPM < weight_ppm for _ in range(requests))
        asked = self._settings
        return CanaryObservation(
            self._arm("baseline", requests - theirs, number, DaySettings(asked.seed)),
            self._arm("candidate", theirs, number, asked),
        )

    def _arm(self, arm: Arm, requests: int, number: int, asked: DaySettings) -> Window:
        tally, errors, cost, squares = Tally(), 0, 0, 0
        for _ in range(requests):
            prompt, answer = self._random.choice(self._trace.tokens)
            nano_usd = prompt * PROMPT_NANO_USD + answer * ANSWER_NANO_USD
            one = round(nano_usd * asked.dearer / 1_000)
            cost += one
            squares += one * one
            if self._random.random() * PPM < asked.failing_ppm:
                errors += 1
                continue
            taken_us = FIXED_US + prompt * PROMPT_US + answer * ANSWER_US
            factor = self._level * asked.slower * self._random.lognormvariate(0, 0.2)
            tally.add(round(taken_us * factor))
        return Window(
            *(TenantId(SUBJECT.tenant), OperationId(SUBJECT.operation), arm, DeploymentId(arm)),
            start_ms=Milliseconds(number * LOOK_MS),
            end_ms=Milliseconds((number + 1) * LOOK_MS),
            requests=requests,
            errors=errors,
            cost_usd_micros=UsdMicros(cost),
            cost_squares=squares,
            latency=tally.histogram(),
        )


def _poisson(random: Random, mean: float) -> int:
    """Draw a number of arrivals; a normal draw is near enough where there are many."""
    if mean > 500:
        return max(0, round(random.gauss(mean, math.sqrt(mean))))
    count, left = 0, random.expovariate(1.0)
    while left < mean:
        count += 1
        left += random.expovariate(1.0)
    return count


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines)


def _note(settings: DaySettings) -> str:
    return (
        f"SIMULATED, no gateway served it: requests a second of client {CLIENT} of {MODEL} in "
        f"ServeGen (arXiv 2505.09999), tokens of Azure's conversations of 2023; assumed "
        f"{ANSWER_US // 1_000} ms for each token of an answer and 3 and 15 dollars for a million "
        f"tokens; candidate {settings.slower:g} times as slow, {settings.failing_ppm / 10_000:g} % "
        f"failing, {settings.dearer:g} times as dear; seed {settings.seed}"
    )


def _no_trace(folder: Path, why: str) -> OperatorError:
    return OperatorError(
        f"{folder} has not the traces of a day: {why}",
        next_step=f"Put {CONVERSATIONS} and {RATES} there; docs/adapt-canary.md says where from.",
    )
