"""Writes docs/conformance.md from a run of the tests that compare the verifiers: make conformance.

The tests note what they found (tests/support/conformance.py), and this lays it out; in every other
run they compare what they find with the page. Node and Chromium have to be there. What others
published lies beside the repository; where it does not, its tables say so.
"""

import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from scripts.browserprograms import chromium_path, node_path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "conformance.md"
NOTES = "CONFORMANCE_NOTES"
"""Names the file to which tests append what they found."""
TESTS = (
    "tests/browser/test_vectors_javascript.py",
    "tests/browser/test_streams_javascript.py",
    "tests/browser/test_ed25519_javascript.py",
    "tests/attest/test_published.py",
    "tests/attest/test_provdocument.py",
)
VERIFIERS = ("Python", "Node", "Chromium")
VERDICTS = ("VERIFIED", "VERIFIED_PREFIX", "INVALID", "UNSIGNED")
RUN_S_MAX = 600
WIDTH = 110

Table = Mapping[str, Mapping[str, int]]
"""Numbers by row and column."""


class Note(msgspec.Struct, frozen=True):
    """What one test found.

    Args:
        section: heading of the table.
        test: its file and name.
        rows: the cells that it knows.
    """

    section: str
    test: str
    rows: dict[str, dict[str, int]]


@dataclass(frozen=True)
class Section:
    """One table of the page.

    Args:
        heading: also the name that tests use.
        words: what the numbers mean.
        label: heading of the first column.
        columns: the others.
        others: whether the cases are those of others, which may be absent.
    """

    heading: str
    words: str
    label: str
    columns: tuple[str, ...]
    others: bool = False


SECTIONS = (
    Section(
        "Our vectors",
        "The files of [vectors](../vectors/README.md), by the module that forges them, and by "
        "the verdict that is demanded: what is VERIFIED is valid, the rest is tampered with, "
        "cut short or unsigned. `Python` counts those with the demanded verdict, events and "
        "failing checks; `Node` and `Chromium` those with Python's verdict, events and outcome "
        "of each check.",
        "group",
        ("vectors", *VERDICTS, *VERIFIERS),
    ),
    Section(
        "Streams cut at every event",
        "Vectors cut after each block, in its middle and around its end. The verdicts are "
        "Python's; `Node` and `Chromium` count the cuts with Python's verdict, events and "
        "outcome of each check. VERIFIED is a stream that was cut in the unsigned comment after "
        "its signed end.",
        "stream",
        ("cuts", *VERDICTS, "Node", "Chromium"),
    ),
    Section(
        "Ed25519 edge cases",
        "Points of low and mixed order, spellings that are not canonical and S too large, as "
        "keys and in signatures, each with each. `accepted` and `refused` are Python's; `Node` "
        "and `Chromium` count the cases in which they say the same.",
        "made here",
        ("cases", "accepted", "refused", "Node", "Chromium"),
    ),
    Section(
        "Wycheproof: Ed25519",
        "The verifiers' columns count the cases that are decided as published.",
        "collection",
        ("cases", "valid", "invalid", *VERIFIERS),
        others=True,
    ),
    Section(
        "Wycheproof: JSON Web Signature",
        "None is a detached Ed25519 token of our profile, so each has to be refused before its "
        "signature is looked at, as it is and with its payload taken out.",
        "collection",
        ("cases", "taken", "refused"),
        others=True,
    ),
    Section(
        "RFC 8785",
        "The documents of its author. What is signed holds no fractions and no member names "
        "beyond ASCII; documents with them are refused, the others have to come out octet for "
        "octet. Browsers only read what is canonical and have no part in this.",
        "collection",
        ("documents", "reproduced", "outside the domain"),
        others=True,
    ),
    Section(
        "W3C PROV-JSON",
        "A document that fits is read and written again, and has to be equal afterwards for the "
        "`prov` package and for our reader. A graph of hops has no place for the others; they "
        "are refused with the first reason found. The browser verifier reads no PROV-JSON.",
        "outcome",
        ("documents",),
        others=True,
    ),
)

