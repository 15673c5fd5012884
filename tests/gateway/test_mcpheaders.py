"""Headers that repeat a message: the same, or refused. Examples are those of the specification."""

import base64
import json
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.mcpserver import headers_of, message

from verismo.gateway.mcpheaders import check_headers, forwarded
from verismo.gateway.mcpmessage import McpCall, read_call
from verismo.model.errors import HeaderMismatch

TRACE = "0af7651916cd43dd8448eb211c80319c"


def call_of(body: dict) -> McpCall:
    return read_call(json.dumps(body).encode())


def tool_call(arguments: dict | None = None, name: str = "search") -> dict:
    return message("tools/call", name=name, arguments=arguments or {})


def checked(body: dict, declared: dict[str, str] | None = None, **headers: str | None) -> None:
    check_headers(call_of(body), headers_of(body, **headers), declared or {})


def wrapped(text: str) -> str:
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


@pytest.mark.parametrize(
    "body",
    [
        tool_call(),
        message("tools/list"),
        message("resources/read", uri="docs://index"),
        message("prompts/get", name="summarise"),
    ],
)
def test_headers_that_say_what_the_body_says_pass(body):
    checked(body)


@pytest.mark.parametrize("name", ["mcp_protocol_version", "mcp_method", "mcp_name"])
def test_a_missing_header_is_refused(name):
    with pytest.raises(HeaderMismatch, match="is missing"):
        checked(tool_call(), **{name: None})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mcp_protocol_version", "2025-11-25"),
        ("mcp_method", "tools/list"),
        ("mcp_method", "Tools/call"),
        ("mcp_name", "delete_page"),
        ("mcp_name", "search "),
        ("mcp_name", "Search"),
        ("mcp_name", "s\u00e9arch"),
        ("mcp_name", "search\x00"),
        ("mcp_name", "=?base64?!?="),
        ("mcp_name", "=?base64?/w==?="),
        ("mcp_name", "=?BASE64?c2VhcmNo?="),
        ("mcp_name", "=?base64?c2VhcmNo"),
        ("mcp_name", wrapped("delete_page")),
    ],
)
def test_smuggling_by_a_header_that_says_something_else_is_refused(name, value):
    with pytest.raises(HeaderMismatch):
        checked(tool_call(), **{name: value})


def test_a_name_header_where_no_name_belongs_is_refused():
    with pytest.raises(HeaderMismatch, match="is not for"):
        checked(message("tools/list"), mcp_name="delete_page")


@pytest.mark.parametrize("uri", ["docs://\u4e16\u754c", " padded ", "a\nb", "=?base64?literal?="])
def test_what_no_header_can_carry_is_wrapped_in_base64(uri):
    checked(message("resources/read", uri=uri), mcp_name=wrapped(uri))
    with pytest.raises(HeaderMismatch):
        checked(message("resources/read", uri=uri + "x"), mcp_name=wrapped(uri))


def test_base64_with_bits_that_a_decoder_drops_is_refused():
    assert base64.b64decode("YR==") == base64.b64decode("YQ==")
    checked(tool_call(name="a"), mcp_name="=?base64?YQ==?=")
    with pytest.raises(HeaderMismatch, match="one spelling"):
        checked(tool_call(name="a"), mcp_name="=?base64?YR==?=")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("us-west1", "us-west1"),
        ("Hello, \u4e16\u754c", "=?base64?SGVsbG8sIOS4lueVjA==?="),
        (" padded ", "=?base64?IHBhZGRlZCA=?="),
        ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
        ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ("", ""),
        (42, "42"),
        (42, "42.0"),
        (-7, "-7"),
        (42.0, "42"),
        (True, "true"),
        (False, "false"),
    ],
)
def test_a_parameter_header_with_the_argument_s_value_passes(value, text):
    body = tool_call({"region": value})
    checked(body, {"Region": "region"}, mcp_param_region=text)
    checked(body, mcp_param_region=text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("eu", "us"),
        ("1", "2"),
        (1, "2"),
        (1, "1.5"),
        (1, "true"),
        (True, "1"),
        (True, "True"),
        (10, "1e1"),
        (["eu"], "eu"),
        ({"a": 1}, '{"a": 1}'),
        (None, "null"),
        (None, ""),
    ],
)
def test_smuggling_by_a_parameter_header_is_refused(value, text):
    body = tool_call({"region": value})
    for declared in ({"Region": "region"}, {}):
        with pytest.raises(HeaderMismatch):
            checked(body, declared, mcp_param_region=text)


