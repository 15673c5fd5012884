"""`verismo tenant`: list, show, add, erase."""

import io
import json
import os
import re
import sys

import pytest

from verismo.adapters.vault_file import FileVault
from verismo.cli.options import moment
from verismo.gateway.snapshot import tenant_handle
from verismo.model.errors import StateError
from verismo.model.ids import TenantId, prov_id_from
from verismo.wiring.firststart import key_files, prepare_data
from verismo.wiring.handles import handle_secret_file
from verismo.wiring.state import open_state
from verismo.wiring.vault import erased_tenants, record_erasure

JANUARY_MS = 1_767_225_600_000


@pytest.fixture
def data_key(initialised):
    """Return TENANT_001's data key, as the vault would have made it."""
    key = initialised / "var" / "keys" / "tenants" / "TENANT_001.key"
    key.parent.mkdir(parents=True)
    key.write_bytes(b"k" * 32)
    return key


def test_list_shows_each_tenant(verismo, initialised):
    out = verismo("tenant", "list").out
    assert [line.split()[:4] for line in out.splitlines()] == [
        ["TENANT_001", "us", "observe", "10.00"],
        ["TENANT_002", "eu", "safelist", "25.50"],
        ["TENANT_003", "ap", "id-only", "5.00"],
    ]


def test_list_as_json_is_exact(verismo, initialised):
    tenants = json.loads(verismo("tenant", "list", "--json").out)
    assert [t["budget_usd_micros_per_day"] for t in tenants] == [10_000_000, 25_500_000, 5_000_000]


def test_show_names_what_a_tenant_may_run(verismo, initialised):
    out = verismo("tenant", "show", "TENANT_002").out
    assert "600 requests/min, 400000 tokens/min" in out
    assert "support.answer" in out
    assert "CreateTicket" in out
    assert json.loads(verismo("tenant", "show", "TENANT_002", "--json").out)["region"] == "eu"


def test_show_tells_the_audience_of_the_tenants_answers(verismo, initialised):
    assert "not yet" in verismo("tenant", "show", "TENANT_002").out
    assert json.loads(verismo("tenant", "show", "TENANT_002", "--json").out)["handle"] is None
    prepare_data(initialised / "var")
    secret = (initialised / "var" / "keys" / "handles.key").read_bytes()
    handle = tenant_handle(TenantId("TENANT_002"), secret)
    assert re.search(rf"handle +{handle}\n", verismo("tenant", "show", "TENANT_002").out)
    assert json.loads(verismo("tenant", "show", "TENANT_002", "--json").out)["handle"] == handle


def test_the_secret_of_handles_is_where_the_gateway_keeps_it(tmp_path):
    assert handle_secret_file(tmp_path) == key_files(tmp_path).handles


def test_secret_of_handles_that_others_can_read_is_refused(verismo, initialised):
    prepare_data(initialised / "var")
    (initialised / "var" / "keys" / "handles.key").chmod(0o644)
    outcome = verismo("tenant", "show", "TENANT_002")
    assert outcome.code == 2
    assert "chmod 600" in outcome.err


def test_an_unknown_tenant_is_answered_with_the_nearest(verismo, initialised):
    for command in (("show", "TENANT_01"), ("erase", "TENANT_01", "--yes")):
        outcome = verismo("tenant", *command)
        assert outcome.code == 2
        assert "did you mean TENANT_00" in outcome.err


def test_add_appends_and_the_file_stays_valid(verismo, initialised):
    before = (initialised / "verismo.toml").read_text()
    command = ["tenant", "add", "ACME", "--region", "eu", "--purpose", "support"]
    outcome = verismo(*command, "--purpose", "sales", "--budget-usd-per-day", "0.000001")
    assert outcome.code == 0
    assert "may reach no model yet" in outcome.out
    assert (initialised / "verismo.toml").read_text().startswith(before)
    tenant = json.loads(verismo("tenant", "show", "ACME", "--json").out)
    assert tenant["purposes"] == ["support", "sales"]
    assert tenant["budget_usd_micros_per_day"] == 1
    assert "0.000001 USD/day" in verismo("tenant", "show", "ACME").out
    assert verismo(*command).code == 2


def test_add_refuses_what_would_not_load(verismo, initialised):
    before = (initialised / "verismo.toml").read_bytes()
    outcome = verismo("tenant", "add", "ACME", "--region", "e u", "--purpose", "support")
    assert outcome.code == 2
    assert "tenants.ACME.region" in outcome.err
    assert (initialised / "verismo.toml").read_bytes() == before


