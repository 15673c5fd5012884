"""W3C trace context: what is continued, and what is begun anew."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.gateway.trace import (
    STATE_CHARS_MAX,
    STATE_ENTRIES_MAX,
    continue_trace,
    parent_sampled,
    state_run,
    state_within,
)

RANDOM = bytes(range(1, 25))
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_valid_header_is_continued_under_an_own_span():
    context = continue_trace(f"00-{TRACE}-{SPAN}-01", RANDOM, True)
    assert (context.trace_id, context.parent_id) == (TRACE, SPAN)
    assert context.span_id == RANDOM[16:24].hex()
    assert context.traceparent() == f"00-{TRACE}-{context.span_id}-01"


def test_flag_of_the_caller_goes_out_although_this_request_is_not_recorded():
    assert continue_trace(f"00-{TRACE}-{SPAN}-01", RANDOM, False).traceparent()[-3:] == "-01"
    assert continue_trace(f"00-{TRACE}-{SPAN}-fe", RANDOM, True).traceparent()[-3:] == "-00"
    assert continue_trace("", RANDOM, True).traceparent()[-3:] == "-01"
    assert continue_trace("", RANDOM, False).traceparent()[-3:] == "-00"


def test_an_agent_is_told_that_its_run_is_recorded():
    for header in ("", f"00-{TRACE}-{SPAN}-00"):
        context = continue_trace(header, RANDOM, False)
        assert context.traceparent(within_run=True)[-3:] == "-01"


@pytest.mark.parametrize(
    ("header", "sampled"),
    [(f"00-{TRACE}-{SPAN}-01", True), (f"00-{TRACE}-{SPAN}-02", False), ("", None)],
)
def test_sampling_flag_of_the_parent_is_its_lowest_bit(header: str, sampled: bool | None):
    assert parent_sampled(header) is sampled


def test_later_version_with_more_fields_is_continued():
    assert continue_trace(f"cc-{TRACE}-{SPAN}-01-more", RANDOM, True).trace_id == TRACE


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        f" 00-{TRACE}-{SPAN}-01",
    ],
)
def test_malformed_header_begins_a_new_trace(header: str):
    context = continue_trace(header, RANDOM, True)
    assert (context.trace_id, context.parent_id) == (RANDOM[:16].hex(), "")


@given(st.text(max_size=80), st.binary(min_size=24, max_size=24), st.booleans())
def test_whatever_comes_in_a_valid_header_goes_out(header: str, random: bytes, sampled: bool):
    context = continue_trace(header, random, sampled)
    again = continue_trace(context.traceparent(), RANDOM, sampled)
    if any(random[:16]) and any(random[16:]):
        assert again.trace_id == context.trace_id
        assert again.parent_id == context.span_id


@pytest.mark.parametrize(
    ("header", "run"),
    [
        ("", ""),
        (f"verismo={SPAN}", SPAN),
        (f"other=1 , verismo={SPAN} ,third=3", SPAN),
        (f"verismo={SPAN},verismo={'1' * 16}", SPAN),
        (f"verismo={'0' * 16}", ""),
        (f"verismo={SPAN.upper()}", ""),
        (f"verismo={SPAN}0", ""),
        (f"Verismo={SPAN}", ""),
        (f"x-verismo={SPAN}", ""),
        ("verismo", ""),
        ("verismo=", ""),
        (",,=,", ""),
    ],
)
def test_state_names_a_run_or_none(header: str, run: str):
    assert state_run(header) == run


def test_our_entry_comes_first_and_takes_the_place_of_an_earlier_one():
    state = state_within(f"a=1, verismo={'1' * 16} ,b=2,", SPAN)
    assert state == f"verismo={SPAN},a=1,b=2"


def test_an_entry_that_no_longer_fits_is_left_out_with_those_after_it():
    state = state_within(f"a=1,b={'x' * STATE_CHARS_MAX},c=3", SPAN)
    assert state == f"verismo={SPAN},a=1"


@given(st.text(max_size=600))
def test_whatever_state_comes_in_ours_goes_out_in_a_header_that_can_be_sent(header: str):
    state = state_within(header, SPAN)
    assert state_run(state) == SPAN
    assert len(state) <= STATE_CHARS_MAX
    assert state.isascii()
    assert state.isprintable()


def test_a_full_tracestate_loses_its_last_entry_for_ours():
    full = ",".join(f"v{number}=1" for number in range(STATE_ENTRIES_MAX))
    state = state_within(full, SPAN).split(",")
    assert (len(state), state[0], state[-1]) == (STATE_ENTRIES_MAX, f"verismo={SPAN}", "v30=1")
