"""What befalls a rollout besides its windows: its clock, its deployments, its configuration.

Pure, like the rule that it stands beside (`canary`), and recorded, signed and computed again like
it. It is a rule of its own, so that whatever was decided before comes out the same.

* `clock_stepped`: a clock that was ahead leaves times in the state that have not come yet, and
  `canary` decides nothing before they have. So all of them go back by as much as the clock did:
  what was counted of the bake and of a silence stays counted. The evidence stays: it is of
  requests, whatever the clock said.
* `deployment_changed`: the evidence is of another candidate, or of another baseline. It begins
  anew, at the first rung at most. Nothing was held on evidence, so no epoch is spent: another
  candidate begins with none spent, as after a start; against another baseline the candidate keeps
  those that it has spent.
* `configuration_lacks_it`: nothing is split any more. Nothing changes but that it is said.
"""

from typing import Final, Literal

import msgspec

from verismo.adapt.canary import metrics_of
from verismo.adapt.canarysettings import CanarySettings, check_settings
from verismo.adapt.canarystate import CanaryState, begin_epoch, rewind, step_to
from verismo.model.decision import Action, Decision, Subject, Verdict, digest_of
from verismo.model.units import Milliseconds
from verismo.model.window import Arm

VERSION: Final = 1
LACKED: Final = "configuration_lacks_it"


class CanaryEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What befell a rollout.

    Args:
        kind: what; `clock_stepped`: the last decision was made later than it is now.
        arms: whose deployment is another one; empty in other events.
    """

    kind: Literal["clock_stepped", "deployment_changed", "configuration_lacks_it"]
    arms: tuple[Arm, ...] = ()


def decide(
    state: CanaryState, event: CanaryEvent, settings: CanarySettings, now_ms: int
) -> Decision[CanaryState]:
    """Say what becomes of a rollout.

    Args:
        state: of the newest decision about it.
        event: what befell it.
        settings: of the rollout from now on.
        now_ms: Unix ms.

    Raises:
        SettingsRefused: the settings do not fit together; it says what to write.
    """
    check_settings(settings)
    told = rewind(state, now_ms)
    verdict: Verdict = "HOLD"
    reasons: tuple[str, ...] = (event.kind,)
    if event.kind == "clock_stepped":
        verdict = "NODATA"
    elif event.kind == "deployment_changed":
        holds = 0 if "candidate" in event.arms else told.holds
        told = _begun_anew(told, holds, settings, now_ms)
        reduced = ("traffic_reduced",) if told.weight_ppm < state.weight_ppm else ()
        reasons = (f"deployment_changed: {' and '.join(event.arms)}", *reduced)
    after = msgspec.structs.replace(told, decided_ms=Milliseconds(now_ms))
    return Decision(
        controller="canary",
        version=VERSION,
        subject=Subject(state.tenant, state.operation, state.baseline, state.candidate),
        verdict=verdict,
        action=Action("weight_ppm", state.weight_ppm, after.weight_ppm),
        reasons=reasons,
        inputs=digest_of(event),
        settings=digest_of(settings),
        at_ms=after.decided_ms,
        metrics=metrics_of(after, settings),
        state=after,
    )


def _begun_anew(
    state: CanaryState, holds: int, settings: CanarySettings, now_ms: int
) -> CanaryState:
    """Forget all evidence and every reference; the candidate gets no more than the first share."""
    anew = begin_epoch(step_to(state, min(state.rung, 0), settings, now_ms))
    return msgspec.structs.replace(anew, holds=holds, edges=(), unit_micros=0)
