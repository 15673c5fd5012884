"""Metrics of one worker: right numbers, bounded labels, valid text, cheap calls."""

import itertools
import subprocess
import sys
import time
from random import Random

import msgspec
import pytest
from prometheus_client import REGISTRY
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from verismo import __version__
from verismo.adapt.bucketgrid import Wanted, edges_of_bounds, margins_on, reference_of
from verismo.adapters import telemetry_metrics
from verismo.adapters.telemetry import TelemetrySettings, WorkerTelemetry
from verismo.adapters.telemetry_histogram import log_grid
from verismo.adapters.telemetry_labels import OTHER, UNKNOWN_NAMES_MAX
from verismo.adapters.telemetry_metrics import (
    FIRST_BYTE_BOUNDS_S,
    OWN_BOUNDS_S,
    REQUEST_BOUNDS_S,
)
from verismo.model import semconv
from verismo.model.ids import DeploymentId, OperationId, ProviderId, TenantId
from verismo.model.operation import Deployment, Operation
from verismo.model.plan import Plan
from verismo.model.tenant import Tenant
from verismo.ports.telemetry import Answered, Hop, Telemetry

ANSWERED = Answered(
    kind="chat",
    tenant="T1",
    operation="support",
    deployment="d1",
    status=200,
    code="",
    cache="miss",
    prov_id="01890a5d-ac96-774b-bcce-b302099a8057",
    trace_id="0af7651916cd43dd8448eb211c80319c",
    span_id="b7ad6b7169203331",
    parent_id="",
    started_ms=1_800_000_000_000,
    seconds=0.2,
    first_byte_seconds=0.1,
    own_seconds=0.0004,
    input_tokens=30,
    output_tokens=12,
    cost_usd_micros=250,
)


def sample(**changes):
    return msgspec.structs.replace(ANSWERED, **changes)


def plan(tenants=("T1",), operations=("support",), deployments=("d1",)):
    return Plan(
        v=1,
        issuer="test",
        tenants={
            TenantId(t): Tenant(TenantId(t), "eu", ("p",), ("*",), "observe") for t in tenants
        },
        providers={},
        deployments={
            DeploymentId(d): Deployment(DeploymentId(d), ProviderId("p"), "m", "eu")
            for d in deployments
        },
        operations={
            OperationId(o): Operation(OperationId(o), o, "chat", "p", ()) for o in operations
        },
    )


@pytest.fixture
def telemetry():
    return WorkerTelemetry(TelemetrySettings("s0"), Random(1))


def families(telemetry):
    text = telemetry.expose().decode("utf-8")
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(telemetry, name, **labels):
    """Return one sample's value, None if there is no such sample."""
    for family in families(telemetry).values():
        for found in family.samples:
            if found.name == name and labels.items() <= found.labels.items():
                return found.value
    return None


