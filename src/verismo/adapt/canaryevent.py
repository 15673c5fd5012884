"""What befalls a rollout besides its windows: the clock is set back under it.

Pure, like the rule that it stands beside (`canary`), and recorded, signed and computed again like
it. It is a rule of its own, so that whatever was decided before comes out the same.

A clock that was ahead leaves times in the state that have not come yet, and `canary` decides
nothing before they have. So all of them go back by as much as the clock did: what was counted of
the bake and of a silence stays counted. The evidence stays: it is of requests, whatever the clock
said.
"""

from typing import Final, Literal

import msgspec

from verismo.adapt.canary import metrics_of
from verismo.adapt.canarysettings import CanarySettings, check_settings
from verismo.adapt.canarystate import CanaryState, rewind
from verismo.model.decision import Action, Decision, Subject, digest_of
from verismo.model.units import Milliseconds

VERSION: Final = 1


class CanaryEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What befell a rollout.

    Args:
        kind: what; `clock_stepped`: the last decision was made later than it is now.
    """

    kind: Literal["clock_stepped"]


def decide(
    state: CanaryState, event: CanaryEvent, settings: CanarySettings, now_ms: int
) -> Decision[CanaryState]:
    """Say what becomes of a rollout.

    Args:
        state: of the newest decision about it.
        event: what befell it.
        settings: of the rollout.
        now_ms: Unix ms.

    Raises:
        SettingsRefused: the settings do not fit together; it says what to write.
    """
    check_settings(settings)
    after = msgspec.structs.replace(rewind(state, now_ms), decided_ms=Milliseconds(now_ms))
    return Decision(
        controller="canary",
        version=VERSION,
        subject=Subject(state.tenant, state.operation, state.baseline, state.candidate),
        verdict="NODATA",
        action=Action("weight_ppm", state.weight_ppm, after.weight_ppm),
        reasons=(event.kind,),
        inputs=digest_of(event),
        settings=digest_of(settings),
        at_ms=after.decided_ms,
        metrics=metrics_of(after, settings),
        state=after,
    )
