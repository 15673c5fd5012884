"""Lines of key paths, compared with tomllib's tree and with hand-counted files."""

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from verismo.config.locate import Lines

TEXT = '''\
# a comment with [brackets] and key = 1
top = 1
dotted.a.b = "x" # trailing ]

[table]
text = """
fake = 1
[fake]
"""
single = \'\'\'
[also.fake]\'\'\'
list = [
  1, # one ]
  "two, ]",
  [3, 33],
]
inline = { a = 1, "b c" = { d = "}" } }
after = 1979-05-27 07:32:00

[table."quoted.key".'literal']
x = "a \\" ] b"

[[array]]
n = 1

[[array]]
n = 2
[array.sub]
m = 3
'''


def test_lines_of_a_file_with_every_kind_of_value():
    lines = Lines(TEXT)
    expected = {
        ("top",): 2,
        ("dotted",): 3,
        ("dotted", "a", "b"): 3,
        ("table",): 5,
        ("table", "text"): 6,
        ("table", "single"): 10,
        ("table", "list"): 12,
        ("table", "list", 0): 13,
        ("table", "list", 1): 14,
        ("table", "list", 2): 15,
        ("table", "list", 2, 1): 15,
        ("table", "inline", "b c", "d"): 17,
        ("table", "after"): 18,
        ("table", "quoted.key", "literal"): 20,
        ("table", "quoted.key", "literal", "x"): 21,
        ("array", 0, "n"): 24,
        ("array", 1): 26,
        ("array", 1, "n"): 27,
        ("array", 1, "sub", "m"): 29,
    }
    assert {path: lines.of(path) for path in expected} == expected


def test_a_missing_key_has_the_line_of_its_parent():
    lines = Lines(TEXT)
    assert lines.of(("table", "absent", "deeper")) == 5
    assert lines.of(("absent",)) == 1
    assert lines.of(()) == 1


def test_quotes_at_the_end_of_a_long_string_belong_to_it():
    lines = Lines('a = """x"""""\nb = 1\n')
    assert lines.of(("b",)) == 2


def test_escaped_keys_are_found_by_their_meaning():
    assert Lines('\n"a\\u0062c" = 1').of(("abc",)) == 2


KEYS = st.text("ab-_1", min_size=1, max_size=3) | st.text(min_size=1, max_size=4)
TEXTS = st.text(max_size=12)
SCALARS = st.integers() | st.booleans() | st.floats(allow_nan=False) | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


def spell_text(text: str, *, is_long: bool = False) -> str:
    escaped = "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08X}" for c in text)
    return f'"""\n{escaped}"""' if is_long else f'"{escaped}"'


def spell(value: object, breaks: bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return spell_text(value, is_long=breaks)
    if isinstance(value, list):
        gap = "\n # ] }\n" if breaks else " "
        return "[" + gap + f",{gap}".join(spell(v, breaks) for v in value) + gap + "]"
    if isinstance(value, dict):
        pairs = (f"{spell_text(k)} = {spell(v, breaks=False)}" for k, v in value.items())
        return "{ " + ", ".join(pairs) + " }"
    return repr(value)


def paths(value: object, prefix: tuple[str | int, ...] = ()):
    yield prefix
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for key, item in items:
        yield from paths(item, (*prefix, key))


ENCODABLE = st.dictionaries(KEYS, VALUES, max_size=4).filter(lambda tree: _is_encodable(repr(tree)))


def _is_encodable(text: str) -> bool:
    return not any(0xD800 <= ord(c) < 0xE000 for c in text) and "\\ud" not in text


@given(ENCODABLE, st.booleans(), st.integers(0, 3))
def test_every_value_of_any_file_is_found_on_a_line_of_its_own_statement(tree, breaks, blank):
    """Each top-level key starts where it was written; what is inside lies within its statement."""
    text = ""
    spans = {}
    for key, value in tree.items():
        text += "\n" * blank + "# = [ {\n"
        start = text.count("\n") + 1
        text += f"{spell_text(key)} = {spell(value, breaks)}\n"
        spans[key] = (start, text.count("\n"))
    assert tomllib.loads(text) == tree
    lines = Lines(text)
    for path in paths(tree):
        if path:
            first, last = spans[path[0]]
            assert first <= lines.of(path) <= last
            assert path in lines._lines
    for key, (first, _) in spans.items():
        assert lines.of((key,)) == first
