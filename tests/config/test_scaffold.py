"""What `verismo init` would write: complete, valid, and in step with the schema."""

import re
import tomllib
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from verismo.config import tables
from verismo.config.load import load_config
from verismo.config.scaffold import recipe_for, scaffold
from verismo.model.errors import OperatorError
from verismo.model.limits import Limits

PROVIDERS = ["simulator", "openai", "anthropic", "http://127.0.0.1:8000/v1", "https://llm.example"]


def load(root: Path, provider: str, model: str = "", **environ: str):
    for name, data in scaffold(recipe_for(provider, model)).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return load_config(root / "verismo.toml", environ, require_credentials=True)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_each_provider_gives_a_folder_that_loads_without_a_warning(tmp_path, provider):
    config = load(tmp_path, provider, OPENAI_API_KEY="k", ANTHROPIC_API_KEY="k")
    assert config.warnings == ()
    assert list(config.plan.tenants) == ["TENANT_001", "TENANT_002", "TENANT_003"]
    assert "support.answer" in config.plan.operations
    assert "gpt-4o" in config.plan.operations["support.answer"].aliases


def test_sample_tenants_differ_in_region_and_enforcement(tmp_path):
    tenants = load(tmp_path, "simulator").plan.tenants.values()
    assert len({tenant.region for tenant in tenants}) == 3
    assert {tenant.enforcement for tenant in tenants} == {"observe", "safelist", "id-only"}
    assert not any(tenant.capture for tenant in tenants)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_is_observed_goes_where_registered_operations_of_its_kind_go(tmp_path, provider):
    plan = load(tmp_path, provider, OPENAI_API_KEY="k", ANTHROPIC_API_KEY="k").plan
    assert plan.observe_deployments["chat"]
    for kind, names in plan.observe_deployments.items():
        registered = [o.deployments for o in plan.operations.values() if o.kind == kind]
        assert names in registered


def test_the_simulator_has_an_operation_of_each_kind(tmp_path):
    plan = load(tmp_path, "simulator").plan
    assert {operation.kind for operation in plan.operations.values()} == {
        "chat",
        "embedding",
        "graphql",
        "http",
    }
    assert {o.document_type for o in plan.operations.values()} == {"", "query", "mutation"}
    assert {p.base_url.split("/")[2] for p in plan.providers.values()} == {"127.0.0.1:9090"}


def test_every_tenant_can_run_a_chat_in_its_region_and_models(tmp_path):
    plan = load(tmp_path, "simulator").plan
    chats = [o for o in plan.operations.values() if o.kind == "chat"]
    for tenant in plan.tenants.values():
        reachable = [
            deployment
            for operation in chats
            if operation.purpose in tenant.purposes
            for deployment in (plan.deployments[name] for name in operation.deployments)
            if deployment.region == tenant.region
            and any(deployment.model.startswith(p.rstrip("*")) for p in tenant.models)
        ]
        assert reachable, tenant.id


@pytest.mark.parametrize(
    ("provider", "variable", "url"),
    [
        ("openai", "OPENAI_API_KEY", "https://api.openai.com/v1"),
        ("anthropic", "ANTHROPIC_API_KEY", "https://api.anthropic.com/v1"),
    ],
)
def test_a_key_is_all_that_a_real_provider_needs(tmp_path, provider, variable, url):
    config = load(tmp_path, provider, **{variable: "key"})
    assert config.credentials[provider].reveal() == "key"
    assert config.plan.providers[provider].base_url == url
    assert recipe_for(provider).credential == variable


@pytest.mark.parametrize("provider", ["openai", "anthropic", "http://127.0.0.1:8000/v1"])
def test_another_model_is_asked_for_and_allowed(tmp_path, provider):
    config = load(tmp_path, provider, "m-7", OPENAI_API_KEY="k", ANTHROPIC_API_KEY="k")
    assert config.plan.deployments["chat"].model == "m-7"
    models = config.plan.tenants["TENANT_001"].models
    assert "m-7" in models or "*" in models


@pytest.mark.parametrize("provider", ["opnai", "ftp://x", "http://", 'http://x/"\n[a]', ""])
def test_what_is_no_provider_is_refused(provider):
    with pytest.raises(OperatorError) as caught:
        recipe_for(provider)
    assert "--provider openai" in caught.value.advice


def test_recorded_document_ids_are_those_of_the_documents():
    files = scaffold(recipe_for("simulator"))
    text = files["operations/documents.toml"].decode()
    assert len(re.findall(r'^id = "sha256:[0-9a-f]{64}"$', text, re.MULTILINE)) == 2


def test_the_policy_bundle_is_copied_whole():
    packaged = Path(tables.__file__).parent.parent / "templates" / "policy"
    names = {f"policy/{p.relative_to(packaged)}" for p in packaged.rglob("*") if p.is_file()}
    assert {n for n in scaffold(recipe_for("openai")) if n.startswith("policy/")} == names


def test_the_data_folder_stays_out_of_version_control():
    assert "/var/" in scaffold(recipe_for("openai"))[".gitignore"].decode().split()


def uncommented(section: str) -> dict[str, object]:
    """Read the commented defaults of a part of the template, and the keys that it sets."""
    text = scaffold(recipe_for("simulator"))["verismo.toml"].decode()
    body = text.split(f"\n[{section}]\n")[1] if section else text
    body = body.split("\n[")[0]
    pairs = re.findall(r"^(?:# )?([a-z_]+ = .*)$", body, re.MULTILINE)
    return tomllib.loads("\n".join(pairs), parse_float=Decimal)


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ("listen", tables.ListenTable),
        ("control", tables.ControlTable),
        ("limits", Limits),
        ("log", tables.LogTable),
        ("telemetry", tables.TelemetryTable),
        ("policy", tables.PolicyTable),
    ],
)
def test_the_template_shows_every_key_with_its_default(section, kind):
    assert msgspec.convert(uncommented(section), kind) == kind()
    assert set(uncommented(section)) == set(kind.__struct_fields__)


def test_the_template_shows_the_defaults_of_its_top():
    top = uncommented("")
    fields = {field.name: field.default for field in msgspec.structs.fields(tables.MainTable)}
    assert top == {name: fields[name] for name in ("data", "issuer", "docs_base_url")}


@pytest.mark.parametrize("kind", [tables.TenantTable, tables.ProviderTable, tables.DeploymentTable])
def test_the_template_names_every_key_of_repeated_tables(kind):
    text = scaffold(recipe_for("simulator"))["verismo.toml"].decode()
    for name in kind.__struct_fields__:
        assert re.search(rf"^(# +)?(\w+, )?{name}\b", text, re.MULTILINE), name