def test_a_declared_header_must_stand_for_its_own_argument():
    body = tool_call({"region": "eu", "comment": "us"})
    checked(body, mcp_param_region="us")  # undeclared: some argument says it
    with pytest.raises(HeaderMismatch):
        checked(body, {"Region": "region"}, mcp_param_region="us")


def test_a_declared_header_is_there_where_its_argument_is():
    with pytest.raises(HeaderMismatch, match="is missing"):
        checked(tool_call({"region": "eu"}), {"Region": "region"})
    for arguments in ({}, {"region": None}, {"region": ["eu"]}, {"region": {"a": "eu"}}):
        checked(tool_call(arguments), {"Region": "region"})
        with pytest.raises(HeaderMismatch):
            checked(tool_call(arguments), {"Region": "region"}, mcp_param_region="eu")


def test_a_declared_argument_may_lie_deeper():
    declared = {"Region": "where.region"}
    checked(tool_call({"where": {"region": "eu"}}), declared, mcp_param_region="eu")
    checked(tool_call({"where": "eu"}), declared)
    with pytest.raises(HeaderMismatch):
        checked(tool_call({"where": {"region": "eu"}}), declared, mcp_param_region="us")


class Walked(dict):
    """Arguments that count how often somebody goes through them."""

    times = 0

    def values(self):
        self.times += 1
        return super().values()


def test_exhaustion_by_many_headers_is_no_more_than_one_walk_through_the_arguments():
    arguments = Walked({str(number): number for number in range(50)})
    call = msgspec.structs.replace(call_of(tool_call()), arguments=arguments)
    many = {f"mcp-param-{number}": f"{number}.0" for number in range(50)}
    check_headers(call, headers_of(tool_call()) | many, {})
    assert arguments.times == 1


def traceparent(trace: str = TRACE, span: str = "00f067aa0ba902b7") -> str:
    return f"00-{trace}-{span}-01"


def test_a_trace_may_stand_in_one_place_or_in_both():
    inner = message("tools/list", meta={"traceparent": traceparent()})
    checked(inner)
    checked(inner, traceparent=traceparent())
    checked(inner, traceparent=traceparent(span="1" * 16))
    checked(message("tools/list"), traceparent=traceparent())


def test_smuggling_by_two_traces_is_refused():
    inner = message("tools/list", meta={"traceparent": traceparent()})
    with pytest.raises(HeaderMismatch, match="one trace"):
        checked(inner, traceparent=traceparent(trace="1" * 32))


@pytest.mark.parametrize("broken", ["", "x", traceparent()[:-1], traceparent("0" * 32)])
def test_a_trace_that_is_none_counts_as_none(broken):
    checked(message("tools/list", meta={"traceparent": broken}), traceparent=traceparent())
    inner = message("tools/list", meta={"traceparent": traceparent()})
    checked(inner, traceparent=broken)


def test_only_headers_of_the_protocol_go_on():
    headers = headers_of(tool_call(), mcp_session_id="s", mcp_param_a="1", authorization="secret")
    assert forwarded(headers) == (
        ("mcp-method", "tools/call"),
        ("mcp-name", "search"),
        ("mcp-param-a", "1"),
        ("mcp-protocol-version", "2026-07-28"),
    )


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_value_in_base64_stands_for_itself_alone(value, other):
    body = tool_call({"a": value})
    checked(body, {"A": "a"}, mcp_param_a=wrapped(value))
    if other != value:
        with pytest.raises(HeaderMismatch):
            checked(body, {"A": "a"}, mcp_param_a=wrapped(other))


@given(st.text(alphabet=st.characters(codec="latin-1"), max_size=12))
def test_any_header_passes_or_is_refused(value):
    with suppress(HeaderMismatch):
        checked(tool_call({"a": value}, name=value), mcp_param_a=value, mcp_name=value)
        assert value.isascii()
