"""The Rego profile: what a policy may use, checked on its syntax tree before it decides anything.

The embedded interpreter lacks some of OPA's builtins, ends the process on a function that calls
itself, and takes exponential time to parse deep nesting. The profile refuses all three early, with
file and line. OPA refuses recursion too, so a policy within the profile also runs there.
"""

import re
from collections.abc import Iterator, Sequence
from graphlib import CycleError, TopologicalSorter

import msgspec

NESTING_MAX = 12
"""Parsing doubles in time with each level; 12 levels take 0.1 s, 20 would take half a minute."""

PACKAGE_ROOT = "data.verismo"

_PROFILE = {
    "": "abs ceil floor round count max min product sort sum concat contains endswith format_int"
    " indexof indexof_n lower replace split sprintf startswith substring trim trim_left"
    " trim_prefix trim_right trim_space trim_suffix upper is_array is_boolean is_null is_number"
    " is_object is_set is_string type_name to_number intersection union",
    "array": "concat reverse slice",
    "base64": "decode encode is_valid",
    "glob": "match",
    "hex": "decode encode",
    "json": "is_valid marshal unmarshal",
    "net": "cidr_contains",
    "numbers": "range",
    "object": "filter get keys remove subset union union_n",
    "rand": "intn",
    "regex": "is_valid match replace split",
    "semver": "compare is_valid",
    "strings": "any_prefix_match any_suffix_match count replace_n reverse",
    "time": "clock date now_ns parse_rfc3339_ns weekday",
    "uuid": "rfc4122",
}

ALLOWED_BUILTINS = frozenset(
    f"{namespace}.{name}".removeprefix(".")
    for namespace, names in _PROFILE.items()
    for name in names.split()
)
"""What the embedded interpreter and OPA answer alike; tests/policy has a case for each."""

VOLATILE_NAMESPACES = frozenset({"http", "opa", "rand", "time", "uuid"})
"""Builtins whose answer may differ for the same input: a policy that uses one is not memoised."""

_TOKEN = re.compile(r'"(?:\\.|[^"\\\n])*"|`[^`]*`|#[^\n]*|[\[\](){}]|\n')


class Finding(msgspec.Struct, frozen=True, order=True):
    """Something that the profile refuses.

    Args:
        file: path within the bundle.
        line: from 1.
        message: what it is and what to do.
    """

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class Rule(msgspec.Struct, frozen=True):
    """One definition of a rule or function.

    Args:
        path: absolute, such as `data.verismo.gateway.allow`.
        name: the last part of the path as written in the file.
        file, line: where it begins.
        is_function: whether it takes arguments.
        refs: absolute paths and builtins' names that its text mentions.
        calls: the same for what it calls, with the line of each call.
    """

    path: str
    name: str
    file: str
    line: int
    is_function: bool
    refs: frozenset[str]
    calls: tuple[tuple[str, int], ...]


class Module(msgspec.Struct, frozen=True):
    """One parsed file: its package as an absolute path, and its rules."""

    file: str
    package: str
    rules: tuple[Rule, ...]


def nesting_finding(file: str, text: str) -> Finding | None:
    """Return a finding if brackets nest too deeply to be parsed in good time."""
    depth, line = 0, 1
    for token in _TOKEN.findall(text):
        if token in {"[", "{", "("}:
            depth += 1
        elif token in {"]", "}", ")"}:
            depth -= 1
        if depth > NESTING_MAX:
            message = f"brackets nest deeper than {NESTING_MAX}; name the inner parts as rules"
            return Finding(file, line, message)
        line += token.count("\n")
    return None


def read_modules(tree: str) -> tuple[Module, ...]:
    """Turn the interpreter's syntax tree (JSON) into modules with resolved names."""
    entries = [_dict(entry) for entry in _list(msgspec.json.decode(tree))]
    defined: dict[str, set[str]] = {}
    for entry in entries:
        rules = _list(_dict(entry["ast"])["rules"])
        defined.setdefault(_package(entry), set()).update(_defined(rule) for rule in rules)
    return tuple(_module(entry, frozenset(defined[_package(entry)])) for entry in entries)


def check(modules: Sequence[Module]) -> list[Finding]:
    """Return everything in the modules that the profile refuses, sorted by place."""
    rules = [rule for module in modules for rule in module.rules]
    defined = {rule.path for rule in rules}
    findings = [
        Finding(rule.file, line, f"builtin `{name}` is not in the Rego profile of Verismo")
        for rule in rules
        for name, line in rule.calls
        if name not in defined and name not in ALLOWED_BUILTINS
    ]
    findings += [
        Finding(module.file, 1, f"package {module.package[5:]} lies outside the root `verismo`")
        for module in modules
        if not f"{module.package}.".startswith(f"{PACKAGE_ROOT}.")
    ]
    return sorted(set(findings + recursion_findings(modules)))


