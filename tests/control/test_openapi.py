"""The description of the control API: valid, and of exactly the routes that are served."""

import json
from importlib import resources
from pathlib import Path
from urllib.parse import urlencode

import msgspec
import pytest
from openapi_spec_validator import validate

from verismo.control import acts, apikeys
from verismo.control.api import ControlDesk, control_app
from verismo.control.budgetrecords import THROTTLING
from verismo.control.rollouts import RULES
from verismo.model.decision import Decision
from verismo.model.operation import Deployment, Operation, Provider
from verismo.model.plan import Plan
from verismo.model.steering import Rollout, Steering, Throttle
from verismo.model.tenant import RateLimit, Tenant
from verismo.ports.directory import Observation


@pytest.fixture(scope="module")
def document():
    return json.loads(resources.files("verismo.control").joinpath("openapi.json").read_bytes())


def test_the_description_is_valid_openapi(document):
    validate(document)


def test_routes_and_description_name_the_same_methods(document):
    app = control_app(ControlDesk(None, None, None, None, None, None))
    served = {(route.path, method) for route in app.routes for method in route.methods - {"HEAD"}}
    described = {
        (path, method.upper()) for path, item in document["paths"].items() for method in item
    }
    assert served == described


def test_only_the_health_checks_and_the_description_are_public(document):
    public = {
        path
        for path, item in document["paths"].items()
        for operation in item.values()
        if operation.get("security") == []
    }
    assert public == {"/healthz", "/readyz", "/openapi.json"}


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("Tenant", Tenant),
        ("Operation", Operation),
        ("Plan", Plan),
        ("Observation", Observation),
        ("Rate", RateLimit),
        ("ApiKey", apikeys.ApiKeyRow),
        ("NewApiKey", apikeys.NewApiKey),
        ("CreatedApiKey", apikeys.CreatedApiKey),
        ("NewAct", acts.NewAct),
        ("Decided", acts.Decided),
        ("Decision", Decision),
        ("DecisionView", acts.DecisionView),
        ("SteeringView", acts.SteeringView),
        ("Steering", Steering),
        ("Rollout", Rollout),
        ("Throttle", Throttle),
    ],
)
def test_each_schema_has_the_fields_of_its_type(document, name, type_):
    properties = document["components"]["schemas"][name]["properties"]
    assert set(properties) == {field.name for field in msgspec.structs.fields(type_)}


@pytest.mark.parametrize(("name", "type_"), [("providers", Provider), ("deployments", Deployment)])
def test_parts_of_the_plan_have_the_fields_of_their_types(document, name, type_):
    plan = document["components"]["schemas"]["Plan"]["properties"]
    properties = plan[name]["additionalProperties"]["properties"]
    assert set(properties) == {field.name for field in msgspec.structs.fields(type_)}


def test_the_limits_of_a_new_key_are_those_of_the_code(document):
    properties = document["components"]["schemas"]["NewApiKey"]["properties"]
    assert properties["name"]["maxLength"] == apikeys.NAME_CHARACTERS_MAX
    assert properties["expires_s"]["maximum"] == apikeys.EXPIRES_S_MAX


@pytest.mark.parametrize("rules", [RULES, THROTTLING])
def test_who_reads_the_newest_decision_is_told_of_all_rules_that_make_it(document, rules):
    parameters = document["paths"]["/v1/decisions/newest"]["get"]["parameters"]
    told = next(one["description"] for one in parameters if one["name"] == "rule")
    assert all(f"`{rule}`" in told for rule in rules)
    page = Path(__file__).parents[2] / "docs" / "adapt-loop.md"
    assert urlencode({"rule": rules}, doseq=True) in page.read_text()
