"""The names and helps of our metrics as promtool's linter sees them."""

import subprocess

import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.registry import CollectorRegistry

from verismo.adapters.telemetry import TelemetrySettings, WorkerTelemetry
from verismo.control.exposition import merge_expositions
from verismo.ports.telemetry import Answered


class Parsed:
    """Families as a collector, so that they can be written in the classic format too."""

    def __init__(self, text):
        self._families = list(text_string_to_metric_families(text.decode("utf-8")))

    def collect(self):
        return self._families


def lint(text):
    """Write OpenMetrics text in the classic format, which promtool 2.42 reads, and check it."""
    registry = CollectorRegistry()
    registry.register(Parsed(text))
    return subprocess.run(
        ["promtool", "check", "metrics"],
        input=generate_latest(registry),
        capture_output=True,
        check=False,
        timeout=60,
    )


@pytest.mark.external("promtool")
def test_promtool_finds_nothing_wrong():
    telemetry = WorkerTelemetry(TelemetrySettings("s0"), None)
    telemetry.answered(
        Answered(
            "chat", "t", "o", "d", 200, "", "off", "p", "a" * 32, "b" * 16, "", 0, 1.0, 1.0, 1.0
        )
    )
    telemetry.tried("d", "ok")
    telemetry.breaker("d", False)
    telemetry.unidentified("not_found")
    text = telemetry.expose()
    checked = lint(merge_expositions({"s0": text, "s1": text}))
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.external("promtool")
def test_a_counter_with_a_bad_name_is_seen():
    checked = lint(b"# HELP bad_ms x\n# TYPE bad_ms gauge\nbad_ms 1\n# EOF\n")
    assert checked.returncode != 0
