"""What becomes of a throttled route whose clock is set back.

Pure, recorded and computed again like the rule that it stands beside (`budget`). A clock that was
ahead leaves times in the state that have not come yet: `budget` would judge nothing before they
have, and a throttle would last until then. So all of them go back by as much as the clock did, and
what is left of a cooldown, or of the hours with the static cap, is what was left before.
"""

from typing import Final

import msgspec

from verismo.adapt.budget import BIN_MS, BudgetSettings, BudgetState, check_budget_settings
from verismo.model.decision import Action, Decision, Subject, digest_of
from verismo.model.units import Milliseconds

VERSION: Final = 1


class BudgetClock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """That the last decision about a route was made later than it is now.

    Args:
        subject: tenant and operation.
    """

    subject: Subject


def decide(
    state: BudgetState, observation: BudgetClock, settings: BudgetSettings, now_ms: Milliseconds
) -> Decision[BudgetState]:
    """Take a route's times back; whether it is throttled stays as it is.

    Args:
        state: of the last decision.
        observation: whose.
        settings: checked by `check_budget_settings`.
        now_ms: Unix ms.

    Returns:
        NODATA.

    Raises:
        SettingsRefused: the settings make no sense.
    """
    check_budget_settings(settings)
    return Decision(
        controller="budget",
        version=VERSION,
        subject=observation.subject,
        verdict="NODATA",
        action=Action("admit_ppm", state.admit_ppm, state.admit_ppm),
        reasons=("clock_stepped",),
        inputs=digest_of(observation),
        settings=digest_of(settings),
        at_ms=now_ms,
        metrics=(),
        state=_rewound(state, now_ms // BIN_MS * BIN_MS),
    )


def _rewound(state: BudgetState, ended_ms: int) -> BudgetState:
    """Return a state that was judged at the end of the last bin, and not after it."""
    by_ms = state.judged_ms - ended_ms
    if by_ms <= 0:
        return state

    def back(time_ms: int) -> Milliseconds:
        # 0 says that there is no such time.
        return Milliseconds(max(1, time_ms - by_ms) if time_ms else 0)

    return msgspec.structs.replace(
        state,
        judged_ms=back(state.judged_ms),
        over_ms=back(state.over_ms),
        breach_ms=back(state.breach_ms),
        clean_ms=back(state.clean_ms),
        breaches=tuple(back(one) for one in state.breaches),
        toggles=tuple(back(one) for one in state.toggles),
        static_until_ms=back(state.static_until_ms),
    )
