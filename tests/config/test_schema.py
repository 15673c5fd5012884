"""Secrets do not show themselves, whatever is done to what holds them."""

import json

import msgspec
import pytest

from verismo.config.effective import effective, flattened
from verismo.config.schema import MASK, Secret

TEXT = "sk-very-secret"


def test_a_secret_is_masked_in_every_spelling():
    secret = Secret(TEXT)
    spelled = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret:>20}",
        f"{secret!s} {[secret]!r}",
    ]
    assert all(TEXT not in text and MASK in text for text in spelled)
    assert secret.reveal() == TEXT


def test_no_encoder_spells_a_secret_out():
    with pytest.raises(TypeError):
        msgspec.json.encode(Secret(TEXT))
    with pytest.raises(TypeError):
        json.dumps(Secret(TEXT))


def test_secrets_compare_by_value():
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1


def test_a_configuration_never_shows_a_credential(workspace):
    workspace.replace("verismo.toml", '/v1"', '/v1"\napi_key_env = "UP_KEY"')
    config = workspace.load({"UP_KEY": TEXT})
    shown = json.dumps(effective(config))
    assert TEXT not in repr(config)
    assert TEXT not in shown
    assert TEXT not in msgspec.json.encode(config.plan).decode()
    assert effective(config)["credentials"] == {"up": MASK}


def test_the_effective_configuration_names_every_setting(workspace):
    config = workspace.load()
    assert set(config.__struct_fields__) - {"root"} == set(effective(config))
    names = dict(flattened(effective(config)))
    assert names["listen.port"] == 8080
    assert names["plan.tenants.TENANT_001.budget_usd_micros_per_day"] == 10_000_000
    assert names["warnings"] == []
