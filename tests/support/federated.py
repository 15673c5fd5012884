"""A Prometheus server's page `/federate` without the server, made of gateways' own pages."""

import re

_line = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)").fullmatch


class FederatedArm:
    """What a server has of an arm; its targets are scraped when it is told to.

    Args:
        targets: gateways by the name of their instance.
        job: of all of them.
    """

    def __init__(self, targets, job):
        self.targets = dict(targets)
        self.job = job
        self._kept = {}
        self.alter = lambda text: text

    def scrape(self, now_ms, requests=60):
        """Scrape each target once, after it served."""
        for instance in self._kept.keys() - self.targets.keys():
            self._kept[instance] = [self._up(instance, 0, now_ms)]
        for instance, gateway in self.targets.items():
            gateway.serve(requests)
            lines = [self._up(instance, 1, now_ms)]
            for line in gateway.text().decode().splitlines():
                if not line.startswith("#"):
                    name, labels, value = _line(line).groups()
                    own = f"{labels}," if labels else ""
                    lines.append(f"{name}{{{own}{self._of(instance)}}} {value} {now_ms}")
            self._kept[instance] = lines

    def text(self):
        """Return its page."""
        lines = [line for kept in self._kept.values() for line in kept]
        return self.alter("\n".join(["# TYPE up untyped", *lines, ""])).encode()

    def _up(self, instance, value, now_ms):
        return f"up{{{self._of(instance)}}} {value} {now_ms}"

    def _of(self, instance):
        return f'instance="{instance}",job="{self.job}",replica="a"'


class FederatedPages:
    """A `MetricsReader` over arms; each is scraped before it is read, unless it is stopped.

    Args:
        arms: by URL.
        now_ms: the clock.
        requests: how many each target serves between two scrapes.
        before: is called with the number of the reading and the URL.
    """

    def __init__(self, arms, now_ms, requests=60, before=lambda number, url: None):
        self._arms, self._now_ms = arms, now_ms
        self._requests, self._before = requests, before
        self._read = dict.fromkeys(arms, 0)
        self.stopped = set()

    async def read(self, url):
        """Return a page."""
        self._read[url] += 1
        self._before(self._read[url], url)
        if url not in self.stopped:
            self._arms[url].scrape(self._now_ms(), self._requests)
        return self._arms[url].text()
