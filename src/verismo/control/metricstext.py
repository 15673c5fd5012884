"""Reads metrics as gateways publish them: Prometheus text and OpenMetrics, one line after another.

Only what is asked for is kept. A text that holds a line which is no sample is refused as a whole: a
page of an error or of a login is no metrics, and half a scrape is none either.

Source: Prometheus "Exposition formats"; OpenMetrics 1.0, "Text format".
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

LINE_CHARS_SHOWN: Final = 80
_sample = re.compile(
    r"([a-zA-Z_:][a-zA-Z0-9_:]*)"
    r'(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\})?'
    r"[ \t]+(\S+)(?:[ \t]+([-+0-9.eE]+))?(?:[ \t]+#.*)?[ \t]*"
).fullmatch
_label = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"\s*(?:,|$)')
_selector = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?").fullmatch
_ESCAPES: Final = {"n": "\n", "\\": "\\", '"': '"'}

Labels = tuple[tuple[str, str], ...]


class TextRefused(ValueError):
    """The text is no metrics, or the selector is none; says why."""


class Selector(msgspec.Struct, frozen=True):
    """Which series of a family are meant.

    Args:
        name: of the family, as its samples have it.
        labels: a regular expression for each label that has to match as a whole.
    """

    name: str
    labels: tuple[tuple[str, str], ...] = ()

    def takes(self, labels: Mapping[str, str]) -> bool:
        """Say whether a series is meant; a label that it does not have counts as empty."""
        return all(re.fullmatch(wanted, labels.get(name, "")) for name, wanted in self.labels)


class Sample(msgspec.Struct, frozen=True):
    """One line.

    Args:
        name: as it stands there.
        labels: sorted by name.
        value: any number, also one that is none.
        stamp: its time as it stands there, milliseconds in Prometheus text; None without one.
    """

    name: str
    labels: Labels
    value: float
    stamp: float | None = None


def parse_selector(text: str) -> Selector:
    """Read a selector as it is written on the command line.

    Args:
        text: such as `http_request_seconds{route=/v1/chat,code=2..}`.

    Raises:
        TextRefused: it is no selector, or one of its expressions is none.
    """
    found = _selector(text.strip())
    if found is None:
        raise TextRefused(f"{text!r} is no selector; write NAME or NAME{{label=expression}}")
    labels = []
    for part in (found[2] or "").split(","):
        name, equals, wanted = part.partition("=")
        if not part.strip():
            continue
        try:
            re.compile(wanted)
        except re.error as error:
            raise TextRefused(f"{wanted!r} is no regular expression: {error}") from error
        if not equals:
            raise TextRefused(f"{part!r} names no expression; write label=expression")
        labels.append((name.strip(), wanted.strip().strip('"')))
    return Selector(found[1], tuple(sorted(labels)))


def parse_samples(text: bytes, names: frozenset[str]) -> Sequence[Sample]:
    """Return the samples of some names.

    Args:
        text: as it was answered.
        names: of samples, suffixes such as `_bucket` included.

    Raises:
        TextRefused: a line that is no sample, a series that stands twice, or no UTF-8.
    """
    try:
        lines = text.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise TextRefused("it is not UTF-8") from error
    found: dict[tuple[str, Labels], Sample] = {}
    for number, line in enumerate(lines, start=1):
        line = line.rstrip("\r")
        if not line.strip() or line.startswith("#"):
            continue
        parts = _sample(line)
        if parts is None:
            raise TextRefused(f"line {number} is no sample: {line[:LINE_CHARS_SHOWN]!r}")
        if parts[1] in names:
            stamp = None if parts[4] is None else _value(parts[4], number)
            sample = Sample(
                parts[1], _labels(parts[2] or "", number), _value(parts[3], number), stamp
            )
            if found.setdefault((sample.name, sample.labels), sample) is not sample:
                raise TextRefused(f"line {number}: the series of {sample.name} stands there twice")
    return list(found.values())


def _labels(text: str, number: int) -> Labels:
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        label = _label.match(text, at)
        if label is None:
            raise TextRefused(f"line {number}: its labels cannot be read")
        if label[1] in found:
            raise TextRefused(f"line {number}: the label {label[1]} stands there twice")
        found[label[1]] = _unescaped(label[2])
        at = label.end()
    return tuple(sorted(found.items()))


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[0]), text)


def _value(text: str, number: int) -> float:
    try:
        return float(text.replace("_", "?"))
    except ValueError as error:
        raise TextRefused(f"line {number}: {text[:LINE_CHARS_SHOWN]!r} is no number") from error
