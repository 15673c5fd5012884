"""Dollars to micros, exactly."""

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.config.money import USD_MAX, usd_micros
from verismo.config.source import Findings, Source


def convert(amount: Decimal) -> tuple[int, list[str]]:
    findings = Findings()
    source = Source("x.toml", Path("x.toml"), "", findings)
    return usd_micros(amount, source, ("budget",)), [p.text for p in findings.errors]


@given(st.integers(0, USD_MAX * 1_000_000))
def test_every_whole_number_of_micros_survives(micros):
    assert convert(Decimal(micros).scaleb(-6)) == (micros, [])


@pytest.mark.parametrize("text", ["0.1", "25.50", "1e3", "0.000001", "1000000000"])
def test_decimal_spellings_are_exact(text):
    assert convert(Decimal(text)) == (int(Decimal(text) * 1_000_000), [])


@pytest.mark.parametrize("text", ["-1", "1000000000.000001", "nan", "inf", "-inf", "1e999999"])
def test_amounts_out_of_range_are_refused(text):
    micros, problems = convert(Decimal(text))
    assert micros == 0
    assert "must be from 0" in problems[0]


@pytest.mark.parametrize("text", ["0.0000001", "1.12345678", "1e-999999"])
def test_amounts_below_a_micro_are_refused_not_rounded(text):
    micros, problems = convert(Decimal(text))
    assert micros == 0
    assert "six decimal places" in problems[0]
