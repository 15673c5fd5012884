"""Adding a tenant: the owner's text stays, and nothing is written that would not load."""

import os
from decimal import Decimal

import msgspec
import pytest

from verismo.config.tenantfile import NewTenant, append_tenant
from verismo.model.errors import ConfigError, OperatorError

NEW = NewTenant(
    id="acme.eu",
    region="eu",
    purposes=("support", "analytics"),
    models=("gpt-*",),
    enforcement=None,
    budget_usd_per_day=Decimal("1.5"),
)


def test_a_tenant_is_appended_and_every_other_byte_stays(workspace):
    before = workspace.file.read_text()
    workspace.file.chmod(0o640)
    config = append_tenant(workspace.file, NEW, {})
    assert workspace.file.read_text().startswith(before)
    assert config.path == workspace.file
    assert config.plan == workspace.load().plan
    tenant = config.plan.tenants["acme.eu"]
    assert tenant.purposes == ("support", "analytics")
    assert tenant.budget_usd_micros_per_day == 1_500_000
    assert workspace.file.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in workspace.root.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("enforcement", ["observe", "safelist", "id-only"])
def test_an_enforcement_is_written(workspace, enforcement):
    new = msgspec.structs.replace(NEW, enforcement=enforcement)
    assert append_tenant(workspace.file, new, {}).plan.tenants["acme.eu"].enforcement == enforcement


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "a b"),
        ("id", 'x"]\n[listen]\nport = 1\n["y'),
        ("region", 'eu"\ncapture = true\n#'),
        ("purposes", ()),
        ("purposes", ("ok", "bad purpose")),
        ("models", ("*x",)),
        ("budget_usd_per_day", Decimal("-1")),
        ("budget_usd_per_day", Decimal("0.0000001")),
        ("budget_usd_per_day", Decimal("NaN")),
    ],
)
def test_toml_injection_and_bad_values_write_nothing(workspace, field, value):
    before = workspace.file.read_bytes()
    with pytest.raises(ConfigError) as caught:
        append_tenant(workspace.file, msgspec.structs.replace(NEW, **{field: value}), {})
    assert workspace.file.read_bytes() == before
    assert "verismo.toml:" in caught.value.detail
    assert ".trial" not in caught.value.detail
    assert "Nothing was written" in caught.value.advice
    assert [p.name for p in workspace.root.iterdir() if p.name.startswith(".")] == []


def test_a_tenant_that_is_there_is_not_added_again(workspace):
    with pytest.raises(OperatorError, match="is there already"):
        append_tenant(workspace.file, msgspec.structs.replace(NEW, id="TENANT_001"), {})


def test_a_file_that_is_broken_before_is_not_touched(workspace):
    workspace.append("verismo.toml", "wrong = 1\n")
    before = workspace.file.read_bytes()
    with pytest.raises(ConfigError, match="unknown key"):
        append_tenant(workspace.file, NEW, {})
    assert workspace.file.read_bytes() == before


def test_a_failed_write_leaves_the_old_file(workspace, monkeypatch):
    before = workspace.file.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OperatorError, match="No space left"):
        append_tenant(workspace.file, NEW, {})
    assert workspace.file.read_bytes() == before


def test_a_file_without_a_last_line_end_stays_valid(workspace):
    workspace.write("verismo.toml", workspace.file.read_text().rstrip("\n") + " # end")
    assert "acme.eu" in append_tenant(workspace.file, NEW, {}).plan.tenants
