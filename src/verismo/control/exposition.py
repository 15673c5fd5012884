"""Merges the workers' metrics into one OpenMetrics text, each sample with the label `worker`.

Text in, text out: a scrape of many workers is a few megabytes, and building objects for every
sample would keep the control process busy for seconds.

Source: OpenMetrics 1.0, "Text format": a family is contiguous, and `# EOF` ends the text.
"""

import re
from collections.abc import Mapping

OPENMETRICS_MEDIA = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_END = "# EOF"
_UP = "verismo_worker_up"
_UP_HEAD = (
    f"# HELP {_UP} 1 if the worker handed out its metrics for this scrape.",
    f"# TYPE {_UP} gauge",
)
_sample = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:\})?)?(.*)", re.DOTALL).fullmatch


class _Family:
    """The lines of one metric family, gathered from all workers."""

    def __init__(self) -> None:
        self.head: list[str] = []
        self.samples: list[str] = []


def merge_expositions(texts: Mapping[str, bytes]) -> bytes:
    """Merge expositions into one.

    Args:
        texts: OpenMetrics text by worker, such as `s0`; one that is empty or does not end in
            `# EOF` counts as a worker that is down.

    Returns:
        OpenMetrics text with `verismo_worker_up` for each worker; of a family's description the
        first worker's stands.
    """
    families: dict[str, _Family] = {}
    up = families[_UP] = _Family()
    up.head.extend(_UP_HEAD)
    for worker, text in texts.items():
        is_whole = text.endswith(f"{_END}\n".encode())
        up.samples.append(f'{_UP}{{worker="{worker}"}} {int(is_whole)}')
        if is_whole:
            _add(families, worker, text.decode("utf-8"))
    lines: list[str] = []
    for family in families.values():
        lines += family.head
        lines += family.samples
    lines.append(f"{_END}\n")
    return "\n".join(lines).encode("utf-8")


def _add(families: dict[str, _Family], worker: str, text: str) -> None:
    family, described = _Family(), False
    # Not splitlines(): label values may hold characters that it takes for the end of a line.
    for line in text.split("\n"):
        if line == _END:
            return
        if not line.startswith("# "):
            family.samples.append(_labelled(line, worker))
            continue
        name = line.split(" ", 3)[2]
        if name not in families:
            families[name] = _Family()
            described = False
        elif families[name] is not family:
            described = True
        family = families[name]
        if not described:
            family.head.append(line)


def _labelled(line: str, worker: str) -> str:
    found = _sample(line)
    if found is None:
        return line
    name, brace, rest = found.groups()
    if brace == "{":
        return f'{name}{{worker="{worker}",{rest}'
    return f'{name}{{worker="{worker}"}}{rest}'
