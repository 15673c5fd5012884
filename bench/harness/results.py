"""What every benchmark takes and gives: its options, one table, one JSON document."""

import argparse
import json
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from harness.machine import SCRATCH
from harness.table import Row, table

Size = TypeVar("Size")


def options(description: str) -> argparse.ArgumentParser:
    """Return the parser with the options that all benchmarks share."""
    parser = argparse.ArgumentParser(description=description)
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", action="store_true", help="smaller sizes, at most 50 s")
    sizes.add_argument(
        "--brief", action="store_true", help="a few seconds: shows that it runs, measures nothing"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result here")
    return parser


def sized(asked: argparse.Namespace, *, full: Size, quick: Size, brief: Size) -> Size:
    """Return the sizes that were asked for."""
    if asked.brief:
        return brief
    return quick if asked.quick else full


@contextmanager
def run_folder() -> Iterator[Path]:
    """A folder under var/bench for one run, deleted at its end.

    SIGTERM ends the run like Ctrl-C, so that the programs under test are ended too.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    SCRATCH.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=SCRATCH))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def command() -> str:
    """Return the command that is running, as a reader would type it."""
    script = Path(sys.argv[0])
    return shlex.join(["python", f"{script.parent.name}/{script.name}", *sys.argv[1:]])


def publish(
    asked: argparse.Namespace,
    columns: Mapping[str, str],
    rows: Sequence[Row],
    facts: Mapping[str, object],
) -> None:
    """Print the table, and write everything as JSON if a file was asked for.

    Args:
        asked: the options.
        columns: headings by key.
        rows: values by key.
        facts: what else is to be known: machine, versions, and what the benchmark adds.
    """
    for line in table(columns, rows):
        print(line)
    if asked.json is not None:
        document = {"rows": rows, **facts, "columns": columns, "command": command()}
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def rounded(value: float) -> float:
    """Return a number with three significant digits or more; more would be noise."""
    return round(value, 1) if abs(value) >= 100 else float(f"{value:.3g}")


def note(text: str) -> None:
    """Say something that is no result."""
    sys.stderr.write(text + "\n")
