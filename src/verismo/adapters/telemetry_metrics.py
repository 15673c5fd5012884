"""The counters and histograms of one worker, and how they look to Prometheus.

Counting runs on the request path, so it takes no lock and resolves no label: a cell for each
combination of labels is found by one look-up and holds plain numbers. `docs/metrics.md` lists
every name.

Source: OpenMetrics 1.0; Prometheus naming practices.
"""

from collections.abc import Mapping

from verismo import __version__
from verismo.adapters.telemetry_histogram import LatencyHistogram, log_grid
from verismo.adapters.telemetry_labels import OTHER, LabelNames
from verismo.adapters.telemetry_text import counter_family, gauge_family, head, label_text
from verismo.model import semconv
from verismo.model.plan import Plan
from verismo.ports.telemetry import Answered

SERIES_MAX = 10_000
"""Combinations of request labels; past it tenant and operation of new ones are `other`. Prometheus
advises to stay under 10,000 series for one metric of one target."""
MEMO_MAX = 20_000
"""Remembered ways from names to cells; past it all are forgotten and found again."""
FAILED_CLOSED_REASONS = ("seal", "journal", "open_stream", "runs")

REQUEST_BOUNDS_S = log_grid(0.005, 60.0, 1.3 ** (1 / 3))
"""Three steps to each of the others': two gateways are compared by them (`canary compare`)."""
FIRST_BYTE_BOUNDS_S = log_grid(0.005, 60.0, 1.3)
OWN_BOUNDS_S = log_grid(0.0001, 1.0, 1.3)

_USD_PER_MICRO = 1e-6
_REQUEST_LABELS = ("kind", "tenant", "operation", "status", "code")
_TIMED_LABELS = ("kind", "operation", "outcome")

_Labels = tuple[str, str, str, str, str]
_RawLabels = tuple[str, str, str, int, str]


class TimedFamily:
    """The histograms of one name, by label values.

    Args:
        name: of the family.
        text: one line for people.
        labels: names of its labels.
        bounds: of its buckets, seconds.
    """

    def __init__(
        self, name: str, text: str, labels: tuple[str, ...], bounds: tuple[float, ...]
    ) -> None:
        self._name = name
        self._head = head(name, "histogram", text)
        self._labels = labels
        self._bounds = bounds
        self._histograms: dict[tuple[str, ...], LatencyHistogram] = {}

    def of(self, *values: str) -> LatencyHistogram:
        """Return the histogram of these label values."""
        histogram = self._histograms.get(values)
        if histogram is None:
            labels = label_text(self._labels, values)
            histogram = LatencyHistogram(self._bounds, self._name, labels)
            self._histograms[values] = histogram
        return histogram

    def lines(self) -> list[str]:
        """Return the family as OpenMetrics lines."""
        lines = [self._head]
        for histogram in self._histograms.values():
            lines += histogram.lines()
        return lines


class _Spend:
    """What one tenant used."""

    __slots__ = ("cost_usd_micros", "input_tokens", "output_tokens")

    def __init__(self) -> None:
        self.input_tokens = 0
        self.output_tokens = 0
        self.cost_usd_micros = 0


class _Cell:
    """Everything that one finished request counts into, found by one look-up."""

    __slots__ = ("count", "first_byte", "own", "request", "spend")

    def __init__(self, metrics: "Metrics", labels: _Labels) -> None:
        kind, tenant, operation, _, code = labels
        outcome = "error" if code else "answer"
        self.count = 0
        self.request = metrics.request.of(kind, operation, outcome)
        self.first_byte = metrics.first_byte.of(kind, operation, outcome)
        self.own = metrics.own.of(kind)
        self.spend = metrics.spend.setdefault(tenant, _Spend())


