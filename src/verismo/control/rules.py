"""Every rule that decisions are made by, under the name that records give it.

`verismo audit` computes each decision again by the rule that its record names, so a rule stays here
for as long as there are records of it.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeVar, cast

import msgspec

from verismo.adapt import (
    budget,
    budgetact,
    budgetclock,
    budgetlimit,
    canary,
    canaryevent,
    override,
    scaling,
)
from verismo.adapt.canaryobservation import CanaryObservation
from verismo.adapt.canarysettings import CanarySettings
from verismo.adapt.canarystate import CanaryState
from verismo.adapt.demand import ScalingObservation
from verismo.adapt.scalingsettings import ScalingSettings
from verismo.control.looks import Rule
from verismo.model.act import Act
from verismo.model.decision import Decision
from verismo.model.units import Milliseconds

State = TypeVar("State", bound=msgspec.Struct)
Observation = TypeVar("Observation")
Settings = TypeVar("Settings", bound=msgspec.Struct)

AnyRule = Rule[msgspec.Struct, object, msgspec.Struct]
"""A rule whose types only the recorded bytes know."""


def _told_ms(
    decide: Callable[[State, Observation, Settings, Milliseconds], Decision[State]],
) -> Callable[[State, Observation, Settings, int], Decision[State]]:
    """Let a rule that takes the time as `Milliseconds` have it as records do."""

    def decided(
        state: State, observation: Observation, settings: Settings, now_ms: int
    ) -> Decision[State]:
        return decide(state, observation, settings, Milliseconds(now_ms))

    return decided


CANARY: Final = Rule(
    "canary", canary.VERSION, CanaryState, CanaryObservation, CanarySettings, canary.decide
)
CANARY_ACT: Final = Rule(
    "canary-act", override.VERSION, CanaryState, Act, CanarySettings, override.decide
)
CANARY_EVENT: Final = Rule(
    "canary-event",
    canaryevent.VERSION,
    CanaryState,
    canaryevent.CanaryEvent,
    CanarySettings,
    canaryevent.decide,
)
BUDGET: Final = Rule(
    "budget",
    budget.VERSION,
    budget.BudgetState,
    budget.BudgetObservation,
    budget.BudgetSettings,
    _told_ms(budget.decide),
)
BUDGET_LIMIT: Final = Rule(
    "budget-limit",
    budgetlimit.VERSION,
    budgetlimit.LimitState,
    budgetlimit.LimitObservation,
    budgetlimit.LimitSettings,
    _told_ms(budgetlimit.decide),
)
BUDGET_ACT: Final = Rule(
    "budget-act",
    budgetact.VERSION,
    budgetact.HandState,
    budgetact.HandObservation,
    budgetact.HandSettings,
    _told_ms(budgetact.decide),
)
BUDGET_CLOCK: Final = Rule(
    "budget-clock",
    budgetclock.VERSION,
    budget.BudgetState,
    budgetclock.BudgetClock,
    budget.BudgetSettings,
    _told_ms(budgetclock.decide),
)
SCALING: Final = Rule(
    "scaling",
    scaling.VERSION,
    scaling.ScalingState,
    ScalingObservation,
    ScalingSettings,
    _told_ms(scaling.decide),
)


def _any(rule: Rule[State, Observation, Settings]) -> AnyRule:
    # What a rule is given is decoded to its own types first, so it never meets another's.
    return cast("AnyRule", rule)


RULES: Final[Mapping[str, AnyRule]] = MappingProxyType(
    {
        rule.name: rule
        for rule in (
            _any(CANARY),
            _any(CANARY_ACT),
            _any(CANARY_EVENT),
            _any(BUDGET),
            _any(BUDGET_LIMIT),
            _any(BUDGET_ACT),
            _any(BUDGET_CLOCK),
            _any(SCALING),
        )
    }
)
