"""docs/adapt-loop.md names every member of what is signed, every type and every limit."""

import re
from pathlib import Path

import pytest

from verismo.attest import controlrecord, jws, steeringdoc
from verismo.attest.controlrecord import ControlRecord
from verismo.config.adapttable import AdaptTable
from verismo.control.acts import NewAct
from verismo.model.decision import Decision, Subject
from verismo.model.steering import Rollout, Steering, Throttle

PAGE = (Path(__file__).parents[2] / "docs" / "adapt-loop.md").read_text(encoding="utf-8")
RECORD = PAGE.partition("## A record")[2].partition("\n## ")[0]
STEERING = PAGE.partition("## Steering")[2].partition("\n## ")[0]


def members(section):
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall("`([a-z_]+)`", row)}


def test_the_tables_have_every_member_and_no_other():
    assert members(RECORD) == set(ControlRecord.__struct_fields__)
    assert members(STEERING) == set(Steering.__struct_fields__)


@pytest.mark.parametrize(
    ("section", "struct"),
    [(RECORD, Subject), (RECORD, Decision), (STEERING, Rollout), (STEERING, Throttle)],
)
def test_what_stands_within_is_named(section, struct):
    assert all(f"`{name}`" in section for name in struct.__struct_fields__)


def test_types_and_limits_are_those_of_the_code():
    assert f"`{jws.TYPE_DECISION}`" in RECORD
    assert f"{controlrecord.STATEMENT_BYTES_MAX:,}" in RECORD
    assert f"`{jws.TYPE_STEERING}`" in STEERING
    assert f"{steeringdoc.STATEMENT_BYTES_MAX:,}" in STEERING
    assert f"times {controlrecord.NUMBERS_PER_S:,}" in PAGE


def test_settings_and_the_body_of_an_act_are_shown_as_they_are():
    table = PAGE.partition("[adapt]\n")[2].partition("```")[0]
    shown = dict(line.partition("#")[0].split(" = ") for line in table.splitlines())
    assert {name: value.strip() for name, value in shown.items()} == {
        name: str(getattr(AdaptTable(), name)).lower() for name in AdaptTable.__struct_fields__
    }
    body = PAGE.partition("```json")[2].partition("```")[0]
    assert set(re.findall(r'"(\w+)": (?!"chat|"support)', body)) <= set(NewAct.__struct_fields__)