class TestCounting:
    def test_the_adapter_is_the_port(self, telemetry):
        port: Telemetry = telemetry
        port.answered(ANSWERED)

    def test_a_request_is_counted_under_its_labels(self, telemetry):
        telemetry.answered(ANSWERED)
        telemetry.answered(ANSWERED)
        telemetry.answered(sample(status=403, code="policy_refused"))
        labels = {"kind": "chat", "tenant": "T1", "operation": "support"}
        count = "verismo_requests_total"
        assert value(telemetry, count, status="200", code="", **labels) == 2
        assert value(telemetry, count, status="403", code="policy_refused", **labels) == 1

    def test_refusals_do_not_dilute_the_latency_of_answers(self, telemetry):
        telemetry.answered(ANSWERED)
        telemetry.answered(sample(status=429, code="rate_limited", seconds=0.001))
        name = "verismo_request_seconds_count"
        assert value(telemetry, name, outcome="answer") == 1
        assert value(telemetry, name, outcome="error") == 1

    def test_tokens_and_cost_are_summed_by_tenant(self, telemetry):
        telemetry.answered(ANSWERED)
        telemetry.answered(sample(operation="other-one"))
        telemetry.answered(sample(tenant="T2", input_tokens=1, output_tokens=0, cost_usd_micros=7))
        tokens = "verismo_tokens_total"
        assert value(telemetry, tokens, tenant="T1", direction="input") == 60
        assert value(telemetry, tokens, tenant="T1", direction="output") == 24
        assert value(telemetry, tokens, tenant="T2", direction="input") == 1
        assert value(telemetry, "verismo_cost_usd_total", tenant="T1") == pytest.approx(5e-4)
        assert value(telemetry, "verismo_cost_usd_total", tenant="T2") == pytest.approx(7e-6)

    def test_the_states_of_the_cache_are_counted(self, telemetry):
        for state in ("off", "miss", "hit", "hit"):
            telemetry.answered(sample(cache=state))
        assert value(telemetry, "verismo_cache_total", state="hit") == 2
        assert value(telemetry, "verismo_cache_total", state="miss") == 1

    def test_tries_breakers_and_refusals_are_shown(self, telemetry):
        telemetry.tried("d1", "ok")
        telemetry.tried("d1", "upstream_timeout")
        telemetry.tried("d1", "upstream_timeout")
        telemetry.breaker("d1", True)
        telemetry.unidentified("unauthenticated")
        telemetry.in_flight(7)
        tries = "verismo_upstream_tries_total"
        assert value(telemetry, tries, deployment="d1", outcome="ok") == 1
        assert value(telemetry, tries, deployment="d1", outcome="upstream_timeout") == 2
        assert value(telemetry, "verismo_breaker_open", deployment="d1") == 1
        assert value(telemetry, "verismo_unidentified_total", code="unauthenticated") == 1
        assert value(telemetry, "verismo_in_flight") == 7
        telemetry.breaker("d1", False)
        assert value(telemetry, "verismo_breaker_open", deployment="d1") == 0

    def test_runs_are_counted_with_what_they_hold(self, telemetry):
        telemetry.answered(ANSWERED)
        assert value(telemetry, "verismo_runs_total") == 0
        telemetry.answered(sample(run_calls=3, run_hops=2, run_refused=1))
        telemetry.answered(sample(run_calls=0))
        assert value(telemetry, "verismo_runs_total") == 2
        joined = "verismo_run_joined_total"
        found = [value(telemetry, joined, what=what) for what in ("call", "hop", "refused")]
        assert found == [3, 2, 1]
        telemetry.runs_open(4)
        assert value(telemetry, "verismo_runs_open") == 4

    def test_what_alerts_watch_begins_at_zero(self, telemetry):
        telemetry.know(plan())
        for reason in ("seal", "journal", "open_stream", "runs"):
            assert value(telemetry, "verismo_failed_closed_total", reason=reason) == 0
        assert value(telemetry, "verismo_breaker_open", deployment="d1") == 0
        assert value(telemetry, "verismo_upstream_tries_total", deployment="d1", outcome="ok") == 0
        telemetry.failed_closed("journal")
        assert value(telemetry, "verismo_failed_closed_total", reason="journal") == 1

    def test_build_and_process_are_described(self, telemetry):
        labels = {"version": __version__, "semconv": semconv.VERSION}
        assert value(telemetry, "verismo_build_info", **labels) == 1
        assert value(telemetry, "process_resident_memory_bytes") > 1_000_000

    def test_nothing_of_ours_is_in_the_global_registry(self, telemetry):
        telemetry.answered(ANSWERED)
        assert not [m.name for m in REGISTRY.collect() if m.name.startswith("verismo")]


