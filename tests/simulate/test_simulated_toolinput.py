"""Values that fit a tool's schema."""

import msgspec
import pytest

from verismo.simulate.toolinput import Schema, value_for

DIGEST = bytes(range(32))


def value(text: str):
    return value_for(msgspec.json.decode(text, type=Schema), DIGEST)


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ('{"type":"string"}', str),
        ('{"type":"integer"}', int),
        ('{"type":"number"}', float),
        ('{"type":"boolean"}', bool),
        ('{"type":"null"}', type(None)),
        ('{"type":["integer","null"]}', int),
        ('{"type":[]}', type(None)),
        ('{"type":"array","items":{"type":"integer"}}', list),
        ('{"type":"object"}', dict),
        ("{}", str),
    ],
)
def test_a_value_has_the_type_of_its_schema(schema, kind):
    assert type(value(schema)) is kind


def test_an_object_has_every_property():
    schema = '{"properties":{"city":{"type":"string"},"days":{"type":"integer"},"any":true}}'
    assert value(schema) == {"city": "simulated-01", "days": 1, "any": "simulated"}


def test_a_choice_comes_from_the_enum_and_a_constant_is_kept():
    assert value('{"enum":["a",2,null]}') in ("a", 2, None)
    assert value('{"const":{"k":[1.5]}}') == {"k": [1.5]}


@pytest.mark.parametrize("keyword", ["anyOf", "oneOf"])
def test_the_first_alternative_is_taken(keyword):
    assert type(value(f'{{"{keyword}":[{{"type":"integer"}},{{"type":"string"}}]}}')) is int


def test_a_hostile_schema_nested_deeply_gives_a_shallow_value():
    text = '{"type":"array","items":' * 60 + "{}" + "}" * 60
    assert value(text) == [[[[[[[[[]]]]]]]]]
    text = '{"properties":{"a":' * 60 + "{}" + "}}" * 60
    assert msgspec.json.encode(value(text)).count(b"{") == 9
