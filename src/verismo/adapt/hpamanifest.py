"""The HorizontalPodAutoscaler that follows the guard: autoscaling/v2 on one external metric.

Kubernetes divides the metric by 1 and so asks for the replicas that the guard says. `behavior` is
as wide as the guard's own steps, so that a step is not split into several: an HPA limits pods in a
period, never the number of actions.

Source: Kubernetes API, autoscaling/v2 HorizontalPodAutoscalerSpec; KEP-4951 (tolerance).
"""

import re
from typing import Final

import msgspec

from verismo.adapt.scalingsettings import MILLION, ScalingSettings
from verismo.model.decision import SettingsRefused

UP_PERCENT: Final = 900
PERIOD_S_MAX: Final = 1_800
"""Kubernetes refuses longer periods; a longer gap is the guard's to keep anyway."""
TOLERANCE_PPM: Final = 100_000
"""`--horizontal-pod-autoscaler-tolerance`: what an HPA has that sets none of its own."""

_name = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?").fullmatch
_metric = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,199}").fullmatch
_target = re.compile(r"[A-Za-z0-9._/-]{1,253}").fullmatch


class HpaPlace(msgspec.Struct, frozen=True):
    """Where the autoscaler stands and what it reads.

    Args:
        namespace: of the deployment.
        deployment: what is scaled; the autoscaler has its name too.
        metric: as the cluster's external metrics adapter names the guard's gauge.
        has_tolerance: whether the cluster knows `behavior.*.tolerance` (beta in Kubernetes 1.35).
    """

    namespace: str
    deployment: str
    metric: str = "desired_replicas"
    has_tolerance: bool = False


def hpa_manifest(settings: ScalingSettings, place: HpaPlace) -> str:
    """Return the manifest as YAML.

    Args:
        settings: of the target; its name is the value of the metric's label `target`.
        place: where it stands.

    Raises:
        SettingsRefused: a name that Kubernetes refuses, or steps that the cluster's tolerance of
            10 % would swallow: mend what it names.

    Source: ADR-030.
    """
    settings.check()
    _check_names(settings, place)
    if not place.has_tolerance:
        _check_steps(settings)
    down_percent = -(-settings.steps.down_max_ppm * 100 // MILLION)
    return f"""\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: "{place.deployment}"
  namespace: "{place.namespace}"
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: "{place.deployment}"
  minReplicas: {settings.replicas_min}
  maxReplicas: {settings.replicas_max}
  metrics:
    - type: External
      external:
        metric:
          name: "{place.metric}"
          selector:
            matchLabels:
              target: "{_label(settings.target)}"
        target:
          type: AverageValue
          averageValue: "1"
  behavior:
    scaleUp:
{_rules(UP_PERCENT, settings, place)}
    scaleDown:
{_rules(down_percent, settings, place)}
"""


def _rules(percent: int, settings: ScalingSettings, place: HpaPlace) -> str:
    lines = [
        "stabilizationWindowSeconds: 0",
        "selectPolicy: Max",
        *(['tolerance: "0"'] if place.has_tolerance else []),
        "policies:",
        "  - type: Percent",
        f"    value: {percent}",
        f"    periodSeconds: {min(-(-settings.gap_ms // 1_000), PERIOD_S_MAX)}",
    ]
    return "\n".join(f"      {line}" for line in lines)


def _label(target: str) -> str:
    """A label's value in Kubernetes has no slash."""
    return target.replace("/", ".")


def _check_names(settings: ScalingSettings, place: HpaPlace) -> None:
    for what, value, is_good in (
        ("namespace", place.namespace, _name(place.namespace) and len(place.namespace) <= 63),
        ("deployment", place.deployment, _name(place.deployment)),
        ("metric", place.metric, _metric(place.metric)),
        ("target", settings.target, _target(settings.target) and len(settings.target) <= 63),
    ):
        if not is_good:
            raise SettingsRefused(
                f"scaling of {settings.target!r}: {value!r} is no {what} for Kubernetes",
                "Use lower-case letters, digits, dashes and dots, 63 characters at most.",
            )


def _check_steps(settings: ScalingSettings) -> None:
    steps = settings.steps
    smallest_up = (MILLION + steps.up_band_ppm) * (MILLION + steps.up_margin_ppm) // MILLION
    if smallest_up - MILLION <= TOLERANCE_PPM or steps.down_band_ppm <= TOLERANCE_PPM:
        raise SettingsRefused(
            f"scaling of {settings.target!r}: this cluster's HPA does not follow steps of 10 %",
            "Set steps.up_band_ppm to 60000 and steps.down_band_ppm to 120000 or more, or "
            "say that the cluster has the tolerance field.",
        )
