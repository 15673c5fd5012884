"""The strict JSON reader: the meaning of `json.loads`, and splices that keep every other byte."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.gateway.jsonbody import parse_object
from verismo.model.errors import DuplicateMember, MalformedRequest

TEXTS = st.text(max_size=12)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=6)
SPACES = st.text(alphabet=" \t\n\r", max_size=3)


@st.composite
def spelled(draw: st.DrawFn) -> tuple[dict, str]:
    """An object and one of the many ways to write it."""
    members = draw(OBJECTS)
    separators = (draw(SPACES) + "," + draw(SPACES), draw(SPACES) + ":" + draw(SPACES))
    text = json.dumps(members, ensure_ascii=draw(st.booleans()), separators=separators)
    inner = draw(SPACES) + text[1:-1] + draw(SPACES) if members else draw(SPACES)
    return members, draw(SPACES) + "{" + inner + "}" + draw(SPACES)


@pytest.mark.slow
@given(spelled())
def test_reads_what_json_loads_reads(pair: tuple[dict, str]):
    _, text = pair
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return  # half a surrogate pair cannot be sent
    body = parse_object(data)
    assert body.members == json.loads(text)
    for name, (start, end) in body.spans.items():
        assert json.loads(body.text[start:end]) == body.members[name]
    assert body.text[body.end] == "}"


@pytest.mark.slow
@given(spelled(), st.dictionaries(TEXTS, st.sampled_from(['"x"', "1", "{}", "null"]), max_size=3))
def test_splice_changes_the_named_members_and_no_other_byte(pair: tuple[dict, str], new: dict):
    _, text = pair
    try:
        body = parse_object(text.encode())
        spliced = body.spliced(new).decode()
    except UnicodeEncodeError:
        return
    wanted = {**json.loads(text), **{name: json.loads(value) for name, value in new.items()}}
    assert json.loads(spliced) == wanted
    again = parse_object(spliced.encode())
    for name, (start, end) in body.spans.items():
        if name not in new:
            begin, stop = again.spans[name]
            assert again.text[begin:stop] == body.text[start:end]
    if not new:
        assert spliced == text
    kept = [text[body.spans[name][1] :] for name in list(body.spans)[-1:] if name not in new]
    if kept and set(new) <= set(body.spans):
        assert spliced.endswith(kept[0])


@given(st.binary(max_size=60))
def test_any_octets_are_an_object_or_refused(data: bytes):
    try:
        body = parse_object(data)
    except (MalformedRequest, DuplicateMember):
        return
    assert body.members == json.loads(data)


@given(st.text(alphabet='{}[]":,\\ea1. \n', max_size=40))
def test_whatever_json_loads_refuses_is_refused(text: str):
    try:
        wanted = json.loads(text)
    except (ValueError, RecursionError):
        with pytest.raises(MalformedRequest):
            parse_object(text.encode())
        return
    if not isinstance(wanted, dict):
        with pytest.raises(MalformedRequest):
            parse_object(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":1}',
        '{"a":1,"\\u0061":2}',
        '{"b":{"a":1,"a":2}}',
        '{"b":[[{"a":1,"c":0,"a":2}]]}',
    ],
)
def test_duplicate_member_is_refused_at_every_depth(text: str):
    with pytest.raises(DuplicateMember, match="'a' stands twice"):
        parse_object(text.encode())


def test_name_of_a_duplicate_member_is_shown_cut():
    name = "x" * 500
    with pytest.raises(DuplicateMember) as caught:
        parse_object(json.dumps({name: 1})[:-1].encode() + f', "{name}":2}}'.encode())
    assert len(caught.value.detail) < 150


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_constants_that_are_not_json_are_refused(constant: str):
    with pytest.raises(MalformedRequest, match="not JSON"):
        parse_object(f'{{"a":{constant}}}'.encode())


def test_deep_nesting_is_refused_without_a_crash():
    with pytest.raises(MalformedRequest, match="nested too deeply"):
        parse_object(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}")


def test_integer_of_thousands_of_digits_is_refused():
    with pytest.raises(MalformedRequest, match="too long"):
        parse_object(b'{"a":' + b"9" * 5_000 + b"}")


def test_huge_float_is_infinite_as_json_loads_has_it_and_its_text_is_kept():
    body = parse_object(b'{"a":1e999,"model":"x"}')
    assert math.isinf(body.members["a"])  # type: ignore[arg-type]
    assert body.spliced({"model": '"y"'}) == b'{"a":1e999,"model":"y"}'


def test_member_of_the_wrong_type_is_named():
    body = parse_object(b'{"model":[],"stream":0}')
    with pytest.raises(MalformedRequest, match="`model` must be a string"):
        body.string("model")
    with pytest.raises(MalformedRequest, match="`stream` must be true or false"):
        body.flag("stream")
    assert body.string("missing") is None
    assert body.flag("missing") is False


def test_escaped_name_is_the_member_that_it_spells():
    body = parse_object(b'{"mod\\u0065l" : "a", "z":1}')
    assert body.string("model") == "a"
    assert body.spliced({"model": '"b"'}) == b'{"mod\\u0065l" : "b", "z":1}'
