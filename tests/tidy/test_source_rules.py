"""Every rule of tidiness holds in every file, save where allow.toml says why not."""

import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pytest
from tests.tidy import conduct_rules, shape_rules
from tests.tidy.source import Source, sources

Rule = Callable[[Source], Iterator[str]]

ALLOWED = tomllib.loads((Path(__file__).parent / "allow.toml").read_text(encoding="utf-8"))["allow"]
SOURCE_RULES: tuple[Rule, ...] = (*shape_rules.RULES, *conduct_rules.SOURCE_RULES)
TEST_RULES: tuple[Rule, ...] = conduct_rules.TEST_RULES
CODE = sources("src")
TESTS = sources("tests")
TOOLS = sources("bench", "scripts", "vectors")
TOOL_RULES: tuple[Rule, ...] = (
    shape_rules.module_length,
    shape_rules.body_length,
    shape_rules.banned_names,
    conduct_rules.unfinished,
)


def named(rules: tuple[Rule, ...]) -> list[str]:
    return [rule.__name__ for rule in rules]


def broken(rule: Rule, files: list[Source]) -> list[str]:
    """Return what breaks a rule, without what allow.toml allows."""
    allowed = {entry["path"] for entry in ALLOWED if entry["rule"] == rule.__name__}
    return [
        finding
        for source in files
        if source.path.as_posix() not in allowed
        for finding in rule(source)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("rule", SOURCE_RULES, ids=named(SOURCE_RULES))
def test_the_package_keeps(rule):
    assert broken(rule, CODE) == []


@pytest.mark.slow
@pytest.mark.parametrize("rule", TEST_RULES, ids=named(TEST_RULES))
def test_the_tests_keep(rule):
    assert broken(rule, TESTS) == []


@pytest.mark.slow
@pytest.mark.parametrize("rule", TOOL_RULES, ids=named(TOOL_RULES))
def test_benchmarks_scripts_and_generators_keep(rule):
    assert broken(rule, TOOLS) == []


def test_the_package_is_looked_at():
    assert len(CODE) > 100
    assert len(TESTS) > 30


def test_test_modules_have_names_of_their_own():
    names = [one.path.name for one in TESTS if one.path.name.startswith("test_")]
    assert len(set(names)) == len(names), "pytest imports them by their base name"


@pytest.mark.parametrize("entry", ALLOWED, ids=lambda entry: f"{entry['rule']}-{entry['path']}")
def test_every_exception_is_still_needed_and_has_a_reason(entry):
    rules = {rule.__name__: rule for rule in (*SOURCE_RULES, *TEST_RULES, *TOOL_RULES)}
    path = PurePosixPath(entry["path"])
    source = next(one for one in (*CODE, *TESTS, *TOOLS) if one.path == path)
    assert list(rules[entry["rule"]](source))
    assert entry["reason"].endswith(".")


def test_no_reason_carries_a_module_over_the_hard_limit():
    limit = shape_rules.MODULE_LINES_MAX
    long = [one.path for one in (*CODE, *TOOLS) if len(one.text.splitlines()) > limit]
    assert long == []
