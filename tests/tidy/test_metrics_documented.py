"""docs/metrics.md lists every metric with its type, labels and meaning, and nothing else."""

from random import Random

import msgspec
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tests.tidy.source import ROOT

from verismo.adapters.telemetry import TelemetrySettings, WorkerTelemetry
from verismo.adapters.telemetry_adapt import adapt_lines
from verismo.adapters.telemetry_archive import archive_lines
from verismo.adapters.telemetry_canary import RolloutFigures, canary_lines
from verismo.adapters.telemetry_cards import card_lines
from verismo.adapters.telemetry_keys import key_lines
from verismo.adapters.telemetry_ledger import ledger_lines
from verismo.adapters.telemetry_readiness import readiness_lines
from verismo.adapters.telemetry_scaling import TargetFigures, scaling_lines
from verismo.adapters.telemetry_siem import SinkFigures, siem_lines
from verismo.adapters.telemetry_slo import ObjectiveFigures, slo_lines
from verismo.adapters.telemetry_witness import witness_lines
from verismo.control.exposition import merge_expositions
from verismo.model.ledger import LogId
from verismo.ports.telemetry import Answered

PAGE = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
SUFFIXES = {"counter": "_total", "info": "_info"}


class Metric(msgspec.Struct, frozen=True, order=True):
    """A row of the page's table."""

    name: str
    type: str
    labels: tuple[str, ...]
    meaning: str


def exposed():
    """Return every metric of a worker that has counted one of each kind of thing."""
    telemetry = WorkerTelemetry(TelemetrySettings("s0"), Random(1))
    telemetry.answered(
        Answered(
            "chat", "t", "o", "d", 200, "", "off", "p", "a" * 32, "b" * 16, "", 0, 1.0, 1.0, 1.0
        )
    )
    telemetry.tried("d", "ok")
    telemetry.breaker("d", False)
    telemetry.unidentified("not_found")
    eu = LogId("eu", 2026)
    ledger = ledger_lines({eu: 1}, {eu: 1.0}, 0.0, {"state": 0})
    archive = archive_lines({eu: 0}, 0)
    witness = witness_lines({eu: 1}, {eu: 0.0}, {"alice": 1.0}, {"alice": {"split": 0}})
    siem = siem_lines([SinkFigures("main", True, 1, 0, 0, 0.0, 0, 1_000_000, 1.0)])
    keys = key_lines({"token": 1_000})
    scaling = scaling_lines([TargetFigures("reader", 3, "NOOP", "within_bands", 0, 0)])
    slo = slo_lines([ObjectiveFigures("support", "errors", 1, 1, 0, {"5m": 0})])
    parts = [*keys, *ledger, *archive, *witness, *siem, *scaling, *slo, *card_lines(1, 0, 0)]
    route = ("t", "o", "new")
    parts += canary_lines([RolloutFigures(route, "HOLD", 1, 1, 1, 1, {"p95": 1}, {"p95": 1})])
    parts += adapt_lines({("canary", "HOLD"): 1}, 1, 0.0, 0)
    parts += readiness_lines({"s0": True})
    control = "".join([*parts, "# EOF\n"]).encode()
    text = merge_expositions({"s0": telemetry.expose(), "control": control}).decode("utf-8")
    found = []
    for family in text_string_to_metric_families(text):
        name = family.name + SUFFIXES.get(family.type, "")
        labels = {key for sample in family.samples for key in sample.labels}
        if family.name != "verismo_worker_up":
            labels -= {"worker"}
        found.append(
            Metric(name, family.type, tuple(sorted(labels - {"le"})), family.documentation)
        )
    return sorted(found)


def documented(page):
    """Return the rows of the page's first table."""
    rows = []
    for line in page.splitlines():
        if line.startswith(("| `verismo_", "| `process_")):
            name, kind, labels, meaning = (cell.strip() for cell in line.split("|")[1:-1])
            names = tuple(sorted(part.strip(" `") for part in labels.split(",") if part))
            rows.append(Metric(name.strip("`"), kind, names, meaning))
    return sorted(rows)


def test_the_page_lists_exactly_the_metrics_that_are_exposed():
    assert documented(PAGE) == exposed()


@pytest.mark.parametrize(
    ("there", "instead"),
    [
        ("| `verismo_in_flight` |", "| `verismo_inflight` |"),
        ("`tenant`, `direction`", "`tenant`"),
        ("| `verismo_breaker_open` | gauge", "| `verismo_breaker_open` | counter"),
    ],
)
def test_a_row_that_is_wrong_is_seen(there, instead):
    assert there in PAGE
    assert documented(PAGE.replace(there, instead)) != exposed()


def test_every_label_is_explained():
    explained = PAGE.partition("## Labels")[2].partition("\n## ")[0]
    labels = {label for metric in exposed() for label in metric.labels}
    assert [
        label
        for label in sorted(labels - {"version", "semconv", "deployment"})
        if f"`{label}`" not in explained
    ] == []
