"""Passages: Markdown documents cut at their headings, each piece with an address to cite."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import msgspec

CHARACTERS_MAX = 1_500
"""A longer section becomes several passages: a model should see what matters, not pages."""

_HEADING = re.compile(r"^(#{1,6}) +(.+?) *#*$")
_FENCE = re.compile(r"^ {0,3}(?:```|~~~)")
_NOT_IN_ANCHORS = re.compile(r"[^\w\- ]")


class Passage(msgspec.Struct, frozen=True):
    """A piece of a document.

    Args:
        uri: path and heading as GitHub links them, `docs/siem.md#delivery`; the second piece of a
            long section ends in `~2`.
        title: the path and the headings above the text: `docs/siem.md: Export > Delivery`.
        text: Markdown, as it stands in the document.
    """

    uri: str
    title: str
    text: str


class _Section(msgspec.Struct, frozen=True):
    headings: tuple[str, ...]
    lines: list[str]


def read_documents(root: Path | None) -> dict[str, str]:
    """Read README.md and docs/*.md.

    Args:
        root: the folder that holds them; None takes the README of the installed package.

    Returns:
        Text by path relative to the folder.

    Raises:
        FileNotFoundError: there are none; name another folder.
    """
    if root is None:
        return {"README.md": _installed_readme()}
    paths = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    found = {
        path.relative_to(root).as_posix(): path.read_text(encoding="utf-8")
        for path in paths
        if path.is_file()
    }
    if not found:
        raise FileNotFoundError(f"{root} has no README.md and no docs/*.md")
    return found


def _installed_readme() -> str:
    """Return the README, which an installed package carries below its metadata."""
    try:
        metadata = distribution("verismo").read_text("METADATA") or ""
    except PackageNotFoundError as error:
        raise FileNotFoundError("the package verismo is not installed") from error
    return metadata.partition("\n\n")[2]


def cut_documents(documents: Mapping[str, str]) -> tuple[Passage, ...]:
    """Cut documents into passages, in the order of the documents."""
    return tuple(passage for path, text in documents.items() for passage in _cut(path, text))


def _cut(path: str, text: str) -> Iterator[Passage]:
    seen: Counter[str] = Counter()
    for section in _sections(text):
        anchor = _anchor(section.headings[-1]) if section.headings else ""
        repeated = seen[anchor]
        seen[anchor] += 1
        uri = f"{path}#{anchor}" if anchor else path
        if repeated:
            uri += f"-{repeated}"
        title = f"{path}: {' > '.join(section.headings)}" if section.headings else path
        for number, piece in enumerate(_pieces(section.lines), start=1):
            yield Passage(uri if number == 1 else f"{uri}~{number}", title, piece)


def _sections(text: str) -> Iterator[_Section]:
    """Yield each heading's own text; a `#` within a code block is no heading."""
    section = _Section((), [])
    above: list[tuple[int, str]] = []
    is_code = False
    for line in text.splitlines():
        heading = None if is_code else _HEADING.match(line)
        is_code ^= bool(_FENCE.match(line))
        if heading is None:
            section.lines.append(line)
            continue
        yield section
        level = len(heading[1])
        above = [*(entry for entry in above if entry[0] < level), (level, heading[2])]
        section = _Section(tuple(name for _, name in above), [])
    yield section


def _pieces(lines: list[str]) -> Iterator[str]:
    """Yield a section's text in pieces that end between paragraphs, or lines where one is long."""
    piece: list[str] = []
    length = 0
    for block in _blocks(lines):
        size = sum(len(line) + 1 for line in block)
        if piece and length + size > CHARACTERS_MAX:
            yield "\n".join(piece).strip("\n")
            piece, length = [], 0
        piece += block
        length += size
    if any(piece):
        yield "\n".join(piece).strip("\n")


def _blocks(lines: list[str]) -> Iterator[list[str]]:
    """Yield paragraphs with the empty line behind them; a long one, such as a table, in parts."""
    block: list[str] = []
    length = 0
    is_code = False
    for line in lines:
        if length + len(line) > CHARACTERS_MAX and not is_code:
            yield block
            block, length = [], 0
        is_code ^= bool(_FENCE.match(line))
        block.append(line)
        length += len(line) + 1
        if not line.strip() and not is_code:
            yield block
            block, length = [], 0
    if block:
        yield block


def _anchor(heading: str) -> str:
    return _NOT_IN_ANCHORS.sub("", heading.lower()).replace(" ", "-")