class TestHistograms:
    @pytest.mark.parametrize(
        ("bounds", "factor"),
        [(REQUEST_BOUNDS_S, 1.3 ** (1 / 3)), (FIRST_BYTE_BOUNDS_S, 1.3), (OWN_BOUNDS_S, 1.3)],
    )
    def test_the_grid_rises_by_a_constant_factor(self, bounds, factor):
        ratios = [high / low for low, high in itertools.pairwise(bounds)]
        assert max(ratios) < factor**1.5
        assert min(ratios) > factor**0.5

    def test_two_gateways_can_be_compared_by_the_times_of_whole_requests(self):
        bounds_us = [round(bound * 1e6) for bound in REQUEST_BOUNDS_S]
        edges = edges_of_bounds(bounds_us)
        for p95 in (edges[30], edges[60]):
            found = margins_on(
                edges, bounds_us, reference_of(p95, p95 + 50), Wanted(50_000, 200_000)
            )
            assert found.tolerance_least_ppm < found.harm_most_ppm <= 200_000

    def test_the_grids_span_what_they_are_for(self):
        assert (REQUEST_BOUNDS_S[0], REQUEST_BOUNDS_S[-1]) == (0.005, 60.0)
        assert (FIRST_BYTE_BOUNDS_S[0], FIRST_BYTE_BOUNDS_S[-1]) == (0.005, 60.0)
        assert (OWN_BOUNDS_S[0], OWN_BOUNDS_S[-1]) == (0.0001, 1.0)
        assert log_grid(1.0, 8.0, 2.0) == (1.0, 2.0, 4.0, 8.0)

    def test_a_bound_belongs_to_the_bucket_below(self, telemetry):
        bound = REQUEST_BOUNDS_S[3]
        telemetry.answered(sample(seconds=bound))
        telemetry.answered(sample(seconds=bound * 1.0001))
        buckets = {
            found.labels["le"]: found.value
            for found in families(telemetry)["verismo_request_seconds"].samples
            if found.name.endswith("_bucket")
        }
        assert buckets[str(REQUEST_BOUNDS_S[2])] == 0
        assert buckets[str(bound)] == 1
        assert buckets["+Inf"] == 2

    def test_what_is_over_the_last_bound_is_counted(self, telemetry):
        telemetry.answered(sample(seconds=1e6))
        assert value(telemetry, "verismo_request_seconds_bucket", le="60.0") == 0
        assert value(telemetry, "verismo_request_seconds_bucket", le="+Inf") == 1
        assert value(telemetry, "verismo_request_seconds_sum") == 1e6

    def test_each_time_has_its_histogram(self, telemetry):
        telemetry.answered(ANSWERED)
        assert value(telemetry, "verismo_request_seconds_sum") == 0.2
        assert value(telemetry, "verismo_first_byte_seconds_sum") == 0.1
        assert value(telemetry, "verismo_own_seconds_sum", kind="chat") == 0.0004


class TestExemplars:
    @staticmethod
    def exemplars(telemetry):
        found = families(telemetry)["verismo_request_seconds"].samples
        return [entry.exemplar for entry in found if entry.exemplar is not None]

    def test_an_exemplar_leads_to_one_request(self, telemetry):
        telemetry.answered(ANSWERED)
        [exemplar] = self.exemplars(telemetry)
        assert exemplar.labels == {"trace_id": ANSWERED.trace_id, "prov_id": ANSWERED.prov_id}
        assert exemplar.value == 0.2
        assert float(exemplar.timestamp) == pytest.approx(1_800_000_000.2)
        assert sum(len(key) + len(text) for key, text in exemplar.labels.items()) <= 128

    def test_a_bucket_takes_a_new_exemplar_at_most_once_a_second(self, telemetry):
        for offset_ms, prov_id in ((0, "a"), (999, "b"), (1_000, "c"), (1_500, "d")):
            moment = ANSWERED.started_ms + offset_ms
            telemetry.answered(sample(prov_id=prov_id, started_ms=moment))
        assert [e.labels["prov_id"] for e in self.exemplars(telemetry)] == ["c"]

    def test_a_slow_request_gets_its_exemplar_in_a_crowd_of_fast_ones(self, telemetry):
        for index in range(100):
            telemetry.answered(sample(prov_id=f"fast-{index}", seconds=0.01))
        telemetry.answered(sample(prov_id="slow", seconds=30.0))
        assert [e.labels["prov_id"] for e in self.exemplars(telemetry)] == ["fast-0", "slow"]


