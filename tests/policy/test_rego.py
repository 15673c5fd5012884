"""What the policy may rely on: the language and every builtin of the profile.

Each case is an expression or a module and the value that the OPA documentation gives it ("Policy
Language", "Policy Reference"). Where the OPA library is importable (`opa_bindings`, from the
package opa-golib-python-bindings), the same table is put to OPA itself.
"""

import json

import pytest

from verismo.adapters.policy_bundle import BundleFile
from verismo.adapters.policy_profile import ALLOWED_BUILTINS, VOLATILE_NAMESPACES, check
from verismo.adapters.policy_regorus import Interpreter, PolicyFault

UNDEFINED = object()
ERROR = object()

INPUT = {
    "n": 3,
    "list": [1, 2, 3],
    "names": ["a", "b"],
    "map": {"k": "v"},
    "no": False,
    "nil": None,
}

LANGUAGE = [
    ("x := 1 if input.n == 3", 1),
    ("x := 1 if input.n == 4", UNDEFINED),
    ("x := 1 if input.missing", UNDEFINED),
    ("x := 1 if input.no", UNDEFINED),
    ("x := 1 if input.nil == null", 1),
    ("x := 1 if not input.missing", 1),
    ("x := 1 if not input.missing == true", 1),
    ("x := 1 if not input.no", 1),
    ("x if input.n > 2", True),
    ("default x := false\nx if input.missing", False),
    ("default x := false\nx if input.n", True),
    ("x := 1 if { input.missing } else := 2 if { input.no } else := 3", 3),
    ("x := 1 if { true } else := 2", 1),
    ("x := 1 if input.n == 3\nx := 1 if input.no == false", 1),
    ("x := 1 if input.n == 3\nx := 2 if input.no == false", ERROR),
    ("x contains 1\nx contains 2 if input.n\nx contains 3 if input.missing", [1, 2]),
    ("x contains 1 if input.missing", []),
    ("x contains 1\nx contains 1", [1]),
    ('x["a"] := 1\nx["b"] := 2 if input.n', {"a": 1, "b": 2}),
    ("x contains v if some v in input.list", [1, 2, 3]),
    ("x contains [i, v] if some i, v in input.names", [[0, "a"], [1, "b"]]),
    ("x := {k: v | some k, v in input.map}", {"k": "v"}),
    ("x := [w | some v in input.list; v > 1; w := v * 2]", [4, 6]),
    ("x := {v | some v in [1, 1, 2]}", [1, 2]),
    ("x := {v | some v in input.missing}", []),
    ("x := count({v | some v in input.list; v > 5})", 0),
    ("x if every v in input.list { v > 0 }", True),
    ("x if every v in input.list { v > 1 }", UNDEFINED),
    ("x if every v in [] { v > 1 }", True),
    ("x if 2 in input.list", True),
    ("x if 9 in input.list", UNDEFINED),
    ("x if not 9 in input.list", True),
    ("x if 9 in input.missing", UNDEFINED),
    ('x if "v" in input.map', True),
    ('x if "k", "v" in input.map', True),
    ('x if "a" in {"a", "b"}', True),
    ("x := input.list[_] if input.names[_] == `c`", UNDEFINED),
    ("x := input.list[1]", 2),
    ("x := input.list[9]", UNDEFINED),
    ('p := "k"\nx := input.map[p]', "v"),
    ("x := {1, 2} | {2, 3}", [1, 2, 3]),
    ("x := {1, 2} & {2, 3}", [2]),
    ("x := {1, 2} - {2, 3}", [1]),
    ("x if {1, 2} == {2, 1}", True),
    ("x if set() == {v | some v in []}", True),
    ('x if {"a": {"c"}} == {"a": {"c"}}', True),
    ("y := input.n\nx := y if { true } else := 0", 3),
    ("y := input.n\nx := v if { v := y with input as {`n`: 7} }", 7),
    ("x := v if { v := input.n with input.n as 8 }", 8),
    ("x := v if { v := data.fake with data.fake as [1] }", [1]),
    ("f(a) := a + 1\nx := f(2)", 3),
    ("f(a) := 1 if a > 0\nf(a) := 2 if a <= 0\nx := [f(1), f(0)]", [1, 2]),
    ("f(a) := 1 if a > 9\nx := f(1)", UNDEFINED),
    ("f(a) := 1 if a > 9\nx if not f(1)", True),
    ('f("a") := 1\nf("b") := 2\nx := f("b")', 2),
    ("default f(_) := 0\nf(a) := 1 if a > 9\nx := f(1)", 0),
    ("x := b if { [_, b] := input.names }", "b"),
    ("x := v if { [_, v] = input.names }", "b"),
    ("x := 7 % 4 + 2 * 3", 9),
    ("x := 1 / 2", 0.5),
    ("x if 1 == 1.0", True),
    ('x if "a" < "b"', True),
    ("x if 1 < `a`", True),
    ("x.y.z := 1", {"y": {"z": 1}}),
    ("x := y if { y := 1; y != 2 }", 1),
    ("x := `raw\\n`", "raw\\n"),
]

