"""A telemetry that keeps what it was told, so that tests see what operators would."""

from collections import Counter

from verismo.ports.telemetry import Answered


class KeptTelemetry:
    """Counts like the real one, in memory; see `ports.telemetry.Telemetry`.

    Args:
        samples: whether requests are traced.
    """

    def __init__(self, *, samples: bool = False) -> None:
        self.samples = samples
        self.finished: list[Answered] = []
        self.tries: Counter[tuple[str, str]] = Counter()
        self.withheld: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.reported: Counter[str] = Counter()
        self.open_breakers: set[str] = set()
        self.now_in_flight = 0
        self.now_running = 0

    def answered(self, sample: Answered) -> None:
        self.finished.append(sample)

    def tried(self, deployment: str, outcome: str) -> None:
        self.tries[deployment, outcome] += 1

    def failed_closed(self, reason: str) -> None:
        self.withheld[reason] += 1

    def unidentified(self, code: str) -> None:
        self.refused[code] += 1

    def spans(self, outcome: str, count: int) -> None:
        self.reported[outcome] += count

    def runs_open(self, count: int) -> None:
        self.now_running = count

    def breaker(self, deployment: str, is_open: bool) -> None:
        if is_open:
            self.open_breakers.add(deployment)
        else:
            self.open_breakers.discard(deployment)

    def in_flight(self, count: int) -> None:
        self.now_in_flight = count

    def samples_trace(self, parent_sampled: bool | None) -> bool:
        return self.samples if parent_sampled is None else parent_sampled