_HEAD = (
    "What the verifiers say of the same cases: Python's (`verismo verify`), and "
    "`verify-js/verify.js` in Node and in Chromium. Each number was found by the tests named "
    "beneath its table, in the run of `make conformance` that wrote this page; whenever they run, "
    "the tests compare what they find with it."
)
_ABSENT = (
    "Not run: the collection (`../shared/vectors/attest`, beside the repository) was not there.\n"
)


def page(notes: Sequence[Note], versions: str) -> str:
    """Return the page.

    Args:
        notes: of all tests that ran.
        versions: of what ran them.

    Raises:
        LookupError: a cell of ours that no test noted.
    """
    parts = ["# Conformance\n", _filled(_HEAD), f"Written with {versions}.\n"]
    for section in SECTIONS:
        mine = [note for note in notes if note.section == section.heading]
        parts.append(f"## {section.heading}\n\n{_filled(section.words)}")
        if not mine and section.others:
            parts.append(_ABSENT)
            continue
        parts += [_laid_out(section, mine), _made_by(section, mine)]
    return "\n".join(parts)


def _filled(words: str) -> str:
    return textwrap.fill(words, WIDTH, break_long_words=False, break_on_hyphens=False) + "\n"


def _laid_out(section: Section, notes: Sequence[Note]) -> str:
    rows: dict[str, dict[str, int]] = {}
    for note in notes:
        for label, cells in note.rows.items():
            rows.setdefault(label, {}).update(cells)
    lines = [[section.label, *section.columns]]
    for label, cells in rows.items():
        missing = [column for column in section.columns if column not in cells]
        if missing:
            raise LookupError(f"{section.heading}, {label}: no test noted {', '.join(missing)}")
        lines.append([label, *(f"{cells[column]:,}" for column in section.columns)])
    if not rows:
        raise LookupError(f"{section.heading}: no test noted anything")
    lines.insert(1, ["---", *("---:" for _ in section.columns)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _made_by(section: Section, notes: Sequence[Note]) -> str:
    lines = []
    for note in notes:
        columns = {column for cells in note.rows.values() for column in cells}
        told = [one for one in VERIFIERS if one in columns & set(section.columns)]
        lines.append(f"- `{note.test}`{': ' if told else ''}{', '.join(told)}\n")
    return "".join(lines)


def tables(text: str) -> dict[str, Table]:
    """Return the numbers of a page by section."""
    found: dict[str, Table] = {}
    for part in text.split("\n## ")[1:]:
        heading, _, body = part.partition("\n")
        lines = [
            [cell.strip() for cell in line.strip("|").split(" | ")]
            for line in body.splitlines()
            if line.startswith("| ")
        ]
        columns = lines[0][1:] if lines else []
        found[heading] = {
            line[0]: {
                column: int(cell.replace(",", ""))
                for column, cell in zip(columns, line[1:], strict=True)
            }
            for line in lines[2:]
        }
    return found


def _versions(node: str, chromium: str) -> str:
    said = [
        subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        for program in (node, chromium)
    ]
    python = ".".join(str(part) for part in sys.version_info[:3])
    browser = " ".join(said[1].split()[:2])
    return f"Python {python}, Node {said[0].strip().removeprefix('v')} and {browser}"


def main() -> int:
    """Run the tests and write the page; returns the exit code: 0 written, 1 a test failed."""
    node, chromium = node_path(), chromium_path()
    if node is None or chromium is None:
        sys.stderr.write(
            "error: Node and Chromium have to be there\nnext:  run scripts/test-tools\n"
        )
        return 2
    with tempfile.TemporaryDirectory(prefix="verismo-conformance-") as folder:
        file = Path(folder) / "notes"
        command = ["env", f"{NOTES}={file}", sys.executable, "-m", "pytest", "-q", *TESTS]
        ran = subprocess.run(command, cwd=ROOT, timeout=RUN_S_MAX, check=False)
        if ran.returncode:
            sys.stderr.write("error: a test failed; the page is left as it is\n")
            return 1
        lines = file.read_bytes().splitlines()
    notes = [msgspec.json.decode(line, type=Note) for line in lines]
    PAGE.write_text(page(notes, _versions(node, chromium)), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