@pytest.mark.parametrize("amount", ["ten", "nan", "inf", ""])
def test_add_refuses_what_is_no_amount(verismo, initialised, amount):
    command = ["tenant", "add", "ACME", "--region", "eu", "--purpose", "p", "--model", "x"]
    outcome = verismo(*command, "--budget-usd-per-day", amount)
    assert outcome.code == 2
    assert "is not an amount" in outcome.err


def test_erase_deletes_the_key_and_records_when(verismo, initialised, data_key):
    outcome = verismo("tenant", "erase", "TENANT_001", "--yes")
    assert outcome.code == 0
    assert "its data key is deleted" in outcome.out
    assert not data_key.exists()
    assert verismo("tenant", "list").out.splitlines()[0].endswith("erased")
    when = moment(erased_tenants(initialised / "var")[TenantId("TENANT_001")])
    assert f"erased       {when}" in verismo("tenant", "show", "TENANT_001").out


def test_erasing_again_keeps_the_first_time(verismo, initialised, data_key):
    record_erasure(initialised / "var", TenantId("TENANT_001"), JANUARY_MS)
    verismo("tenant", "erase", "TENANT_001", "--yes")
    outcome = verismo("tenant", "erase", "TENANT_001", "--yes")
    assert outcome.code == 0
    assert f"erased already, at {moment(JANUARY_MS)}" in outcome.out
    assert erased_tenants(initialised / "var") == {"TENANT_001": JANUARY_MS}


def test_erasing_after_a_crash_between_record_and_deletion_finishes(verismo, initialised, data_key):
    record_erasure(initialised / "var", TenantId("TENANT_001"), JANUARY_MS)
    assert "its data key is deleted" in verismo("tenant", "erase", "TENANT_001", "--yes").out
    assert not data_key.exists()
    assert erased_tenants(initialised / "var") == {"TENANT_001": JANUARY_MS}


def test_marker_of_an_earlier_version_counts_and_keeps_its_time(verismo, initialised, data_key):
    marker = data_key.with_suffix(".erased")
    marker.write_text("2026-01-01T00:00:00Z\n")
    assert verismo("tenant", "list").out.splitlines()[0].endswith("erased")
    assert "its data key is deleted" in verismo("tenant", "erase", "TENANT_001", "--yes").out
    assert erased_tenants(initialised / "var") == {"TENANT_001": JANUARY_MS}
    assert not marker.exists()


def test_a_failed_deletion_is_told_and_the_tenant_stays_recorded(
    verismo, initialised, data_key, monkeypatch
):
    unlink = os.unlink

    def fail(path: os.PathLike[str], **options: object) -> None:
        if path == data_key:
            raise PermissionError(1, "Operation not permitted")
        unlink(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", fail)
        outcome = verismo("tenant", "erase", "TENANT_001", "--yes")
    assert outcome.code == 2
    assert "Operation not permitted" in outcome.err
    assert data_key.exists()
    assert "TENANT_001" in erased_tenants(initialised / "var")


@pytest.mark.parametrize(("answer", "code"), [("n\n", 1), ("\n", 1), ("", 1), ("y\n", 0)])
def test_without_yes_erase_asks_first(verismo, initialised, data_key, monkeypatch, answer, code):
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
    outcome = verismo("tenant", "erase", "TENANT_001")
    assert outcome.code == code
    assert data_key.exists() == (code == 1)


def test_a_tenant_without_a_key_is_recorded_so_that_none_is_made(verismo, initialised, tmp_path):
    outcome = verismo("tenant", "erase", "TENANT_002", "--yes")
    assert "nothing was captured" in outcome.out
    assert list(erased_tenants(initialised / "var")) == ["TENANT_002"]
    vault = FileVault(tmp_path / "keys", open_state(initialised / "var").erasures)
    with pytest.raises(StateError, match="was erased"):
        vault.seal(TenantId("TENANT_002"), prov_id_from(1, bytes(10)), b"words")
    assert not (tmp_path / "keys").exists()


def test_a_tenant_that_left_the_configuration_can_still_be_erased(verismo, initialised, data_key):
    gone = data_key.rename(data_key.with_name("GONE.key"))
    assert verismo("tenant", "erase", "GONE", "--yes").code == 0
    assert not gone.exists()


@pytest.mark.parametrize("name", ["../token", "..", "/etc/x"])
def test_path_traversal_by_a_tenant_id_erases_nothing(verismo, initialised, data_key, name):
    token = initialised / "var" / "keys" / "token.key"
    token.write_text("k")
    assert verismo("tenant", "erase", name, "--yes").code == 2
    assert token.exists()


def test_the_help_of_erase_says_what_is_lost(verismo):
    text = " ".join(verismo("tenant", "erase", "--help").out.split())
    assert "without it nobody can read them again" in text
