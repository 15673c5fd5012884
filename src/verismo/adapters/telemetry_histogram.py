"""Histograms of durations on a logarithmic grid, with exemplars that lead to single requests.

Classic Prometheus buckets: every Prometheus takes them. A grid that rises by a constant factor
knows every quantile to within that factor, whatever the quantile.

Source: OpenMetrics 1.0, "Exemplars": at most 128 characters of labels; ours have 83.
"""

from bisect import bisect_left

import msgspec

from verismo.ports.telemetry import Answered

EXEMPLAR_S = 1.0
"""A bucket takes a new exemplar at most this often: a scrape sees only the last one anyway."""

_MS_PER_S = 1_000


def log_grid(first: float, last: float, factor: float) -> tuple[float, ...]:
    """Return bucket bounds that rise by a factor, rounded to three digits.

    Args:
        first: smallest bound, seconds.
        last: largest bound, seconds; always one of the bounds.
        factor: ratio of neighbours, > 1. A quantile is then known to within that ratio.
    """
    bounds, bound = [], first
    while bound < last / factor**0.5:
        bounds.append(float(f"{bound:.3g}"))
        bound *= factor
    return (*bounds, last)


class Exemplar(msgspec.Struct, frozen=True):
    """What leads from a bucket to one request."""

    trace_id: str
    prov_id: str
    seconds: float
    ended_s: float

    def text(self) -> str:
        """Return it as it follows a bucket's count."""
        labels = f'{{trace_id="{self.trace_id}",prov_id="{self.prov_id}"}}'
        return f" # {labels} {self.seconds} {self.ended_s:.3f}"


class LatencyHistogram:
    """Counts of durations over fixed bounds, with a recent exemplar for each bucket.

    Args:
        bounds: upper bounds, seconds, rising; a last bucket takes what is over.
        name: of its family.
        labels: label pairs without braces, escaped; not empty.
    """

    __slots__ = ("_bounds", "_counts", "_exemplars", "_labels", "_name", "_starts", "_sum")

    def __init__(self, bounds: tuple[float, ...], name: str, labels: str) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._exemplars: list[Exemplar | None] = [None] * (len(bounds) + 1)
        self._name = name
        self._labels = labels
        self._starts: list[str] = []

    def observe(self, seconds: float) -> int:
        """Count a duration and return the bucket it fell into."""
        index = bisect_left(self._bounds, seconds)
        self._counts[index] += 1
        self._sum += seconds
        return index

    def exemplify(self, index: int, sample: Answered) -> None:
        """Remember a request as a bucket's exemplar, unless the last one is recent."""
        ended_s = sample.started_ms / _MS_PER_S + sample.seconds
        last = self._exemplars[index]
        if last is None or ended_s - last.ended_s >= EXEMPLAR_S:
            exemplar = Exemplar(sample.trace_id, sample.prov_id, sample.seconds, ended_s)
            self._exemplars[index] = exemplar

    def lines(self) -> list[str]:
        """Return its samples as OpenMetrics lines."""
        if not self._starts:
            bounds = (*map(str, self._bounds), "+Inf")
            start = f"{self._name}_bucket{{{self._labels},le="
            self._starts = [f'{start}"{bound}"}} ' for bound in bounds]
        lines, total = [], 0
        for start, count, exemplar in zip(self._starts, self._counts, self._exemplars, strict=True):
            total += count
            trail = "" if exemplar is None else exemplar.text()
            lines.append(f"{start}{total}{trail}\n")
        lines.append(f"{self._name}_count{{{self._labels}}} {total}\n")
        lines.append(f"{self._name}_sum{{{self._labels}}} {self._sum}\n")
        return lines
