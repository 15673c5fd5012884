"""One configuration file: its bytes, its tree, its lines, and the problems found in it."""

import difflib
import re
import tomllib
from collections.abc import Collection, Iterable
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path

import msgspec

from verismo.config.locate import KeyPath, Lines
from verismo.model.errors import ConfigError

Toml = bool | int | str | Decimal | date | time | datetime | list["Toml"] | dict[str, "Toml"]
"""What tomllib makes of a file, with every float kept exact as a Decimal."""

FILE_BYTES_MAX = 4_194_304
"""A configuration file over 4 MiB is not one."""


class Problem(msgspec.Struct, frozen=True, order=True):
    """Something wrong or doubtful at one place.

    Args:
        file: path as the operator knows it, relative to the configuration folder.
        line: counted from 1; 0 where there is no line (the environment).
        text: what is wrong and what would be right.
    """

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.text}"


class Findings:
    """Collects the problems of a whole configuration, so that all are told at once."""

    def __init__(self) -> None:
        self.errors: list[Problem] = []
        self.warnings: list[Problem] = []

    def raise_if_any(self) -> None:
        """Raise every error found, sorted by place.

        Raises:
            ConfigError: mend the lines that it names.
        """
        if self.errors:
            raise self.as_error()

    def as_error(self) -> ConfigError:
        """Return the error that names every problem, sorted by place, one on each line."""
        return ConfigError("\n       ".join(str(p) for p in sorted(set(self.errors))))


class Source:
    """A parsed configuration file.

    Args:
        label: how messages name the file.
        path: where it is.
        text: its text.
        findings: where its problems go.
    """

    def __init__(self, label: str, path: Path, text: str, findings: Findings) -> None:
        self.label = label
        self.path = path
        self.findings = findings
        self.tree: dict[str, Toml] = tomllib.loads(text, parse_float=Decimal)
        self._text = text
        self._lines: Lines | None = None

    def error(self, path: KeyPath, text: str) -> None:
        """Note an error at a key path; the path itself is named in front of the text."""
        self.findings.errors.append(self._problem(path, text))

    def warn(self, path: KeyPath, text: str) -> None:
        """Note a warning at a key path."""
        self.findings.warnings.append(self._problem(path, text))

    def place(self, path: KeyPath) -> str:
        """Return `file:line` of a key path."""
        return f"{self.label}:{self._line_of(path)}"

    def _problem(self, path: KeyPath, text: str) -> Problem:
        named = f"{dotted(path)}: {text}" if path else text
        return Problem(self.label, self._line_of(path), named)

    def _line_of(self, path: KeyPath) -> int:
        # Scanned only once something is wrong: a file of ten thousand operations takes a while.
        if self._lines is None:
            self._lines = Lines(self._text)
        return self._lines.of(path)


def open_source(path: Path, label: str, findings: Findings) -> Source | None:
    """Read and parse one file; what is wrong with it goes to the findings.

    Args:
        path: an existing file.
        label: how messages name it.
        findings: where problems go.

    Returns:
        The parsed file, or None if it cannot be parsed at all.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        findings.errors.append(Problem(label, 0, f"cannot be read: {error.strerror}"))
        return None
    if len(data) > FILE_BYTES_MAX:
        findings.errors.append(Problem(label, 0, f"over {FILE_BYTES_MAX} bytes"))
        return None
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        text = "starts with a byte order mark; save it as UTF-8 without one"
        findings.errors.append(Problem(label, 1, text))
        return None
    try:
        return Source(label, path, data.decode("utf-8").replace("\r\n", "\n"), findings)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        findings.errors.append(Problem(label, line, "not UTF-8; save the file as UTF-8"))
    except tomllib.TOMLDecodeError as error:
        findings.errors.append(_syntax_problem(label, data, error))
    except RecursionError:
        findings.errors.append(Problem(label, 1, "nested too deeply"))
    return None


def _syntax_problem(label: str, data: bytes, error: tomllib.TOMLDecodeError) -> Problem:
    message = str(error)
    match = re.search(r" \(at line (\d+), column (\d+)\)$", message)
    if match is None:
        return Problem(label, data.count(b"\n") + 1, f"not TOML: {message}")
    text = f"not TOML: {message[: match.start()]} (column {match[2]})"
    return Problem(label, int(match[1]), text)


def dotted(path: KeyPath) -> str:
    """Spell a key path as TOML does: `operations."support.answer".aliases[0]`."""
    spelled = ""
    for part in path:
        if isinstance(part, int):
            spelled += f"[{part}]"
        else:
            plain = re.fullmatch(r"[A-Za-z0-9_-]+", part) is not None
            spelled += ("." if spelled else "") + (part if plain else f'"{part}"')
    return spelled


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean X?` with the nearest known name, else the known names, else nothing.

    Args:
        name: what was written.
        known: what would have been right.
    """
    names: Collection[str] = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if nearest:
        return f"; did you mean {nearest[0]}?"
    if not names:
        return "; there is none"
    return f"; known: {', '.join(names)}" if len(names) <= 30 else ""
