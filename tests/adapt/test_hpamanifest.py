"""The manifest: what Kubernetes documents, no step split, names that cannot break out of YAML."""

import msgspec
import pytest
import yaml

from verismo.adapt.hpamanifest import HpaPlace, hpa_manifest
from verismo.adapt.scalingsettings import ScalingSettings, Steps
from verismo.model.decision import SettingsRefused

SETTINGS = ScalingSettings("deployment/reader", 2, 40, 16, 60_000)
PLACE = HpaPlace("shop", "reader")


def test_the_manifest_has_the_documented_shape():
    found = yaml.safe_load(hpa_manifest(SETTINGS, PLACE))
    assert (found["apiVersion"], found["kind"]) == ("autoscaling/v2", "HorizontalPodAutoscaler")
    spec = found["spec"]
    assert spec["scaleTargetRef"] == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": "reader",
    }
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 40)
    assert spec["metrics"] == [
        {
            "type": "External",
            "external": {
                "metric": {
                    "name": "desired_replicas",
                    "selector": {"matchLabels": {"target": "deployment.reader"}},
                },
                "target": {"type": "AverageValue", "averageValue": "1"},
            },
        }
    ]
    up, down = spec["behavior"]["scaleUp"], spec["behavior"]["scaleDown"]
    assert up["policies"] == [{"type": "Percent", "value": 900, "periodSeconds": 120}]
    assert down["policies"] == [{"type": "Percent", "value": 25, "periodSeconds": 120}]
    assert up["stabilizationWindowSeconds"] == down["stabilizationWindowSeconds"] == 0
    assert "tolerance" not in up


def test_a_cluster_with_the_field_gets_no_tolerance():
    place = msgspec.structs.replace(PLACE, has_tolerance=True)
    behavior = yaml.safe_load(hpa_manifest(SETTINGS, place))["spec"]["behavior"]
    assert behavior["scaleUp"]["tolerance"] == behavior["scaleDown"]["tolerance"] == "0"


def test_steps_that_the_clusters_tolerance_would_swallow_are_refused():
    small = msgspec.structs.replace(SETTINGS, steps=Steps(up_band_ppm=40_000, up_margin_ppm=50_000))
    with pytest.raises(SettingsRefused, match="does not follow"):
        hpa_manifest(small, PLACE)
    hpa_manifest(small, msgspec.structs.replace(PLACE, has_tolerance=True))


@pytest.mark.parametrize(
    "changes",
    [
        {"namespace": "a: b"},
        {"deployment": 'x"\nkind: Secret'},
        {"metric": "m{}"},
        {"namespace": ""},
    ],
)
def test_yaml_injected_by_a_name_is_refused(changes):
    with pytest.raises(SettingsRefused, match="for Kubernetes"):
        hpa_manifest(SETTINGS, msgspec.structs.replace(PLACE, **changes))