class TestLabels:
    @pytest.mark.slow
    def test_unknown_names_past_the_limit_share_one_label(self, telemetry):
        for index in range(UNKNOWN_NAMES_MAX + 50):
            telemetry.answered(sample(operation=f"sha256:{index}"))
        found = families(telemetry)["verismo_requests"].samples
        assert len(found) == UNKNOWN_NAMES_MAX + 1
        assert value(telemetry, "verismo_requests_total", operation=OTHER) == 50

    @pytest.mark.slow
    def test_a_client_cannot_crowd_out_a_configured_name(self, telemetry):
        for index in range(UNKNOWN_NAMES_MAX + 1):
            telemetry.answered(sample(operation=f"junk-{index}"))
        telemetry.answered(ANSWERED)
        assert value(telemetry, "verismo_requests_total", operation="support") is None
        telemetry.know(plan())
        telemetry.answered(ANSWERED)
        assert value(telemetry, "verismo_requests_total", operation="support") == 1

    def test_a_long_name_is_no_label(self, telemetry):
        telemetry.answered(sample(operation="x" * 129))
        assert value(telemetry, "verismo_requests_total", operation=OTHER) == 1

    def test_half_a_surrogate_pair_does_not_break_the_scrape(self, telemetry):
        telemetry.answered(sample(operation="\ud800"))
        assert value(telemetry, "verismo_requests_total", operation=OTHER) == 1

    def test_series_are_bounded_whatever_is_combined(self, telemetry, monkeypatch):
        monkeypatch.setattr(telemetry_metrics, "SERIES_MAX", 10)
        monkeypatch.setattr(telemetry_metrics, "MEMO_MAX", 5)
        for tenant in range(8):
            for operation in range(8):
                telemetry.answered(sample(tenant=f"t{tenant}", operation=f"o{operation}"))
        found = families(telemetry)["verismo_requests"].samples
        assert len(found) == 11
        assert sum(entry.value for entry in found) == 64

    def test_quotes_and_ends_of_lines_cannot_forge_a_sample(self, telemetry):
        name = 'x"} 1\nverismo_failed_closed_total{reason="seal"} 99\n\\'
        telemetry.answered(sample(operation=name))
        assert value(telemetry, "verismo_requests_total", operation=name) == 1
        assert value(telemetry, "verismo_failed_closed_total", reason="seal") == 0


class TestWithoutTraces:
    def test_nothing_is_traced(self, telemetry):
        assert not any(telemetry.samples_trace(parent) for parent in (None, True, False))
        telemetry.answered(sample(hops=(Hop("policy", 0, 1, {}),)))
        telemetry.close()

    @pytest.mark.slow
    def test_opentelemetry_is_not_even_imported(self):
        code = (
            "import sys; from random import Random;"
            "from verismo.adapters.telemetry import TelemetrySettings, WorkerTelemetry;"
            "WorkerTelemetry(TelemetrySettings('s0'), Random()).expose();"
            "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.gettrace() is not None, reason="a tracer multiplies what is measured")
def test_counting_a_request_costs_less_than_5_us(telemetry):
    """The best of several rounds, in the CPU time of this thread: other load does not count."""
    telemetry.know(plan())
    requests = [sample(started_ms=ANSWERED.started_ms + index) for index in range(5_000)]
    rounds = []
    for _ in range(7):
        began = time.thread_time()
        for request in requests:
            telemetry.answered(request)
        rounds.append((time.thread_time() - began) / len(requests))
    assert min(rounds) < 5e-6
