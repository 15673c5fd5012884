"""A decision: what a controller answered, and what it answered from, as canonical JSON.

Every controller is `decide(state, observation, settings, now_ms) -> Decision`. The decision carries
the state that the next one starts from, so that a row of decisions and their observations is all
that is needed to compute each of them again.
"""

from typing import Generic, Literal, TypeVar

import msgspec

from verismo.model import canonical
from verismo.model.units import Milliseconds

Controller = Literal["canary", "budget", "scaling"]
Verdict = Literal[
    "PROMOTE",
    "HOLD",
    "CONTINUE",
    "ROLLBACK",
    "NODATA",
    "THROTTLE",
    "RELEASE",
    "REVERT_STATIC",
    "SCALE_UP",
    "SCALE_DOWN",
    "NOOP",
]
Status = Literal["OK", "WORSE", "NODATA"]

State = TypeVar("State")


class Subject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is decided about; what does not apply is empty.

    Args:
        tenant: of the route.
        operation: of the route.
        baseline: deployment that serves now.
        candidate: deployment that may take over.
        target: what is scaled.
    """

    tenant: str = ""
    operation: str = ""
    baseline: str = ""
    candidate: str = ""
    target: str = ""


class Action(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be done.

    Args:
        kind: what is set, its unit last: `weight_ppm`, `limit_usd_micros`, `replicas`; `none` where
            nothing is.
        before: its value as the controller knows it.
        after: its value to be; equal to `before` if nothing changes.
    """

    kind: str = "none"
    before: int = 0
    after: int = 0


class Metric(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of what was looked at.

    Args:
        name: such as `p95`.
        status: `NODATA` where it could not be told.
        values: by name with its unit last, such as `effect_ppm`; None where there is no value.
    """

    name: str
    status: Status
    values: dict[str, int | None]


class Decision(msgspec.Struct, Generic[State], frozen=True, forbid_unknown_fields=True):
    """What a controller answered.

    Args:
        controller: who.
        version: of its rule; a decision is computed again by the same version only.
        subject: about what.
        verdict: the answer.
        action: what is to be done about it.
        reasons: codes with their numbers, the first one decided.
        inputs: digest of the observation.
        settings: digest of the settings.
        at_ms: Unix ms; the one clock reading that the controller was given.
        metrics: what was looked at.
        state: what the next decision starts from.
    """

    controller: Controller
    version: int
    subject: Subject
    verdict: Verdict
    action: Action
    reasons: tuple[str, ...]
    inputs: str
    settings: str
    at_ms: Milliseconds
    metrics: tuple[Metric, ...]
    state: State


class SettingsRefused(ValueError):
    """A controller does not start with these settings.

    Args:
        cause: what is wrong with which setting.
        next_step: what to write instead.
    """

    def __init__(self, cause: str, next_step: str) -> None:
        super().__init__(f"{cause}. {next_step}")
        self.cause = cause
        self.next_step = next_step


def encode_decision(decision: Decision[State]) -> bytes:
    """Return the canonical JSON of a decision.

    Raises:
        NotCanonical: a number that is no integer below 2**53; a mistake of the controller's.
    """
    return canonical.encode(decision)


def decode_decision(data: bytes, kind: type[Decision[State]]) -> Decision[State]:
    """Read a decision back.

    Args:
        data: from `encode_decision`.
        kind: with its state, such as `Decision[CanaryState]`.

    Raises:
        NotCanonical: not a decision with that state, or not spelled canonically.
    """
    return canonical.decode(data, kind)


def decision_digest(decision: Decision[State]) -> str:
    """Return the hex SHA-256 of a decision's canonical JSON."""
    return canonical.digest(encode_decision(decision))


def digest_of(value: object) -> str:
    """Return the hex SHA-256 of an observation's or of settings' canonical JSON.

    Raises:
        NotCanonical: it holds a float or something else that is not signed.
    """
    return canonical.digest(canonical.encode(value))
