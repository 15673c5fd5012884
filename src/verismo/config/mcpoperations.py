"""What an operation of kind mcp says beyond other operations: its methods, tools and headers."""

import re
from typing import Final

import msgspec

from verismo.config.locate import KeyPath
from verismo.config.operationtable import OperationTable
from verismo.config.source import Source, suggestion
from verismo.model.operation import McpMethod, Operation

TOOL_METHODS: Final[tuple[McpMethod, ...]] = ("server/discover", "tools/list", "tools/call")
"""What clients need to use tools, and nothing that reads or lists anything else."""

_is_token = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}").fullmatch

_is_path_part = re.compile(r"[A-Za-z0-9._-]{1,128}").fullmatch
_PATH_PART = "its id has 1 to 128 letters, digits, `.`, `_` and `-`"
"""The same as tools have: with a `/` in it, a rule for `*/TOOL` would not see the tool."""


def mcp_operation(
    operation: Operation, entry: OperationTable, source: Source, path: KeyPath
) -> Operation:
    """Return an operation with its methods, tools and headers; problems are noted.

    Args:
        operation: as every kind has it.
        entry: its table.
        source: its file, which takes the problems.
        path: where it stands.
    """
    methods = entry.methods or TOOL_METHODS
    if _is_path_part(operation.id) is None:
        source.error(path, "an MCP operation is part of a path and of rules: " + _PATH_PART)
    if not entry.tools and "tools/call" in methods:
        source.error((*path, "tools"), "must name at least one tool, or methods no tools/call")
    for name, values in (("tools", entry.tools), ("methods", entry.methods)):
        for index, value in enumerate(values):
            if value in values[:index]:
                source.error((*path, name, index), f"{value!r} stands twice")
    _check_headers(entry, source, path)
    return msgspec.structs.replace(
        operation, methods=methods, tools=entry.tools, param_headers=entry.param_headers
    )


def _check_headers(entry: OperationTable, source: Source, path: KeyPath) -> None:
    for tool, headers in entry.param_headers.items():
        where: KeyPath = (*path, "param_headers", tool)
        if tool not in entry.tools:
            source.error(where, f"there is no tool {tool!r}{suggestion(tool, entry.tools)}")
        if len({key.lower() for key in headers}) != len(headers):
            source.error(where, "names one header twice, as case does not count")
        for key, argument in headers.items():
            if _is_token(key) is None or not argument:
                source.error((*where, key), "is not a header's name, or names no argument")
