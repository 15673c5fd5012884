"""Source files as the tidy rules see them: path, lines and syntax tree."""

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[2]
_NOT_OURS = {".git", ".venv", "var", "dist", "build", "__pycache__"}


@dataclass(frozen=True)
class Source:
    """One Python file.

    Args:
        path: relative to the repository, such as `src/verismo/model/ids.py`.
        text: its content.
    """

    path: PurePosixPath
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        return ast.parse(self.text)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Every node of the tree."""
        return list(ast.walk(self.tree))

    @property
    def package(self) -> str:
        """The package below `verismo`, such as `model`; empty for its root and for other code."""
        parts = self.path.parts
        inside = parts[:2] == ("src", "verismo") and len(parts) > 3
        return parts[2] if inside else ""

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Yield every function, methods and inner functions too."""
        for node in self.nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node


def sources(*folders: str) -> list[Source]:
    """Return the Python files below some folders of the repository, sorted by path."""
    paths = [path for folder in folders for path in tracked() if path.is_relative_to(folder)]
    return [
        Source(path, (ROOT / path).read_text(encoding="utf-8"))
        for path in paths
        if path.suffix == ".py"
    ]


def tracked() -> list[PurePosixPath]:
    """Return the repository's files: what git knows or would take; all files where git is not."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
        names = {name for name in listed.stdout.decode().split("\0") if name}
    except (OSError, subprocess.CalledProcessError):
        names = {
            path.relative_to(ROOT).as_posix()
            for path in ROOT.rglob("*")
            if not _NOT_OURS & set(path.relative_to(ROOT).parts)
        }
    return sorted(PurePosixPath(name) for name in names if (ROOT / name).is_file())
