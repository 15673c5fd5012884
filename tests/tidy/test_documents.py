"""The documents name only what exists: functions, commands, options, links, paths and tests."""

import ast
import pkgutil
import re
from pathlib import PurePosixPath

import pytest
from tests.tidy import prose
from tests.tidy.source import ROOT

STEP = re.compile(r"(?m)^ *(?:(\d+) )?([a-z][a-z ]*?) +-> ([a-z_.]+(?:\.[A-Za-z_]+)+)")
NAMED_TEST = re.compile(r"(tests/[\w/]+\.py)(?:::(\w+))?")
OWN_PATH = re.compile(r"(?:src|docs|tests|bench|vectors|requirements|scripts|policy)/[\w./-]*\w")
ARCHITECTURE = prose.read(PurePosixPath("ARCHITECTURE.md"))
WRITTEN = [path for path in prose.documents() if path.name != "cli.md"]


def found(dotted: str) -> bool:
    """Whether a dotted name below the package can be imported, its last parts as attributes."""
    try:
        pkgutil.resolve_name(f"verismo.{dotted}")
    except (ImportError, AttributeError):
        return False
    return True


@pytest.mark.parametrize("step", STEP.findall(ARCHITECTURE), ids=lambda step: step[2])
def test_every_step_names_something_that_can_be_imported(step):
    assert found(step[2]), f"{step[1]}: {step[2]}"


def test_the_steps_are_the_twelve_of_the_pipeline_in_their_order():
    folder = ROOT / "src/verismo/gateway"
    # The desk holds what a worker has one of; the pipeline knows the order.
    pipeline = "".join((folder / name).read_text("utf-8") for name in ("pipeline.py", "desk.py"))
    docstring = ast.get_docstring(ast.parse(pipeline)) or ""
    wanted = re.findall(r"(\d+) ([a-z]+(?: up)?)\b", docstring.split("Whatever")[0])
    numbered = [(number, name) for number, name, _ in STEP.findall(ARCHITECTURE) if number]
    assert [number for number, _ in wanted] == [str(number) for number in range(1, 13)]
    assert numbered == wanted


def test_the_pipeline_uses_what_the_steps_name():
    folder = ROOT / "src/verismo/gateway"
    # The desk holds what a worker has one of; the pipeline knows the order.
    pipeline = "".join((folder / name).read_text("utf-8") for name in ("pipeline.py", "desk.py"))
    for number, name, dotted in STEP.findall(ARCHITECTURE):
        if number and name != "receive":
            module = dotted.split(".")[:2]
            assert f"from verismo.{'.'.join(module)} import" in pipeline, dotted


@pytest.mark.parametrize(
    "dotted", ["gateway.pipeline.Pipeline.no_such_step", "no_such_package.step"]
)
def test_a_step_that_is_gone_is_seen(dotted):
    assert not found(dotted)


@pytest.mark.parametrize("path", WRITTEN, ids=str)
def test_a_document_names_only_commands_that_exist(path):
    assert prose.call_faults(prose.read(path)) == []


@pytest.mark.parametrize("path", WRITTEN, ids=str)
def test_links_lead_somewhere(path):
    faults = [prose.link_fault(path, target) for target in prose.links(prose.read(path))]
    assert [fault for fault in faults if fault] == []


@pytest.mark.parametrize("path", WRITTEN, ids=str)
def test_a_document_names_only_paths_and_tests_that_exist(path):
    missing = []
    for span in prose.spans(prose.read(path)):
        if OWN_PATH.fullmatch(span) and not (ROOT / span).exists():
            missing.append(span)
        for name, test in NAMED_TEST.findall(span):
            file = ROOT / name
            if not file.is_file() or (test and f"def {test}(" not in file.read_text("utf-8")):
                missing.append(span)
    assert missing == []


def imported(block: str) -> list[str]:
    """Return what a Python block imports from the package, below its root."""
    return [
        f"{node.module}.{alias.name}".removeprefix("verismo.")
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("verismo.")
        for alias in node.names
    ]


@pytest.mark.parametrize("path", WRITTEN, ids=str)
def test_python_in_a_document_parses_and_imports_what_exists(path):
    pieces = [block for language, block in prose.blocks(prose.read(path)) if language == "python"]
    names = [name for block in pieces for name in imported(block)]
    assert [name for name in names if not found(name)] == []


@pytest.mark.parametrize(
    "text",
    [
        "```sh\nverismo no-such-command\n```",
        "```console\n$ VERISMO_PORT=1 verismo serve --no-such-option | head\n```",
        "Run `verismo policy test|no-such-command`.",
        "Run `verismo apikey create TENANT_001`.",
        "```sh\nmake no-such-target\n```",
        "```sh\npython -m verismo verify \\\n  --no-such-option\n```",
    ],
)
def test_a_command_that_does_not_exist_is_seen(text):
    assert prose.call_faults(text)


@pytest.mark.parametrize("target", ["no-such-file.md", "README.md#no-such-heading"])
def test_a_link_that_leads_nowhere_is_seen(target):
    assert prose.link_fault(PurePosixPath("README.md"), target)
