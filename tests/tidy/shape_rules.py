"""Rules on lengths, names and imports: each takes a source file and yields what breaks it."""

import ast
import re
from collections.abc import Iterator

from tests.tidy.source import Source

MODULE_LINES_WISHED = 400
MODULE_LINES_MAX = 500
CLASS_LINES_MAX = 300
BODY_LINES_MAX = 70
PARAMETERS_MAX = 6
BANNED_MODULES = {"utils", "helpers", "common", "misc", "base", "manager"}
_BANNED_SUFFIX = re.compile(r"_(?:v[0-9]+|new|old)$")


def module_length(source: Source) -> Iterator[str]:
    """A module has at most 400 lines; up to 500 with a reason in allow.toml."""
    lines = len(source.text.splitlines())
    if lines > MODULE_LINES_MAX:
        yield f"{source.path}: {lines} lines, over {MODULE_LINES_MAX}"
    elif lines > MODULE_LINES_WISHED:
        yield f"{source.path}: {lines} lines, over {MODULE_LINES_WISHED} without a reason"


def class_length(source: Source) -> Iterator[str]:
    """A class has at most 300 lines."""
    for node in source.nodes:
        if isinstance(node, ast.ClassDef) and node.end_lineno is not None:
            lines = node.end_lineno - node.lineno + 1
            if lines > CLASS_LINES_MAX:
                yield f"{source.path}: class {node.name} has {lines} lines"


def body_length(source: Source) -> Iterator[str]:
    """A function's body has at most 70 lines, its docstring not counted."""
    for node in source.functions():
        body = node.body[1:] if ast.get_docstring(node) is not None else node.body
        if body and body[-1].end_lineno is not None:
            lines = body[-1].end_lineno - body[0].lineno + 1
            if lines > BODY_LINES_MAX:
                yield f"{source.path}: the body of {node.name} has {lines} lines"


def parameter_count(source: Source) -> Iterator[str]:
    """A function takes at most 6 parameters, `self` and `cls` not counted."""
    for node in source.functions():
        arguments = node.args
        names = [one.arg for one in (*arguments.posonlyargs, *arguments.args)]
        if names[:1] in (["self"], ["cls"]):
            names = names[1:]
        count = len(names) + len(arguments.kwonlyargs)
        if count > PARAMETERS_MAX:
            yield f"{source.path}: {node.name} takes {count} parameters"


def banned_names(source: Source) -> Iterator[str]:
    """No module is a drawer for odds and ends, and no name carries its history."""
    if source.path.stem in BANNED_MODULES:
        yield f"{source.path}: no module is called {source.path.stem}"
    names = [source.path.stem]
    names += [
        node.name
        for node in source.nodes
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    for name in names:
        if _BANNED_SUFFIX.search(name):
            yield f"{source.path}: {name} carries a version or an age"


def empty_root(source: Source) -> Iterator[str]:
    """The root package holds its docstring and the version, and imports nothing."""
    if source.path.as_posix() != "src/verismo/__init__.py":
        return
    docstring, *rest = source.tree.body
    names = [
        target.id
        for node in rest
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]
    if names != ["__version__"] or len(rest) != 1 or not isinstance(docstring, ast.Expr):
        yield f"{source.path}: holds more than a docstring and __version__"


def root_import(source: Source) -> Iterator[str]:
    """Nobody imports the root package, save for its version."""
    for node in source.nodes:
        if isinstance(node, ast.Import):
            taken = [alias.name for alias in node.names if alias.name == "verismo"]
        elif isinstance(node, ast.ImportFrom) and node.module == "verismo" and not node.level:
            taken = [alias.name for alias in node.names if alias.name != "__version__"]
        else:
            continue
        if taken:
            yield f"{source.path}:{node.lineno}: imports from the root package"


def inner_import(source: Source) -> Iterator[str]:
    """No import inside a function, save what is costly or optional in an adapter or a command."""
    if source.package in ("adapters", "cli"):
        # Even there ruff asks for a `noqa: PLC0415` with its reason.
        return
    for function in source.functions():
        for node in ast.walk(function):
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield f"{source.path}:{node.lineno}: {function.name} imports"


RULES = (
    module_length,
    class_length,
    body_length,
    parameter_count,
    banned_names,
    empty_root,
    root_import,
    inner_import,
)