class Metrics:
    """The numbers of one worker. Used from the event loop's thread alone."""

    def __init__(self) -> None:
        self._tenants = LabelNames()
        self._operations = LabelNames()
        self._series: dict[_Labels, _Cell] = {}
        self._memo: dict[_RawLabels, _Cell] = {}
        self.request = TimedFamily(
            "verismo_request_seconds",
            "From the first byte in to the last byte handed out.",
            _TIMED_LABELS,
            REQUEST_BOUNDS_S,
        )
        self.first_byte = TimedFamily(
            "verismo_first_byte_seconds",
            "Until the first event of a stream, or the whole of any other answer.",
            _TIMED_LABELS,
            FIRST_BYTE_BOUNDS_S,
        )
        self.own = TimedFamily(
            "verismo_own_seconds",
            "Request time less the time spent waiting for upstreams.",
            ("kind",),
            OWN_BOUNDS_S,
        )
        self.spend: dict[str, _Spend] = {}
        # A series that begins at 1 shows no increase, so an alert on the first failure needs the 0.
        self.cache = dict.fromkeys(("off", "miss", "hit"), 0)
        self.failed_closed = dict.fromkeys(FAILED_CLOSED_REASONS, 0)
        self.tries: dict[tuple[str, str], int] = {}
        self.open_breakers: dict[str, bool] = {}
        self.unidentified: dict[str, int] = {}
        self.spans = {"taken": 0}
        self.runs_open = 0
        self.runs_sealed = 0
        self.joined = dict.fromkeys(("call", "hop", "refused"), 0)
        self.in_flight = 0

    def know(self, plan: Plan) -> None:
        """Take the names of a plan: they keep labels of their own, deployments start at 0."""
        self._tenants.know(plan.tenants)
        self._operations.know((*plan.operations, "-"))
        self._memo.clear()
        for deployment in plan.deployments:
            self.tries.setdefault((deployment, "ok"), 0)
            self.open_breakers.setdefault(deployment, False)

    def count(self, sample: Answered) -> None:
        """Count a finished request."""
        raw = (sample.kind, sample.tenant, sample.operation, sample.status, sample.code)
        cell = self._memo.get(raw)
        if cell is None:
            cell = self._find(raw)
        cell.count += 1
        cell.request.exemplify(cell.request.observe(sample.seconds), sample)
        cell.first_byte.observe(sample.first_byte_seconds)
        cell.own.observe(sample.own_seconds)
        self.cache[sample.cache] = self.cache.get(sample.cache, 0) + 1
        spend = cell.spend
        spend.input_tokens += sample.input_tokens
        spend.output_tokens += sample.output_tokens
        spend.cost_usd_micros += sample.cost_usd_micros
        if sample.run_calls >= 0:
            self._count_run(sample)

    def _count_run(self, sample: Answered) -> None:
        self.runs_sealed += 1
        self.joined["call"] += sample.run_calls
        self.joined["hop"] += sample.run_hops
        self.joined["refused"] += sample.run_refused

    def _find(self, raw: _RawLabels) -> _Cell:
        kind, tenant, operation, status, code = raw
        tenant, operation = self._tenants.label(tenant), self._operations.label(operation)
        labels = (kind, tenant, operation, str(status), code)
        if labels not in self._series and len(self._series) >= SERIES_MAX:
            labels = (kind, OTHER, OTHER, str(status), code)
        cell = self._series.get(labels)
        if cell is None:
            cell = self._series[labels] = _Cell(self, labels)
        if len(self._memo) >= MEMO_MAX:
            self._memo.clear()
        self._memo[raw] = cell
        return cell

    def lines(self) -> list[str]:
        """Return every family as OpenMetrics lines, without the end mark."""
        built = label_text(("version", "semconv"), (__version__, semconv.VERSION))
        text = "Version of Verismo and of the OpenTelemetry conventions its spans follow."
        return [
            head("verismo_build", "info", text),
            f"verismo_build_info{{{built}}} 1\n",
            *counter_family(
                "verismo_requests",
                "Finished requests after identification.",
                _REQUEST_LABELS,
                {labels: cell.count for labels, cell in self._series.items()},
            ),
            *self.request.lines(),
            *self.first_byte.lines(),
            *self.own.lines(),
            *self._spending(),
            *self._upstreams(),
            *counter_family(
                "verismo_failed_closed",
                "Answers withheld because they could not be signed or recorded.",
                ("reason",),
                _keyed(self.failed_closed),
            ),
            *counter_family(
                "verismo_unidentified",
                "Requests refused before identification; they are unsigned.",
                ("code",),
                _keyed(self.unidentified),
            ),
            *counter_family(
                "verismo_spans",
                "Spans that agents reported: `taken`, or why they were refused; a step that was "
                "taken and that its run's seal refuses counts twice.",
                ("outcome",),
                _keyed(self.spans),
            ),
            *gauge_family(
                "verismo_in_flight", "Requests being worked on.", (), {(): self.in_flight}
            ),
            *self._runs(),
        ]

    def _runs(self) -> list[str]:
        return [
            *gauge_family(
                "verismo_runs_open",
                "Answers of agents that are being worked on.",
                (),
                {(): self.runs_open},
            ),
            *counter_family(
                "verismo_runs", "Runs of agents that were sealed.", (), {(): self.runs_sealed}
            ),
            *counter_family(
                "verismo_run_joined",
                "What sealed runs hold: calls, hops, and hops that were refused.",
                ("what",),
                _keyed(self.joined),
            ),
        ]

    def _spending(self) -> list[str]:
        tokens: dict[tuple[str, ...], float] = {}
        cost: dict[tuple[str, ...], float] = {}
        for tenant, spend in self.spend.items():
            tokens[tenant, "input"] = spend.input_tokens
            tokens[tenant, "output"] = spend.output_tokens
            cost[tenant,] = spend.cost_usd_micros * _USD_PER_MICRO
        return [
            *counter_family(
                "verismo_tokens",
                "Tokens that providers say they counted.",
                ("tenant", "direction"),
                tokens,
            ),
            *counter_family("verismo_cost_usd", "Cost of answers, US dollars.", ("tenant",), cost),
            *counter_family(
                "verismo_cache",
                "Finished requests by state of the answer cache.",
                ("state",),
                _keyed(self.cache),
            ),
        ]

    def _upstreams(self) -> list[str]:
        return [
            *counter_family(
                "verismo_upstream_tries",
                "Tries at a deployment: `ok` or the error's code.",
                ("deployment", "outcome"),
                self.tries,
            ),
            *gauge_family(
                "verismo_breaker_open",
                "1 while the circuit breaker of a deployment is open.",
                ("deployment",),
                _keyed(self.open_breakers),
            ),
        ]


def _keyed(values: Mapping[str, int]) -> dict[tuple[str, ...], float]:
    return {(name,): int(value) for name, value in values.items()}
