"""What the code and the files of `verismo init` tell people to run can be run."""

import ast
import re

import pytest
from tests.tidy import prose
from tests.tidy.source import ROOT, Source, sources, tracked


def advised_faults(source: Source) -> list[str]:
    """Return what is wrong with the commands that the strings of a module name."""
    lines: list[str] = []
    for node in source.nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            lines += re.findall(r"`((?:verismo|make) [a-z][^`\n]*)`", node.value)
            lines += re.findall(r"\A  (verismo [a-z].*)", node.value)
    return [f"{source.path}: {fault}" for fault in prose.line_faults(lines)]


@pytest.mark.slow
def test_the_code_advises_only_commands_that_exist():
    assert [fault for source in sources("src") for fault in advised_faults(source)] == []


def test_the_files_of_init_advise_only_commands_that_exist():
    templates = [path for path in tracked() if path.is_relative_to("src/verismo/templates")]
    faults = [
        f"{path}: {fault}"
        for path in templates
        for fault in prose.call_faults((ROOT / path).read_text(encoding="utf-8"))
    ]
    assert templates
    assert faults == []
