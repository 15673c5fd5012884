"""Makes gold/grounding.jsonl of hand-written claims and quoted passages: make grounding-gold.

Every claim gives one supported line and, for each mark in it, one altered line: numbers are altered
by a generator that is seeded with the line's id, names and negations as the mark says. Each line
gets the passage that supports it and two others, in a seeded order. Nothing here knows how
grounding judges. With `--check` the file is only compared, exit code 1 if it is out of date.
"""

import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

GOLD = Path(__file__).parents[1] / "gold"
TARGET = GOLD / "grounding.jsonl"
OTHERS = 2
"""Further sources beside the one that supports a claim."""
OTHER_CHARS_MAX = 900
OFF_TOPIC = "off-topic"
DEVELOPMENT, SECOND, NAMES, HELD_OUT = "development", "second", "names", "held_out"

_MARK = re.compile(r"([#=!])\{([^{}|]*)(?:\|([^{}]*))?\}")
_LABELS = {"#": "altered_number", "=": "altered_name", "!": "negated"}
_WORDS = (
    *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve"),
)


class Passage(msgspec.Struct, frozen=True):
    """A quoted passage."""

    id: str
    text: str


class Line(msgspec.Struct, frozen=True):
    """One line of the gold."""

    id: str
    half: str
    label: str
    claim: str
    sources: tuple[str, ...]


def lines(passages: dict[str, str], claims: str) -> Iterator[Line]:
    """Yield the lines of the claims over the passages that are quoted in a file of their own."""
    passage, count = "", 0
    for text in claims.splitlines():
        if text.startswith("@ "):
            passage, count = text[2:].strip(), 0
        elif text.strip() and not text.startswith("#"):
            count += 1
            yield from _variants(f"{passage}.{count}", passage, text.strip(), passages, DEVELOPMENT)


def quoted_lines(name: str, text: str, half: str) -> Iterator[Line]:
    """Yield the lines of claims that stand below the passages they are about."""
    passages: dict[str, str] = {}
    found: list[tuple[str, str, str]] = []
    passage, count = "", 0
    for line in text.splitlines():
        if line.startswith("P "):
            passage, count = f"{name}-{len(passages) + 1}", 0
            passages[passage] = line[2:]
        elif line == "O":
            passage, count = OFF_TOPIC, 0
        elif line.strip() and not line.startswith("#"):
            count += 1
            base = f"{name}-{passage}" if passage == OFF_TOPIC else passage
            found.append((f"{base}.{count}", passage, line))
    for base, passage, line in found:
        yield from _variants(base, passage, line, passages, half)


def _variants(
    base: str, passage: str, text: str, passages: dict[str, str], half: str
) -> Iterator[Line]:
    """Yield a claim as it is and with each of its marks altered; all of them in one part."""
    first = "off_topic" if passage == OFF_TOPIC else "supported"
    sources = _sources(base, passage, passages)
    yield Line(base, half, first, _MARK.sub(r"\2", text), sources)
    for number, mark in enumerate(_MARK.finditer(text), 1):
        name = f"{base}-{number}"
        altered = mark[3] if mark[3] is not None else _other_number(mark[2], name)
        claim = _MARK.sub(r"\2", text[: mark.start()]) + altered
        claim += _MARK.sub(r"\2", text[mark.end() :])
        claim = " ".join(claim.split())
        claim = claim[:1].upper() + claim[1:]
        yield Line(name, half, _LABELS[mark[1]], claim, sources)


def _sources(base: str, passage: str, passages: dict[str, str]) -> tuple[str, ...]:
    """Return the passage that supports a claim, if one does, among others."""
    chosen = random.Random(f"sources {base}")
    document = passage.rsplit("-", 1)[0]
    short = [
        name for name in passages if name != passage and len(passages[name]) <= OTHER_CHARS_MAX
    ]
    near = [name for name in short if name.rsplit("-", 1)[0] == document]
    first = chosen.choice(near or short)
    names = [first, chosen.choice([name for name in short if name != first])]
    names = [*names, passage] if passage in passages else names
    chosen.shuffle(names)
    return tuple(passages[name] for name in names)


def _other_number(text: str, name: str) -> str:
    """Return another number in the same spelling."""
    chosen = random.Random(f"number {name}")
    if text == "twice":
        return "three times"
    if text in _WORDS:
        return chosen.choice([word for word in _WORDS if word != text])
    whole, point, fraction = text.replace(",", "").partition(".")
    value = int(fraction or whole)
    ways = [value + chosen.randint(1, 9), value * 2, value * 10, value // 2, max(value - 1, 0)]
    digits = str(value)
    if len(digits) > 1:
        ways.append(int(digits[::-1]))
    if fraction:
        # 1.90 would be 1.9 again.
        return f"{whole}{point}{chosen.choice([way for way in ways if way != value and way % 10])}"
    other = chosen.choice([way for way in ways if way != value])
    return f"{other:,}" if "," in text else str(other)


def gold() -> bytes:
    """Return the file's content."""
    quoted = (GOLD / "grounding-passages.jsonl").read_bytes().splitlines()
    passages = [msgspec.json.decode(line, type=Passage) for line in quoted]
    claims = (GOLD / "grounding-claims.txt").read_text(encoding="utf-8")
    made = [*lines({passage.id: passage.text for passage in passages}, claims)]
    files = (
        ("tuning", DEVELOPMENT),
        ("second", SECOND),
        ("names", NAMES),
        ("held-out", HELD_OUT),
    )
    for name, half in files:
        text = (GOLD / f"grounding-{name}.txt").read_text(encoding="utf-8")
        made += quoted_lines(name, text, half)
    return b"".join(msgspec.json.encode(line) + b"\n" for line in made)


def main() -> int:
    """Write the file, or compare it."""
    content = gold()
    if "--check" in sys.argv[1:]:
        return int(TARGET.read_bytes() != content)
    TARGET.write_bytes(content)
    count = len(content.splitlines())
    sys.stdout.write(f"wrote {TARGET.name}: {count} lines\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
