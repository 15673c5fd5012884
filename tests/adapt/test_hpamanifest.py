"""The manifest: what Kubernetes documents, no step split, names that cannot break out of YAML."""

import jsonschema
import msgspec
import pytest
import yaml

from verismo.adapt.hpamanifest import HpaPlace, hpa_manifest
from verismo.adapt.scalingsettings import ScalingSettings, Steps
from verismo.model.decision import SettingsRefused

SETTINGS = ScalingSettings("deployment/reader", 2, 40, 16, 60_000)
PLACE = HpaPlace("shop", "reader")


def closed(required, **optional):
    """Return the schema of an object that has these fields and no others."""
    properties = {**required, **optional}
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


TEXT = {"type": "string", "minLength": 1}
QUANTITY = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?m?$"}
NAME = {"type": "string", "pattern": r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", "maxLength": 253}
LABEL = {"type": "string", "pattern": r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$"}
POLICY = closed(
    {
        "type": {"enum": ["Pods", "Percent"]},
        "value": {"type": "integer", "minimum": 1},
        "periodSeconds": {"type": "integer", "minimum": 1, "maximum": 1_800},
    }
)
RULES = closed(
    {"policies": {"type": "array", "items": POLICY, "minItems": 1}},
    selectPolicy={"enum": ["Max", "Min", "Disabled"]},
    stabilizationWindowSeconds={"type": "integer", "minimum": 0, "maximum": 3_600},
    tolerance=QUANTITY,
)
EXTERNAL = closed(
    {
        "metric": closed(
            {"name": TEXT},
            selector=closed({"matchLabels": {"type": "object", "additionalProperties": LABEL}}),
        ),
        "target": closed({"type": {"enum": ["Value", "AverageValue"]}, "averageValue": QUANTITY}),
    }
)
MANIFEST = closed(
    {
        "apiVersion": {"const": "autoscaling/v2"},
        "kind": {"const": "HorizontalPodAutoscaler"},
        "metadata": closed({"name": NAME, "namespace": {**NAME, "maxLength": 63}}),
        "spec": closed(
            {
                "scaleTargetRef": closed({"apiVersion": TEXT, "kind": TEXT, "name": NAME}),
                "maxReplicas": {"type": "integer", "minimum": 1},
                "metrics": {
                    "type": "array",
                    "items": closed({"type": {"const": "External"}, "external": EXTERNAL}),
                },
                "behavior": closed({}, scaleUp=RULES, scaleDown=RULES),
                "minReplicas": {"type": "integer", "minimum": 1},
            }
        ),
    }
)
"""What Kubernetes documents for the fields that the manifest has, and its API server's limits."""


@pytest.mark.parametrize("has_tolerance", [False, True])
@pytest.mark.parametrize("gap_ms", [120_000, 121_500, 3_600_000])
@pytest.mark.parametrize("target", ["deployment/reader", "reader", "r" * 63])
def test_the_manifest_fits_the_schema(target, gap_ms, has_tolerance):
    settings = msgspec.structs.replace(SETTINGS, target=target, gap_ms=gap_ms)
    place = msgspec.structs.replace(PLACE, has_tolerance=has_tolerance)
    jsonschema.validate(yaml.safe_load(hpa_manifest(settings, place)), MANIFEST)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("AverageValue", "AverageUtilization"),
        ("averageValue", "averagevalue"),
        ("periodSeconds: 120", "periodSeconds: 3600"),
        ('averageValue: "1"', "averageValue: 1"),
        ("  minReplicas: 2", "  minReplicas: 0"),
    ],
)
def test_a_manifest_that_kubernetes_would_refuse_does_not_fit(old, new):
    text = hpa_manifest(SETTINGS, PLACE)
    assert old in text
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text.replace(old, new)), MANIFEST)


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
