"""What hops say in a few words: exact numbers, the right name, nothing that a terminal obeys."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verismo.attest.provenance import Node
from verismo.attest.provwords import (
    facts,
    has_failed,
    marks,
    plain,
    spell_ms,
    spell_usd,
    title,
    word,
)


def node(kind="model", took_ms=0, **attrs):
    return Node(v=1, kind=kind, inputs=(), attrs=attrs, t0=5, t1=5 + took_ms)


@pytest.mark.parametrize(
    ("duration_ms", "spelled"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1_000, "1.00 s"),
        (59_999, "59.99 s"),
        (60_000, "1 min 00 s"),
        (3_599_999, "59 min 59 s"),
        (3_660_000, "1 h 01 min"),
        (-1_500, "-1.50 s"),
    ],
)
def test_durations_have_the_unit_that_fits(duration_ms, spelled):
    assert spell_ms(duration_ms) == spelled


@pytest.mark.parametrize(
    ("micros", "spelled"),
    [
        (0, "$0.00"),
        (1, "$0.000001"),
        (9_400, "$0.0094"),
        (1_500_000, "$1.50"),
        (-20_000, "-$0.02"),
        (1_234_000_000, "$1,234.00"),
    ],
)
def test_money_keeps_every_digit(micros, spelled):
    assert spell_usd(micros) == spelled


@settings(deadline=None)
@given(st.integers(-(10**15), 10**15))
def test_money_can_be_read_back_exactly(micros):
    spelled = spell_usd(micros).replace("$", "").replace(",", "")
    dollars, _, rest = spelled.partition(".")
    sign = -1 if spelled.startswith("-") else 1
    assert sign * (abs(int(dollars)) * 1_000_000 + int(rest.ljust(6, "0"))) == micros


@pytest.mark.parametrize(
    ("hop", "wanted"),
    [
        (node("request", method="POST", path="/v1/x"), "POST /v1/x"),
        (node("response", status=403, code="policy_refused"), "403 policy_refused"),
        (node("response", status=499, end="client_gone"), "499 client_gone"),
        (node("policy", decision="allow", bundle="1f"), "allow"),
        (node("policy", decision="deny", reasons="residency model"), "deny: residency model"),
        (node("budget", reserved_usd_micros=12_000), "reserved $0.012"),
        (node("cache", state="hit"), "hit"),
        (node("route", arm="baseline", candidates=2), "baseline, 2 to choose from"),
        (node("route", candidates=2), "2 to choose from"),
        (
            node("route", arm="candidate", candidates=2, assigned="new", weight_ppm=52_500),
            "candidate of a rollout at 5.25 %, 2 to choose from",
        ),
        (node("model", model="gpt-4o", answered_by="gpt-4o-2024"), "gpt-4o-2024"),
        (node("model", model="small"), "small"),
        (node("tool", tool="look_up", deployment="mcp"), "look_up"),
        (node("tool", referenced=True, prov_id="01a0"), "call 01a0, not joined for its size"),
        (node("retrieval", data_source="handbook"), "handbook"),
        (node("tool", deployment="orders"), "orders"),
        (node("tool", agent="desk", reported=True), "desk"),
        (node("source", uri="docs/a.md"), "docs/a.md"),
        (node("transform", gathers=64), "gathers 64"),
        (node("transform", **{"from": "anthropic", "to": "openai"}), "anthropic to openai"),
        (node("transform", agent="planner"), "planner"),
        (node("approval", by="a person"), "a person"),
        (node("retrieval"), ""),
        (node("budget"), ""),
    ],
    ids=lambda one: one.kind if isinstance(one, Node) else one,
)
def test_a_title_names_what_the_hop_is_about(hop, wanted):
    assert title(hop) == wanted


def test_facts_are_time_money_tokens_and_trouble_in_this_order():
    hop = node(took_ms=310, cost_usd_micros=5, input_tokens=1_200, output_tokens=3, error="late")
    assert facts(hop) == ("310 ms", "$0.000005", "1,200 in, 3 out", "late")
    assert facts(node("source", octets=4_812)) == ("4,812 octets",)
    assert facts(node("response", hops_refused=3, status=200)) == ("3 hops refused",)
    assert facts(node("tool", status=503)) == ("status 503",)
    assert facts(node(output_tokens=7)) == ("0 in, 7 out",)


def test_true_is_no_number_and_no_cost():
    assert facts(node(cost_usd_micros=True, input_tokens=True, octets="12")) == ()


def test_a_hop_that_took_no_time_does_not_say_so():
    assert facts(node()) == ()


@pytest.mark.parametrize(
    ("hop", "seen"),
    [
        (node(status=200), ()),
        (node(status=400), ("failed",)),
        (node(error="upstream_timeout"), ("failed",)),
        (node("policy", decision="deny"), ("failed",)),
        (node(reported=True), ("reported",)),
        (node(reported=True, error="x"), ("reported", "failed")),
        (node(reported="yes"), ()),
    ],
    ids=str,
)
def test_what_was_reported_and_what_failed_is_marked(hop, seen):
    assert marks(hop) == seen
    assert has_failed(hop) == ("failed" in seen)


@pytest.mark.parametrize("attack", ["\x1b[2J", "a\u202egnp.exe", "\x00", "line\nline", "\u2028"])
def test_terminal_and_bidi_controls_do_not_pass(attack):
    spelled = title(node("source", uri=attack)) + word({"error": attack}, "error")
    assert spelled.isprintable()
    assert "?" in spelled


@settings(deadline=None)
@given(st.text())
def test_printable_text_passes_unchanged_and_the_rest_keeps_its_length(text):
    assert plain(text).isprintable()
    assert len(plain(text)) == len(text)
    assert plain(plain(text)) == plain(text)
