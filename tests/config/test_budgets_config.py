"""`[budgets]`: caps are of routes that there are, exact to a millionth of a dollar."""

import pytest

from verismo.config.effective import effective
from verismo.model.errors import ConfigError

CAPS = "[budgets.caps.TENANT_001]\n"


def problem(workspace, text):
    workspace.append("verismo.toml", text)
    with pytest.raises(ConfigError) as caught:
        workspace.load()
    return caught.value.detail


def test_without_a_table_every_route_has_a_share_of_its_day(workspace):
    assert workspace.load().budgets.cap_share_ppm == 50_000


def test_cap_of_a_route_is_in_micros_and_shown(workspace):
    workspace.append("verismo.toml", CAPS + '"support.answer" = 2.500001\n')
    config = workspace.load()
    assert config.budgets.caps == {"TENANT_001": {"support.answer": 2_500_001}}
    assert effective(config)["budgets"]["caps"]["TENANT_001"]["support.answer"] == 2_500_001


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (CAPS + '"support.anwser" = 1\n', "did you mean support.answer?"),
        ('[budgets.caps.TENANT_01]\n"support.answer" = 1\n', "did you mean TENANT_001?"),
        (CAPS + '"support.answer" = 0\n', "must be above 0"),
        (CAPS + '"support.answer" = 0.0000001\n', "six decimal places"),
        (CAPS + '"support.answer" = -1\n', "must be from 0"),
        ("[budgets]\ncap_share_ppm = 0\n", "cap_share_ppm"),
        (CAPS + '"support.answer" = true\n', 'TENANT_001."support.answer": expected a number'),
        (CAPS + "support.answer = 1\n", "TENANT_001.support: is a table; put a name with a dot"),
        ("[budgets]\ncaps = 3\n", "caps by tenant and operation"),
        ('[budgets.caps]\n"support.answer" = 1\n', "is an operation; its cap stands under its"),
        ("[budgets]\ncap_share = 1\n", "did you mean cap_share_ppm?"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(workspace, text, told):
    assert told in problem(workspace, text)


def test_tenant_of_the_name_of_an_operation_may_have_caps(workspace):
    tenant = '[tenants."support.answer"]\nregion = "us"\npurposes = ["support"]\n'
    caps = '[budgets.caps."support.answer"]\n"support.answer" = 1\n'
    workspace.append("verismo.toml", tenant + caps)
    assert workspace.load().budgets.caps == {"support.answer": {"support.answer": 1_000_000}}


def test_number_where_a_tenant_belongs_is_told_with_its_line_what_is_allowed_and_who_there_is(
    workspace,
):
    workspace.append("verismo.toml", "[budgets.caps]\nTENANT_01 = 1\nx = 1\n")
    lines = (workspace.root / "verismo.toml").read_text().splitlines()
    line = lines.index("x = 1") + 1
    with pytest.raises(ConfigError) as caught:
        workspace.load()
    wanted = (
        "expected a table of US dollars a minute by operation "
        '(budgets.caps.TENANT."OPERATION" = 2.50), got a number'
    )
    assert [one.strip() for one in caught.value.detail.splitlines()] == [
        f"verismo.toml:{line - 1}: budgets.caps.TENANT_01: {wanted}",
        f"verismo.toml:{line - 1}: budgets.caps.TENANT_01: there is no tenant 'TENANT_01'; "
        "did you mean TENANT_001?",
        f"verismo.toml:{line}: budgets.caps.x: {wanted}",
        f"verismo.toml:{line}: budgets.caps.x: there is no tenant 'x'; known: TENANT_001, "
        "TENANT_002",
    ]
