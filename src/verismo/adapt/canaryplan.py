"""How long each rung of a rollout is likely to take, before it is begun.

The rule itself is run over the traffic that a route has, as if the candidate were like the
baseline and each minute like the mean of all: what comes out is what to expect of a good candidate
under steady traffic. A worse candidate takes longer, or does not arrive.
"""

from typing import Final

import msgspec

from verismo.adapt import canary
from verismo.adapt.canaryobservation import CanaryObservation
from verismo.adapt.canarysettings import PPM, CanarySettings
from verismo.adapt.canarystate import start
from verismo.model.decision import Subject
from verismo.model.ids import DeploymentId
from verismo.model.units import Milliseconds, UsdMicros
from verismo.model.window import Arm, Window, from_counts

LOOKS_MAX: Final = 10_080
"""A week of looks, one a minute; a route that needs longer gets no answer."""


class Rung(msgspec.Struct, frozen=True):
    """One rung.

    Args:
        weight_ppm: the candidate's share.
        looks: how many it takes; None where the traffic is too little to leave it.
        requests: of the candidate by then.
    """

    weight_ppm: int
    looks: int | None
    requests: int


def plan(traffic: Window, span_ms: int, look_ms: int, settings: CanarySettings) -> tuple[Rung, ...]:
    """Return what each rung of the ladder takes, but for the last, which is the end.

    Args:
        traffic: what the route had, all of its deployments together.
        span_ms: over how long.
        look_ms: between two looks.
        settings: of the rollout.
    """
    subject = Subject(traffic.tenant, traffic.operation, "baseline", "candidate")
    state = start(subject, settings, 0)
    streams = {arm: _Stream(traffic) for arm in ("baseline", "candidate")}
    rungs: list[Rung] = []
    looks = requests = 0
    for number in range(1, LOOKS_MAX + 1):
        shown = {
            arm: stream.window(_share(arm, state.weight_ppm) * look_ms / span_ms)
            for arm, stream in streams.items()
        }
        observation = CanaryObservation(
            _of(shown["baseline"], "baseline", number, look_ms),
            _of(shown["candidate"], "candidate", number, look_ms),
        )
        decision = canary.decide(state, observation, settings, number * look_ms)
        looks, requests = looks + 1, requests + shown["candidate"].requests
        if decision.verdict == "PROMOTE":
            rungs.append(Rung(state.weight_ppm, looks, requests))
            looks = requests = 0
        if decision.verdict == "HOLD":
            break
        state = decision.state
        if state.ended:
            return tuple(rungs)
    # What was not left, and what was not reached.
    left = len(rungs)
    return (*rungs, *(Rung(one, None, 0) for one in settings.ladder_ppm[left:-1]))


def _share(arm: str, weight_ppm: int) -> float:
    return (weight_ppm if arm == "candidate" else PPM - weight_ppm) / PPM


def _of(window: Window, arm: Arm, number: int, look_ms: int) -> Window:
    return msgspec.structs.replace(
        window,
        arm=arm,
        deployment=DeploymentId(arm),
        start_ms=Milliseconds((number - 1) * look_ms),
        end_ms=Milliseconds(number * look_ms),
    )


class _Stream:
    """Hands out a share of the traffic, look by look; what is less than one request is carried."""

    def __init__(self, traffic: Window) -> None:
        self._traffic = traffic
        self._owed: dict[int, float] = {}
        self._errors_owed = 0.0

    def window(self, share: float) -> Window:
        """Return a share of the traffic as a window."""
        traffic = self._traffic
        counts: dict[int, int] = {}
        for bucket, count in zip(traffic.latency.buckets, traffic.latency.counts, strict=True):
            owed = self._owed.get(bucket, _phase(bucket)) + count * share
            counts[bucket] = int(owed)
            self._owed[bucket] = owed - counts[bucket]
        self._errors_owed += traffic.errors * share
        errors = int(self._errors_owed)
        self._errors_owed -= errors
        latency = from_counts(counts)
        requests = latency.total + errors
        # Mean and spread of costs stay as they were; rounded up, so that the sums keep together.
        cost = traffic.cost_usd_micros * requests // max(traffic.requests, 1)
        squares = -(-traffic.cost_squares * requests // max(traffic.requests, 1))
        return msgspec.structs.replace(
            traffic,
            requests=requests,
            errors=errors,
            cost_usd_micros=UsdMicros(cost),
            cost_squares=squares,
            latency=latency,
            refused=0,
            unpriced=0,
        )


def _phase(bucket: int) -> float:
    """Spread over the looks when buckets first give a request, instead of all at once."""
    return bucket * 0.618034 % 1.0