BUILTINS = [
    ("abs(-2)", 2),
    ("ceil(1.2)", 2),
    ("floor(1.8)", 1),
    ("round(1.6)", 2),
    ("count([1, 2])", 2),
    ('count({"a": 1})', 1),
    ('count("abc")', 3),
    ("max([1, 3, 2])", 3),
    ("min({3, 1})", 1),
    ("product([2, 3])", 6),
    ("sort([2, 1])", [1, 2]),
    ("sum([2, 3])", 5),
    ('concat(",", ["a", "b"])', "a,b"),
    ('contains("abc", "b")', True),
    ('endswith("abc", "bc")', True),
    ("format_int(10, 16)", "a"),
    ('indexof("abc", "c")', 2),
    ('indexof("abc", "x")', -1),
    ('indexof_n("aba", "a")', [0, 2]),
    ('lower("AB")', "ab"),
    ('replace("aba", "a", "c")', "cbc"),
    ('split("a.b", ".")', ["a", "b"]),
    ('sprintf("%v %s %d", ["a", "b", 1])', "a b 1"),
    ('sprintf("%v", [["a", {"b": 1}]])', '["a", {"b": 1}]'),
    ('startswith("abc", "ab")', True),
    ('startswith("abc", "")', True),
    ('substring("abc", 1, -1)', "bc"),
    ('trim("xax", "x")', "a"),
    ('trim_left("xax", "x")', "ax"),
    ('trim_prefix("xax", "xa")', "x"),
    ('trim_right("xax", "x")', "xa"),
    ('trim_space(" a ")', "a"),
    ('trim_suffix("a**", "*")', "a*"),
    ('upper("ab")', "AB"),
    ("is_array([])", True),
    ("is_boolean(false)", True),
    ("is_null(null)", True),
    ("is_number(1)", True),
    ("is_object({})", True),
    ("is_set(set())", True),
    ('is_string("")', True),
    ("type_name(null)", "null"),
    ('to_number("1.5")', 1.5),
    ("intersection({{1, 2}, {2, 3}})", [2]),
    ("union({{1}, {2}})", [1, 2]),
    ("array.concat([1], [2])", [1, 2]),
    ("array.reverse([1, 2])", [2, 1]),
    ("array.slice([1, 2, 3], 1, 2)", [2]),
    ('base64.decode("YQ==")', "a"),
    ('base64.encode("a")', "YQ=="),
    ('base64.is_valid("YQ==")', True),
    ('glob.match("*.example.com", ["."], "api.example.com")', True),
    ('glob.match("*.example.com", ["."], "a.b.example.com")', False),
    ('hex.decode("61")', "a"),
    ('hex.encode("a")', "61"),
    ('json.is_valid("{}")', True),
    ('json.marshal({"a": [1]})', '{"a":[1]}'),
    ('json.unmarshal("[1]")', [1]),
    ('net.cidr_contains("10.0.0.0/8", "10.1.2.3")', True),
    ("numbers.range(1, 3)", [1, 2, 3]),
    ('object.filter({"a": 1, "b": 2}, ["a"])', {"a": 1}),
    ('object.get({"a": 1}, "b", 9)', 9),
    ('object.get({"a": {"b": 1}}, ["a", "b"], 9)', 1),
    ('object.keys({"a": 1})', ["a"]),
    ('object.remove({"a": 1, "b": 2}, {"a"})', {"b": 2}),
    ('object.subset({"a": 1, "b": 2}, {"a": 1})', True),
    ('object.union({"a": 1}, {"a": 2, "b": 3})', {"a": 2, "b": 3}),
    ('object.union_n([{"a": 1}, {"b": 2}])', {"a": 1, "b": 2}),
    ('regex.is_valid("[")', False),
    ('regex.match("^a+$", "aa")', True),
    ('regex.match("^a+$", "ab")', False),
    ('regex.replace("abc", "b", "x")', "axc"),
    ('regex.split(",", "a,b")', ["a", "b"]),
    ('semver.compare("1.2.0", "1.10.0")', -1),
    ('semver.is_valid("1.2")', False),
    ('strings.any_prefix_match("abc", ["x", "ab"])', True),
    ('strings.any_suffix_match("abc", ["x", "bc"])', True),
    ('strings.count("abab", "ab")', 2),
    ('strings.replace_n({"a": "x"}, "aba")', "xbx"),
    ('strings.reverse("abc")', "cba"),
    ("time.clock(0)", [0, 0, 0]),
    ("time.date(0)", [1970, 1, 1]),
    ("time.weekday(0)", "Thursday"),
    ('time.parse_rfc3339_ns("1970-01-01T00:00:01Z")', 1_000_000_000),
    ("time.now_ns() > 0", True),
    ('rand.intn("a", 1)', 0),
    ('count(uuid.rfc4122("a"))', 36),
]

