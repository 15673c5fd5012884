"""What reported spans become: hops of known kinds, mere links, or nothing."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.otlp import COMMIT, FACTS, PARENT, SOURCE, SPAN, START_NS, TRACE

from verismo.gateway.reported import UnusableSpan, reported_hop
from verismo.model import semconv
from verismo.model.canonical import MAX_INTEGER
from verismo.model.run import ReportedSource, flaw_of
from verismo.ports.spans import ReceivedSpan

TOLD = ReceivedSpan(TRACE, SPAN, PARENT, START_NS, START_NS + 5_999_999, FACTS, (SOURCE,))


def changed(**changes) -> ReceivedSpan:
    return msgspec.structs.replace(TOLD, **changes)


def with_facts(**facts) -> ReceivedSpan:
    return changed(attrs={**FACTS, **{name.replace("__", "."): one for name, one in facts.items()}})


def test_a_tool_span_is_a_tool_hop_with_its_facts_digest_and_sources():
    hop = reported_hop(TOLD)
    assert (hop.span_id, hop.parent_span, hop.kind) == (SPAN, PARENT, "tool")
    assert hop.attrs == {
        "action": "execute_tool",
        "tool": "search",
        "call_id": "call_1",
        "octets": 12,
    }
    assert (hop.t0_ms, hop.t1_ms) == (START_NS // 1_000_000, START_NS // 1_000_000 + 5)
    assert hop.commit == COMMIT
    assert hop.sources == (ReportedSource("doc:1", "cd" * 32, 3),)


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("chat", "model"),
        ("text_completion", "model"),
        ("generate_content", "model"),
        ("embeddings", "model"),
        ("execute_tool", "tool"),
        ("retrieval", "retrieval"),
        ("invoke_agent", "transform"),
        ("invoke_workflow", "transform"),
        ("create_agent", "transform"),
    ],
)
def test_the_operation_decides_the_kind(action, kind):
    hop = reported_hop(with_facts(gen_ai__operation__name=action))
    assert (hop.kind, hop.passes) == (kind, False)


@pytest.mark.parametrize("action", ["GET /", "", "response", 7, None])
def test_a_span_of_another_kind_is_only_a_link(action):
    facts = {**FACTS, "gen_ai.operation.name": action}
    if action is None:
        del facts["gen_ai.operation.name"]
    hop = reported_hop(changed(attrs=facts))
    assert (hop.passes, hop.attrs, hop.sources, hop.commit) == (True, {}, (), "")
    assert (hop.span_id, hop.parent_span) == (SPAN, PARENT)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"trace_id": "0" * 32}, "malformed"),
        ({"trace_id": TRACE[:-1]}, "malformed"),
        ({"trace_id": TRACE + "\n"}, "malformed"),
        ({"span_id": "0" * 16}, "malformed"),
        ({"span_id": ""}, "malformed"),
        ({"span_id": "g" * 16}, "malformed"),
        ({"parent_span": "short"}, "malformed"),
        ({"parent_span": ""}, "orphan"),
        ({"parent_span": "0" * 16}, "orphan"),
        ({"end_ns": START_NS - 1_000_000}, "bad_time"),
        ({"start_ns": -1}, "bad_time"),
        ({"end_ns": (MAX_INTEGER + 1) * 1_000_000}, "bad_time"),
    ],
)
def test_a_span_that_cannot_stand_anywhere_says_why(changes, reason):
    with pytest.raises(UnusableSpan) as caught:
        reported_hop(changed(**changes))
    assert caught.value.reason == reason


def test_a_forged_digest_is_left_out():
    hop = reported_hop(with_facts(verismo__commit="AB" * 32, verismo__arguments_commit="short"))
    assert hop.commit == ""
    assert "arguments_commit" not in hop.attrs
    assert reported_hop(with_facts(verismo__commit=7)).commit == ""


@pytest.mark.parametrize("count", ["the answer", -1, True, MAX_INTEGER + 1])
def test_a_count_that_is_none_is_left_out(count):
    told = with_facts(verismo__octets=count, gen_ai__usage__input_tokens=count)
    assert reported_hop(told).attrs.keys() == {"action", "tool", "call_id"}


def test_a_name_that_is_no_text_is_left_out():
    assert "tool" not in reported_hop(with_facts(gen_ai__tool__name=7)).attrs


def test_an_error_is_noted_with_its_kind_or_without():
    assert reported_hop(changed(is_failed=True)).attrs["error"] == "failed"
    told = msgspec.structs.replace(with_facts(error__type="LookupError"), is_failed=True)
    assert reported_hop(told).attrs["error"] == "LookupError"


def test_the_newer_name_of_a_provider_counts():
    told = with_facts(gen_ai__system="old", gen_ai__provider__name="new")
    assert reported_hop(told).attrs["provider"] == "new"


def test_a_long_text_is_cut_and_a_lone_surrogate_replaced():
    told = reported_hop(with_facts(gen_ai__tool__name="\ud800" + "x" * 600)).attrs["tool"]
    assert told == "?" + "x" * 511


@pytest.mark.parametrize(
    "source",
    [
        {**SOURCE, "verismo.source.commit": "short"},
        {**SOURCE, "verismo.source.octets": -1},
        {**SOURCE, "verismo.source.octets": True},
        {**SOURCE, "verismo.source.octets": 1 << 60},
        {**SOURCE, "verismo.source.uri": 7},
        {},
    ],
)
def test_a_source_that_proves_nothing_is_left_out(source):
    assert reported_hop(changed(sources=(source,))).sources == ()


@given(
    st.dictionaries(
        st.sampled_from(sorted(semconv.READ_OF_SPANS)),
        st.text() | st.integers() | st.booleans() | st.sampled_from(sorted(semconv.REPORTED_KINDS)),
    ),
    st.booleans(),
)
def test_whatever_is_said_a_hop_is_sound(facts, is_failed):
    hop = reported_hop(changed(attrs=facts, is_failed=is_failed))
    assert flaw_of(hop) is None
