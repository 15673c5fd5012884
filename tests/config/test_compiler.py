"""From tables to the plan: defaults that depend on other tables, and ranges."""

import pytest

from verismo.model.operation import Price, Timeouts
from verismo.model.tenant import RateLimit


def test_a_tenant_observes_until_an_operation_names_it(workspace):
    assert workspace.load().plan.tenants["TENANT_001"].enforcement == "observe"
    workspace.replace("operations/chat.toml", '["gpt-4o"]', '["gpt-4o"]\ntenants = ["TENANT_001"]')
    tenants = workspace.load().plan.tenants
    assert tenants["TENANT_001"].enforcement == "safelist"
    assert tenants["TENANT_002"].enforcement == "observe"


@pytest.mark.parametrize("enforcement", ["observe", "safelist", "id-only"])
def test_an_enforcement_that_is_given_stands(workspace, enforcement):
    workspace.replace("operations/chat.toml", '["gpt-4o"]', '["gpt-4o"]\ntenants = ["TENANT_002"]')
    workspace.replace("verismo.toml", '"eu"', f'"eu"\nenforcement = "{enforcement}"')
    assert workspace.load().plan.tenants["TENANT_002"].enforcement == enforcement


def test_a_tenant_is_read_whole(workspace):
    workspace.replace(
        "verismo.toml",
        'region = "eu"',
        'region = "eu"\nbudget_usd_per_day = 0.1\ncache_ttl_s = 60\ncapture = true\n'
        "rate = { requests_per_minute = 6, tokens_per_minute = 7 }",
    )
    tenant = workspace.load().plan.tenants["TENANT_002"]
    assert tenant.budget_usd_micros_per_day == 100_000
    assert (tenant.cache_ttl_s, tenant.capture, tenant.models) == (60, True, ())
    assert tenant.rate == RateLimit(requests_per_minute=6, tokens_per_minute=7)


def test_content_is_not_kept_and_nothing_is_spent_by_default(workspace):
    tenant = workspace.load().plan.tenants["TENANT_002"]
    assert (tenant.capture, tenant.budget_usd_micros_per_day, tenant.models) == (False, 0, ())


def test_a_tenant_needs_a_purpose(workspace):
    text = workspace.file.read_text().replace(
        'region = "eu"\npurposes = ["support"]', 'region="eu"\npurposes=[]'
    )
    workspace.write("verismo.toml", text)
    assert "must name at least one purpose" in workspace.problems()[0]


@pytest.mark.parametrize(("pattern", "refused"), [("gpt-*", 0), ("*", 0), ("g*t", 1), ("**", 1)])
def test_a_model_pattern_has_its_star_at_the_end(workspace, pattern, refused):
    workspace.replace("verismo.toml", '["gpt-*"]', f'["{pattern}"]')
    if refused:
        assert "only at the end" in workspace.problems()[0]
    else:
        assert workspace.load().plan.tenants["TENANT_001"].models == (pattern,)


def test_timeouts_and_prices_are_exact(workspace):
    workspace.replace("verismo.toml", '/v1"', '/v1"\ntimeouts = { connect_ms = 5 }')
    workspace.replace(
        "verismo.toml",
        'model = "gpt-4o-mini"',
        'model = "gpt-4o-mini"\nprice = { input_usd_per_mtok = 0.15, output_usd_per_mtok = 0.6 }',
    )
    plan = workspace.load().plan
    assert plan.providers["up"].timeouts == Timeouts(connect_ms=5)
    assert plan.deployments["chat"].price == Price(150_000, 600_000)


@pytest.mark.parametrize("name", ["connect_ms", "first_byte_ms", "total_ms"])
@pytest.mark.parametrize("value", [0, 2**53])
def test_a_deadline_out_of_range_is_refused(workspace, name, value):
    workspace.replace("verismo.toml", '/v1"', f'/v1"\ntimeouts = {{ {name} = {value} }}')
    assert f"providers.up.timeouts.{name}: must be from 1 to" in workspace.problems()[0]


def test_a_rate_that_could_not_be_signed_is_refused(workspace):
    workspace.replace("verismo.toml", '"eu"', f'"eu"\nrate = {{ tokens_per_minute = {2**53} }}')
    assert "must be from 0 to" in workspace.problems()[0]


@pytest.mark.parametrize(
    ("kind", "extra", "expected"),
    [
        ("openai", "", ("authorization", "Bearer ")),
        ("anthropic", "", ("x-api-key", "")),
        ("openai", 'auth_header = "API-Key"\nauth_scheme = ""', ("api-key", "")),
        (
            "anthropic",
            'auth_header = "Authorization"\nauth_scheme = "Bearer "',
            ("authorization", "Bearer "),
        ),
    ],
)
def test_each_kind_of_provider_has_its_usual_header(workspace, kind, extra, expected):
    workspace.replace(
        "verismo.toml", 'kind = "openai"', f'kind = "{kind}"\n{extra}\napi_key_env = "K"'
    )
    provider = workspace.load({"K": "x"}).plan.providers["up"]
    assert (provider.auth_header, provider.auth_scheme) == expected


def test_a_credential_without_a_header_is_refused(workspace):
    workspace.replace("verismo.toml", '/v1"', '/v1"\napi_key_env = "K"\nauth_header = ""')
    assert "there is a credential to send" in workspace.problems({"K": "x"})[0]


def test_a_graphql_deployment_has_a_label_for_a_model(workspace):
    assert workspace.load().plan.deployments["graph"].model == "graphql"
