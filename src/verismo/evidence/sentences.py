"""Cuts a text into sentences: of an answer each may be checked, of a source each may support one.

Lines of lists and rows of tables are sentences of their own; fenced code is left out. It knows
English prose and Markdown, not other languages.
"""

import re
from collections.abc import Iterator
from typing import Final

from verismo.evidence.lexicon import word_set

ABBREVIATIONS: Final = word_set(
    "e.g i.e etc cf vs approx fig no nr vol sec dr mr mrs ms prof st inc ltd al"
)
CELL: Final = " | "
"""Between the cells of a row."""
_FENCE = re.compile(r"(?ms)^\s*```.*?^\s*```\s*?$")
_ITEM = re.compile(r"^\s*(?:[-*+•]|\d{1,3}[.)])\s+")
_HEADING = re.compile(r"^\s*#{1,6}\s+")
_ROW = re.compile(r"^\s*\|.*\|\s*$")
_RULE = re.compile(r"^[\s|:=*_-]+$")
_STOP = re.compile(r"""[.!?…]+["'”’)\]*`]*(?=\s+\S)""")
_STARTS = re.compile(r"""["'“‘(\[*`]*[A-Z0-9`{<]""")


def sentences(text: str) -> tuple[str, ...]:
    """Return the sentences of a text in order, white space folded.

    Args:
        text: prose or Markdown.
    """
    found: list[str] = []
    for block in _blocks(_FENCE.sub("\n\n", text)):
        found.extend(_cut(block))
    return tuple(found)


def _blocks(text: str) -> Iterator[str]:
    """Yield paragraphs, list items and table rows, each on one line."""
    lines: list[str] = []
    for line in [*text.splitlines(), ""]:
        begins = _ITEM.match(line) or _HEADING.match(line) or _ROW.match(line)
        if lines and (begins or not line.strip()):
            yield " ".join(lines)
            lines = []
        if _ROW.match(line):
            if not _RULE.match(line):
                yield _row(line)
        elif _HEADING.match(line):
            yield _HEADING.sub("", line).strip()
        elif line.strip() and not _RULE.match(line):
            lines.append(_ITEM.sub("", line).strip())


def _row(line: str) -> str:
    cells = (cell.strip() for cell in line.strip().strip("|").split("|"))
    return CELL.join(cell for cell in cells if cell)


def _cut(block: str) -> Iterator[str]:
    """Yield the sentences of one line."""
    start = 0
    for match in _STOP.finditer(block):
        rest = block[match.end() :].lstrip()
        if not _STARTS.match(rest) or _abbreviates(block[start : match.start()]):
            continue
        yield block[start : match.end()].strip()
        start = match.end()
    if block[start:].strip():
        yield block[start:].strip()


def _abbreviates(head: str) -> bool:
    """Say whether the point behind a text belongs to an abbreviation or to a single letter."""
    words = head.split()
    last = words[-1].lstrip("(\"'“‘").lower() if words else ""
    return last in ABBREVIATIONS or (len(last) == 1 and last.isalpha())
