"""From TOML to typed tables: every key is checked against its type."""

import tomllib
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.config.operationtable import OperationsTable
from verismo.config.reading import read_table
from verismo.config.source import Findings, Source
from verismo.config.tables import ListenTable, MainTable
from verismo.model.tenant import RateLimit


def read(text: str, kind=MainTable):
    findings = Findings()
    source = Source("x.toml", Path("x.toml"), text, findings)
    return read_table(kind, source.tree, source, ()), [str(p) for p in findings.errors]


def test_an_empty_file_is_all_defaults():
    assert read("") == (MainTable(), [])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("listen = 1", "x.toml:1: listen: expected a table, got a number"),
        ("listen = 'a'", "x.toml:1: listen: expected a table, got a text"),
        ("providers = []", "x.toml:1: providers: expected tables, got an array"),
        ("providers.up = true", "x.toml:1: providers.up: expected a table, got a boolean"),
        ("[listen]\nport = '80'", "x.toml:2: listen.port: expected `int`, got `str`"),
        ("[listen]\nport = 80.0", "x.toml:2: listen.port: expected `int`, got a number"),
        ("[listen]\nport = true", "x.toml:2: listen.port: expected `int`, got `bool`"),
        ("[listen]\nport = -1", "x.toml:2: listen.port: expected `int` >= 0"),
        ("[listen]\nworkers = 0", "x.toml:2: listen.workers: expected `int` >= 1"),
        ("[listen]\nworkers = 65", "x.toml:2: listen.workers: expected `int` <= 64"),
        ("[listen]\nhost = 1", "x.toml:2: listen.host: expected `str`, got `int`"),
        (
            "[listen]\ncors_origins = [\n'*',\n2]",
            "x.toml:4: listen.cors_origins[1]: expected `str`, got `int`",
        ),
        (
            "[witness]\nurls = { a = 'x', b = 1 }",
            "x.toml:2: witness.urls.b: expected `str`, got `int`",
        ),
        ("[witness]\nurls = 'x'", "x.toml:2: witness.urls: expected a table, got a text"),
        (
            "[witness]\nurls.example.org = 'x'",
            "x.toml:2: witness.urls.example: is a table; put a name with a dot in quotes",
        ),
        ("[log]\nlevel = 'inof'", "x.toml:2: log.level: 'inof' is not one of debug, info, "),
        ("[log]\nlevel = 1", "x.toml:2: log.level: expected `str`, got `int`"),
        ("issuer = ''", "x.toml:1: issuer: must be 1 to 128 ASCII characters without spaces"),
        ("data = ''", "x.toml:1: data: expected `str` of length >= 1"),
        ("[telemetry]\nsample_ppm = 1000001", "x.toml:2: telemetry.sample_ppm: expected `int` <="),
        ("tenant = {}", "x.toml:1: tenant: unknown key; did you mean tenants?"),
        ("operations = {}", "x.toml:1: operations: unknown key; known: adapt, archive, budgets, "),
        ("[tenants.'a b']\nregion='x'\npurposes=['y']", 'x.toml:1: tenants."a b": a name has'),
        ("[tenants.a]\nregion = 'x'", "x.toml:1: tenants.a: purposes is missing"),
        (
            "[tenants.a]\nregion='x'\npurposes=['y']\nrate = { request_per_minute = 1 }",
            "x.toml:4: tenants.a.rate.request_per_minute: unknown key; did you mean "
            "requests_per_minute?",
        ),
        (
            "[tenants.a]\nregion='x'\npurposes=['y']\nenforcement = 'strict'",
            "x.toml:4: tenants.a.enforcement: 'strict' is not one of observe, safelist, id-only",
        ),
        (
            "[tenants.a]\nregion='x'\npurposes=['y']\nbudget_usd_per_day = 'ten'",
            "x.toml:4: tenants.a.budget_usd_per_day: ",
        ),
        (
            "[deployments.a]\nprovider='x'\nregion='y'\nprice = {input_usd_per_mtok = 1}",
            "x.toml:4: deployments.a.price: output_usd_per_mtok is missing",
        ),
    ],
)
def test_each_kind_of_mistake_is_named_with_its_line(text, problem):
    _, problems = read(text)
    assert len(problems) == 1
    assert problems[0].startswith(problem)


def test_money_is_read_without_going_through_a_float():
    text = "[tenants.a]\nregion='x'\npurposes=['y']\nbudget_usd_per_day = 0.1"
    table, problems = read(text)
    assert problems == []
    assert table.tenants["a"].budget_usd_per_day == Decimal("0.1")


def test_whole_dollars_may_be_integers():
    text = "[tenants.a]\nregion='x'\npurposes=['y']\nbudget_usd_per_day = 3"
    assert read(text)[0].tenants["a"].budget_usd_per_day == 3


def test_nested_tables_and_inline_tables_are_the_same():
    one, _ = read("[tenants.a]\nregion='x'\npurposes=['y']\nrate = { tokens_per_minute = 5 }")
    two, _ = read("[tenants.a]\nregion='x'\npurposes=['y']\n[tenants.a.rate]\ntokens_per_minute=5")
    assert one == two
    assert one.tenants["a"].rate == RateLimit(tokens_per_minute=5)


def test_a_wrong_optional_key_leaves_the_rest_readable():
    table, problems = read("host = 1\nport = 9", ListenTable)
    assert table == ListenTable(port=9)
    assert len(problems) == 1


def test_a_wrong_required_key_makes_the_table_unusable():
    table, problems = read(
        "[operations.a]\nkind = 1\npurpose='x'\ndeployments=['y']", OperationsTable
    )
    assert table == OperationsTable()
    assert len(problems) == 1


TOML = st.recursive(
    st.integers(-(2**70), 2**70) | st.booleans() | st.text("ab1-", max_size=3) | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["listen", "port", "providers", "up", "kind"]), inner)
    ),
    max_leaves=6,
)


def spell(value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return "[" + ", ".join(map(spell, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {spell(v)}" for k, v in value.items()) + "}"
    return repr(value)


@given(st.dictionaries(st.sampled_from(["listen", "providers", "tenants", "data", "limits"]), TOML))
def test_any_toml_is_read_or_explained(tree):
    text = "".join(f"{key} = {spell(value)}\n" for key, value in tree.items())
    tomllib.loads(text)
    table, problems = read(text)
    assert isinstance(table, MainTable)
    assert all(problem.startswith("x.toml:") for problem in problems)
