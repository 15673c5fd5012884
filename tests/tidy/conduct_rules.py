"""Rules on what code may do: each takes a source file and yields what breaks it."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from typing import TypeGuard

from tests.tidy.source import Source

PURE = {"model", "attest", "adapt", "evidence"}
CLOCKS = {
    *("time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter"),
    *("time.perf_counter_ns", "time.process_time", "time.localtime", "time.gmtime"),
    *("datetime.now", "datetime.utcnow", "datetime.today", "date.today"),
    *("datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today"),
    "datetime.date.today",
}
ENVIRONMENT = {"os.environ", "os.getenv", "os.environb", "os.putenv"}
_MAKERS = {"list", "dict", "set", "bytearray", "defaultdict", "deque", "Counter", "OrderedDict"}
_MUTATORS = {
    *("append", "extend", "insert", "remove", "pop", "popitem", "clear", "sort", "reverse"),
    *("add", "discard", "update", "setdefault", "appendleft", "popleft"),
}
_UNFINISHED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b")
_BROAD = {"Exception", "BaseException"}


def printing(source: Source) -> Iterator[str]:
    """Only the command line prints."""
    if source.package == "cli":
        return
    for node in source.nodes:
        if isinstance(node, ast.Call) and _dotted(node.func) in ("print", "click.echo"):
            yield f"{source.path}:{node.lineno}: prints"


def environment_read(source: Source) -> Iterator[str]:
    """Only the configuration reads the environment."""
    if source.package == "config":
        return
    for node in source.nodes:
        dotted = _dotted(node) if isinstance(node, ast.Attribute) else ""
        taken = isinstance(node, ast.ImportFrom) and node.module == "os"
        names = {f"os.{alias.name}" for alias in node.names} if taken else {dotted}
        if names & ENVIRONMENT:
            yield f"{source.path}:{node.lineno}: reads the environment"


def clock_read(source: Source) -> Iterator[str]:
    """A core reads no clock: it is told the time."""
    if source.package not in PURE:
        return
    for node in source.nodes:
        if isinstance(node, ast.Attribute) and _dotted(node) in CLOCKS:
            yield f"{source.path}:{node.lineno}: reads a clock"
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            yield f"{source.path}:{node.lineno}: imports a clock"


def global_statement(source: Source) -> Iterator[str]:
    """No function rebinds a name of its module."""
    for node in source.nodes:
        if isinstance(node, ast.Global):
            yield f"{source.path}:{node.lineno}: global {', '.join(node.names)}"


def mutable_state(source: Source) -> Iterator[str]:
    """A container at module level is a constant: its name says so, and nothing changes it."""
    constants: set[str] = set()
    for node in source.tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            if not isinstance(target, ast.Name) or not _is_container(getattr(node, "value", None)):
                continue
            if target.id == target.id.upper():
                constants.add(target.id)
            elif target.id != "__all__":
                yield f"{source.path}:{node.lineno}: {target.id} is mutable and no constant"
    for node in source.nodes:
        name = _changed(node)
        if name in constants:
            yield f"{source.path}:{getattr(node, 'lineno', 0)}: {name} is changed"


def unfinished(source: Source) -> Iterator[str]:
    """No note of unfinished work: finish it or put it where work is tracked."""
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type == tokenize.COMMENT and _UNFINISHED.search(token.string):
            yield f"{source.path}:{token.start[0]}: {token.string}"


def broad_except(source: Source) -> Iterator[str]:
    """Nobody catches everything and goes on; a handler that raises again as it came may."""
    for node in source.nodes:
        if isinstance(node, ast.ExceptHandler) and _is_broad(node.type) and not _reraises(node):
            yield f"{source.path}:{node.lineno}: catches everything"
        if _is_suppress(node) and any(_is_broad(argument) for argument in node.args):
            yield f"{source.path}:{node.lineno}: suppresses everything"


def silent_skip(source: Source) -> Iterator[str]:
    """A test that is skipped or expected to fail says why."""
    for node in source.nodes:
        if isinstance(node, ast.Attribute) and _dotted(node) in (
            "pytest.mark.skip",
            "pytest.mark.skipif",
            "pytest.mark.xfail",
        ):
            calls = [
                call for call in source.nodes if isinstance(call, ast.Call) and call.func is node
            ]
            if not any(word.arg == "reason" for call in calls for word in call.keywords):
                yield f"{source.path}:{node.lineno}: {_dotted(node)} without a reason"


def mocking(source: Source) -> Iterator[str]:
    """Our own code is never mocked: fakes implement the port, simulators speak the protocol."""
    for node in source.nodes:
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        if any(name.startswith(("unittest.mock", "mock.")) or name == "mock" for name in modules):
            yield f"{source.path}:{node.lineno}: imports a mock library"


def sleeping(source: Source) -> Iterator[str]:
    """A test waits for something: a sleep stands only inside a loop that looks for it."""
    looping = {
        id(inner)
        for loop in source.nodes
        if isinstance(loop, ast.While | ast.For | ast.AsyncFor)
        for inner in ast.walk(loop)
    }
    for node in source.nodes:
        if (
            isinstance(node, ast.Call)
            and _dotted(node.func) in ("time.sleep", "asyncio.sleep")
            and id(node) not in looping
            and not (isinstance(node.args[0], ast.Constant) and node.args[0].value == 0)
        ):
            yield f"{source.path}:{node.lineno}: sleeps"


SOURCE_RULES = (
    printing,
    environment_read,
    clock_read,
    global_statement,
    mutable_state,
    unfinished,
    broad_except,
)
TEST_RULES = (unfinished, silent_skip, mocking, sleeping)


def _dotted(node: ast.AST) -> str:
    """Return `a.b.c` for a chain of names, empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = _dotted(node.value)
        return f"{head}.{node.attr}" if head else ""
    return ""


def _is_container(value: ast.AST | None) -> bool:
    if isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp):
        return True
    return isinstance(value, ast.Call) and _dotted(value.func).split(".")[-1] in _MAKERS


def _changed(node: ast.AST) -> str:
    """Return the name of what a statement changes in place."""
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
        return _dotted(node.value)
    if isinstance(node, ast.AugAssign):
        return _dotted(node.target)
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in _MUTATORS
    ):
        return _dotted(node.func.value)
    return ""


def _is_suppress(node: ast.AST) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and _dotted(node.func).split(".")[-1] == "suppress"


def _is_broad(kind: ast.AST | None) -> bool:
    if isinstance(kind, ast.Tuple):
        return any(_is_broad(element) for element in kind.elts)
    return kind is None or _dotted(kind) in _BROAD


def _reraises(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None
