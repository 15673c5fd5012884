"""Merging of expositions: what goes in comes out, labelled, and stays OpenMetrics."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from verismo.adapters.telemetry import TelemetrySettings, WorkerTelemetry
from verismo.control.exposition import OPENMETRICS_MEDIA, merge_expositions
from verismo.ports.telemetry import Answered


def answered(**changes):
    fields = {
        "kind": "chat",
        "tenant": "T1",
        "operation": "op",
        "deployment": "d",
        "status": 200,
        "code": "",
        "cache": "off",
        "prov_id": "018f0000-0000-7000-8000-000000000000",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "span_id": "b7ad6b7169203331",
        "parent_id": "",
        "started_ms": 1_800_000_000_000,
        "seconds": 0.2,
        "first_byte_seconds": 0.1,
        "own_seconds": 0.0004,
    }
    return Answered(**{**fields, **changes})


def worker(*samples):
    telemetry = WorkerTelemetry(TelemetrySettings("s0"), Random(1))
    for sample in samples:
        telemetry.answered(sample)
    return telemetry.expose()


def parsed(text):
    return {f.name: f for f in text_string_to_metric_families(text.decode("utf-8"))}


def samples(text):
    return [
        (sample.name, tuple(sorted(sample.labels.items())), sample.value, sample.exemplar)
        for family in parsed(text).values()
        for sample in family.samples
    ]


def test_every_sample_of_every_worker_is_there_once_with_its_worker():
    texts = {"s0": worker(answered()), "s1": worker(answered(tenant="T2", seconds=3.0))}
    merged = samples(merge_expositions(texts))
    for slot, text in texts.items():
        mine = [
            (name, tuple(p for p in labels if p[0] != "worker"), value, exemplar)
            for name, labels, value, exemplar in merged
            if ("worker", slot) in labels and name != "verismo_worker_up"
        ]
        assert sorted(mine, key=repr) == sorted(samples(text), key=repr)
    assert len(merged) == 2 + sum(len(samples(text)) for text in texts.values())


def test_exemplars_survive():
    merged = parsed(merge_expositions({"s0": worker(answered())}))
    exemplars = [s.exemplar for s in merged["verismo_request_seconds"].samples if s.exemplar]
    assert [e.labels["trace_id"] for e in exemplars] == ["0af7651916cd43dd8448eb211c80319c"]


def test_each_family_is_described_once_and_contiguous():
    text = merge_expositions({f"s{i}": worker(answered()) for i in range(3)}).decode()
    heads = [line for line in text.split("\n") if line.startswith("# TYPE")]
    assert len(heads) == len(set(heads))
    assert text.count("# EOF") == 1
    assert text.endswith("\n# EOF\n")
    order = [line.split("{")[0].split(" ")[0] for line in text.split("\n")]
    firsts = [name for i, name in enumerate(order) if name == "verismo_in_flight" and i]
    start = order.index("verismo_in_flight")
    assert order[start : start + 3] == firsts


@pytest.mark.parametrize("text", [b"", b"# TYPE a counter\na_total 1\n", b"junk", b"# EOF"])
def test_a_worker_without_a_whole_text_is_down_and_adds_nothing(text):
    merged = merge_expositions({"s0": worker(answered()), "s1": text})
    assert b'verismo_worker_up{worker="s0"} 1\n' in merged
    assert b'verismo_worker_up{worker="s1"} 0\n' in merged
    assert merged.count(b"s1") == 1
    parsed(merged)


def test_no_worker_at_all_is_valid():
    assert set(parsed(merge_expositions({}))) == {"verismo_worker_up"}


def test_a_family_that_only_a_later_worker_has_keeps_its_description():
    extra = b"# HELP extra Only here.\n# TYPE extra gauge\nextra 7\n# EOF\n"
    family = parsed(merge_expositions({"s0": worker(), "s1": extra}))["extra"]
    assert (family.type, family.documentation) == ("gauge", "Only here.")
    assert [(s.labels, s.value) for s in family.samples] == [({"worker": "s1"}, 7.0)]


def test_empty_braces_take_the_label():
    text = b"# HELP a x\n# TYPE a gauge\na{} 1\n# EOF\n"
    assert b'a{worker="s0"} 1\n' in merge_expositions({"s0": text})


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=20), min_size=1, max_size=4))
def test_any_label_value_survives_writing_merging_and_parsing(names):
    text = worker(*(answered(operation=name) for name in names))
    merged = parsed(merge_expositions({"s0": text}))["verismo_requests"]
    found = {sample.labels["operation"] for sample in merged.samples}
    assert found == set(names)


def test_the_media_type_is_that_of_openmetrics_1():
    assert OPENMETRICS_MEDIA == "application/openmetrics-text; version=1.0.0; charset=utf-8"
