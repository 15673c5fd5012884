"""Which deployments a rollout is about: digests of what the configuration says of them.

A name says little: another model may stand behind it after the next start. The digests are settings
of the rollout, and so recorded with each decision.
"""

from typing import Final

import msgspec

from verismo.adapt.canaryevent import CanaryEvent
from verismo.adapt.canarysettings import CanarySettings
from verismo.model import canonical
from verismo.model.decision import Subject
from verismo.model.ids import DeploymentId
from verismo.model.operation import Price, ProviderKind
from verismo.model.plan import Plan
from verismo.model.window import Arm

ARMS: Final[tuple[Arm, Arm]] = ("baseline", "candidate")


class _Pinned(msgspec.Struct, frozen=True):
    """What makes a deployment another one; its deadlines and its credential do not."""

    provider: str
    kind: ProviderKind
    base_url: str
    model: str
    region: str
    price: Price | None


def pinned(settings: CanarySettings, plan: Plan, subject: Subject) -> CanarySettings:
    """Return settings that name what a plan says of a rollout's deployments.

    Args:
        settings: of the rollout.
        plan: it knows them.
        subject: of the rollout.
    """
    return msgspec.structs.replace(
        settings,
        baseline_deployment=_digest(plan, subject.baseline),
        candidate_deployment=_digest(plan, subject.candidate),
    )


def exchange(settings: CanarySettings, plan: Plan, subject: Subject) -> CanaryEvent | None:
    """Say which deployments of a rollout are others than it was begun with; None if none is.

    Args:
        settings: of the rollout; one of an earlier version names no deployments.
        plan: it knows them.
        subject: of the rollout.
    """
    now = pinned(settings, plan, subject)
    pairs = (
        (settings.baseline_deployment, now.baseline_deployment),
        (settings.candidate_deployment, now.candidate_deployment),
    )
    arms = tuple(
        arm
        for arm, (was, is_now) in zip(ARMS, pairs, strict=True)
        if was is not msgspec.UNSET and was != is_now
    )
    return CanaryEvent("deployment_changed", arms) if arms else None


def _digest(plan: Plan, name: str) -> str:
    deployment = plan.deployments[DeploymentId(name)]
    provider = plan.providers[deployment.provider]
    found = _Pinned(
        provider=provider.id,
        kind=provider.kind,
        base_url=provider.base_url,
        model=deployment.model,
        region=deployment.region,
        price=deployment.price,
    )
    return canonical.digest(canonical.encode(found))
