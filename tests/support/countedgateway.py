"""A gateway's metrics page without the gateway: counters that grow by seeded draws."""

import math
from random import Random

from verismo.adapters.telemetry_metrics import REQUEST_BOUNDS_S
from verismo.ports.scrape import ScrapeFailed


class CountedGateway:
    """Counts like a gateway whose requests nobody sent.

    Args:
        seed: of the draws.
        bounds: of its histogram, seconds.
        slower, failing, dearer: what makes it worse.
    """

    def __init__(self, seed=1, bounds=REQUEST_BOUNDS_S, slower=1.0, failing=0.0, dearer=1.0):
        self.bounds = bounds
        self.slower, self.failing, self.dearer = slower, failing, dearer
        self.has_cost = True
        self.extra = ""
        self.started = 1_700_000_000.0
        self._random = Random(seed)
        self.reset()

    def reset(self):
        """Forget all counts, as a process that starts anew."""
        self._counts = [0] * (len(self.bounds) + 1)
        self._errors = 0
        self._cost = 0.0

    def serve(self, requests):
        """Count some requests."""
        for _ in range(requests):
            self._cost += self._random.uniform(0.0008, 0.0012) * self.dearer
            if self._random.random() < self.failing:
                self._errors += 1
                continue
            seconds = self._random.lognormvariate(-0.5, 0.5) * self.slower
            at = next((i for i, one in enumerate(self.bounds) if seconds <= one), len(self.bounds))
            self._counts[at] += 1

    def text(self):
        """Return its page."""
        lines, total = ["# TYPE verismo_request_seconds histogram"], 0
        for bound, count in zip((*self.bounds, math.inf), self._counts, strict=True):
            total += count
            le = "+Inf" if math.isinf(bound) else str(bound)
            lines.append(f'verismo_request_seconds_bucket{{outcome="answer",le="{le}"}} {total}')
        lines += [
            f'verismo_request_seconds_count{{outcome="answer"}} {total}',
            f'verismo_requests_total{{status="200"}} {total}',
            f'verismo_requests_total{{status="502"}} {self._errors}',
            f"process_start_time_seconds {self.started}",
        ]
        if self.has_cost:
            lines.append(f'verismo_cost_usd_total{{tenant="T"}} {self._cost:.9f}')
        return ("\n".join(lines) + f"\n{self.extra}# EOF\n").encode()


class Pages:
    """A `MetricsReader` over gateways that serve between two readings.

    Args:
        gateways: by URL.
        requests: how many each serves before it is read.
        before: is called with the number of the reading and the URL.
    """

    def __init__(self, gateways, requests=60, before=lambda number, url: None):
        self._gateways = gateways
        self._requests = requests
        self._before = before
        self._read = dict.fromkeys(gateways, 0)

    async def read(self, url):
        """Return a page."""
        self._read[url] += 1
        gateway = self._gateways[url]
        self._before(self._read[url], url)
        if gateway is None or gateway.bounds is None:
            raise ScrapeFailed(f"{url} gives no metrics: it is away", next_step="Wait.")
        gateway.serve(self._requests)
        return gateway.text()


class SteppedClock:
    """A clock that is where it is told to wait for."""

    def __init__(self, now_ms=1_000_000):
        self.now = now_ms

    def now_ms(self):
        """Return Unix ms."""
        return self.now

    async def until(self, time_ms):
        """Be there."""
        self.now = max(self.now, time_ms)