DIFFERENCES = [
    ("x if not 9 in input.missing", True, UNDEFINED),
    ("x if not count(input.missing)", True, UNDEFINED),
    ("x if not data.verismo.missing[input.missing]", True, UNDEFINED),
]
"""Rule, our value, OPA's: under `not`, OPA evaluates operands that are missing outside of it. So a
policy for both names the inner condition as a rule of its own and negates that."""

CASES = LANGUAGE + [(f"x := {expression}", value) for expression, value in BUILTINS]
IDS = [rule.replace("\n", "; ") for rule, _ in CASES]


def regorus_value(rule: str):
    interpreter = Interpreter()
    try:
        interpreter.load([BundleFile("a.rego", f"package verismo.a\n{rule}\n".encode())])
        results = json.loads(interpreter.query("data.verismo.a.x", json.dumps(INPUT).encode()))
    except PolicyFault:
        return ERROR
    return results["result"][0]["expressions"][0]["value"] if results else UNDEFINED


@pytest.mark.parametrize(("rule", "value"), CASES, ids=IDS)
def test_value_is_the_documented_one(rule, value):
    assert regorus_value(rule) == value


def opa_value(rule: str):
    bindings = pytest.importorskip("opa_bindings", reason="the OPA library is not installed")
    with bindings.OpaEngine() as engine:
        try:
            engine.add_policy("a.rego", f"package verismo.a\n{rule}\n")
            return engine.eval_document("verismo.a.x", INPUT)
        except bindings.OpaUndefinedError:
            return UNDEFINED
        except bindings.OpaError:
            return ERROR


@pytest.mark.parametrize(("rule", "value"), CASES, ids=IDS)
def test_opa_agrees(rule, value):
    assert opa_value(rule) == value


@pytest.mark.parametrize(("rule", "ours", "opas"), DIFFERENCES)
def test_known_differences_from_opa_are_as_written(rule, ours, opas):
    assert regorus_value(rule) == ours
    assert opa_value(rule) == opas


@pytest.mark.parametrize("missing", ["9 in input.missing", "count(input.missing) == 0"])
def test_negating_a_named_condition_agrees_with_opa(missing):
    rule = f"inner if {missing}\nx if not inner"
    assert regorus_value(rule) is True
    assert opa_value(rule) is True


def test_every_builtin_of_the_profile_has_a_case():
    interpreter = Interpreter()
    text = "package verismo.a\n" + "".join(
        f"x{number} := {expression}\n" for number, (expression, _) in enumerate(BUILTINS)
    )
    modules = interpreter.load([BundleFile("a.rego", text.encode())])
    called = {name for rule in modules[0].rules for name, _ in rule.calls}
    assert called == ALLOWED_BUILTINS
    assert check(modules) == []


@pytest.mark.parametrize(
    "name",
    [
        "http.send",
        "opa.runtime",
        "io.jwt.decode",
        "crypto.sha256",
        "net.lookup_ip_addr",
        "print",
        "trace",
        "input",
    ],
)
def test_builtins_outside_the_profile_are_found_with_their_line(name):
    text = f"package verismo.a\n\nx := y if {{\n  true\n  y := {name}(1)\n}}\n"
    modules = Interpreter().load([BundleFile("a.rego", text.encode())])
    assert [str(finding) for finding in check(modules)] == [
        f"a.rego:5: builtin `{name}` is not in the Rego profile of Verismo"
    ]


def test_volatile_namespaces_cover_the_builtins_that_vary():
    varying = {"time.now_ns", "rand.intn", "uuid.rfc4122", "http.send", "opa.runtime"}
    assert {name.partition(".")[0] for name in varying} == VOLATILE_NAMESPACES