def recursion_findings(modules: Sequence[Module]) -> list[Finding]:
    """Return the first function that reaches itself through functions.

    A cycle that runs through a plain rule is refused by the interpreter itself, so only functions
    are followed here.
    """
    functions = {r.path: r for module in modules for r in module.rules if r.is_function}
    graph: dict[str, set[str]] = {path: set() for path in functions}
    for module in modules:
        for rule in module.rules:
            if rule.is_function:
                graph[rule.path] |= rule.refs & functions.keys()
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        cycle = [str(path) for path in error.args[1]]
        rule = functions[cycle[0]]
        names = " -> ".join(path.removeprefix("data.") for path in cycle)
        return [Finding(rule.file, rule.line, f"a function may not reach itself: {names}")]
    return []


def is_volatile(modules: Sequence[Module]) -> bool:
    """Say whether the same input may get different verdicts. Errs on the side of yes."""
    return any(
        ref.partition(".")[0] in VOLATILE_NAMESPACES
        for module in modules
        for rule in module.rules
        for ref in rule.refs
    )


def _package(entry: dict[str, object]) -> str:
    return "data." + _dotted(_dict(_dict(entry["ast"])["package"])["refr"])


def _module(entry: dict[str, object], local: frozenset[str]) -> Module:
    """Read one file; `local` are the names that its package defines, in whichever file."""
    source, tree = _dict(entry["source"]), _dict(entry["ast"])
    file, text = str(source["file"]), str(source["contents"]).encode()
    package = _package(entry)
    aliases: dict[str, str] = {}
    for item in _list(tree["imports"]):
        target, alias = _dotted(_dict(item)["refr"]), _dict(item).get("as")
        name = target.rpartition(".")[2]
        if isinstance(alias, dict):
            name = text[alias["start"] : alias["end"]].decode(errors="replace")
        aliases[name] = target
    names = _Names(package, aliases, local)
    rules = tuple(_rule(item, file, names) for item in _list(tree["rules"]))
    return Module(file, package, rules)


class _Names(msgspec.Struct, frozen=True):
    package: str
    aliases: dict[str, str]
    local: frozenset[str]

    def resolve(self, dotted: str) -> str:
        first, dot, rest = dotted.partition(".")
        if first in self.aliases:
            return self.aliases[first] + dot + rest
        if first in self.local:
            return f"{self.package}.{dotted}"
        return dotted


def _rule(item: object, file: str, names: _Names) -> Rule:
    kind, outer = next(iter(_dict(item).items()))
    body = _dict(outer)
    is_default = kind == "Default"
    shape, head = ("", body) if is_default else next(iter(_dict(body["head"]).items()))
    dotted = _dotted(_dict(head)["refr"])
    inner = {key: value for key, value in _dict(head).items() if key != "refr"}
    nodes = list(_nodes([inner, body.get("bodies")]))
    calls = [_dict(node["Call"]) for node in nodes if "Call" in node]
    references = [node for node in nodes if not _REFERENCE.isdisjoint(node)]
    return Rule(
        path=f"{names.package}.{dotted}",
        name=dotted.rpartition(".")[2],
        file=file,
        line=_line(body),
        is_function=shape == "Func" or (is_default and bool(body["args"])),
        refs=frozenset(names.resolve(_dotted(node)) for node in references),
        calls=tuple((names.resolve(_dotted(call["fcn"])), _line(call)) for call in calls),
    )


def _defined(item: object) -> str:
    """Return the first part of the name that a rule defines."""
    kind, body = next(iter(_dict(item).items()))
    head = body if kind == "Default" else next(iter(_dict(_dict(body)["head"]).values()))
    return _dotted(_dict(head)["refr"]).partition(".")[0]


_REFERENCE = frozenset({"Var", "RefDot", "RefBrack"})


def _nodes(value: object) -> Iterator[dict[str, object]]:
    stack = [value]
    while stack:
        top = stack.pop()
        if isinstance(top, dict):
            yield top
            stack.extend(top.values())
        elif isinstance(top, list):
            stack.extend(top)


def _dotted(node: object) -> str:
    """Return a reference as dotted text, up to its first part that is not a constant."""
    parts: list[str] = []
    while True:
        kind, body = next(iter(_dict(node).items()))
        inner = _dict(body)
        if kind == "Var":
            return ".".join([str(inner["value"]), *reversed(parts)])
        if kind == "RefDot":
            parts.append(str(_list(inner["field"])[1]))
        elif kind == "RefBrack":
            index = _dict(inner["index"])
            if "String" in index:
                parts.append(str(_dict(index["String"])["value"]))
            else:
                parts.clear()
        else:
            return ""
        node = inner["refr"]


def _line(node: dict[str, object]) -> int:
    line = _dict(node["span"])["line"]
    return line if isinstance(line, int) else 1


def _dict(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise TypeError("the interpreter's syntax tree has another form than expected")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError("the interpreter's syntax tree has another form than expected")
    return value
