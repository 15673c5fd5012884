"""What a simulated upstream saw: counters, and the last requests if it was told to keep them."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable

import msgspec


class SeenRequest(msgspec.Struct, frozen=True):
    """One request as its octets arrived.

    Args:
        method: upper case.
        path: decoded, without the query.
        query: raw query string.
        headers: names in lower case, in order, repeated ones repeated.
        body: octets; base64 in the JSON of `/simulator/stats`.
    """

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        """Return the last value of a header by lower-case name, or an empty text."""
        return dict(self.headers).get(name, "")


class Stats(msgspec.Struct, frozen=True):
    """The counters at one moment; the JSON of `GET /simulator/stats`.

    Args:
        simulator: always `verismo-simulator`.
        connections: connections accepted.
        requests: requests begun, those to `/simulator/` not counted.
        in_flight: requests begun and not ended.
        answers: answers sent to their end.
        disconnects: clients that left before their answer had ended.
        redirects_followed: visits to `/simulator/redirected`.
        paths: requests by path, for the paths that the simulator serves.
        faults: faults done, by name.
        kept: the last requests.
    """

    simulator: str
    connections: int
    requests: int
    in_flight: int
    answers: int
    disconnects: int
    redirects_followed: int
    paths: dict[str, int]
    faults: dict[str, int]
    kept: list[SeenRequest]


class Record:
    """Counters of one simulated upstream. Used from one event loop.

    Args:
        keep_requests: how many of the last requests are kept whole.
    """

    def __init__(self, keep_requests: int = 0) -> None:
        self.connections = 0
        self.requests = 0
        self.in_flight = 0
        self.answers = 0
        self.disconnects = 0
        self.redirects_followed = 0
        self.paths: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.kept: deque[SeenRequest] = deque(maxlen=keep_requests)
        self._waiting: set[asyncio.Event] = set()

    def changed(self) -> None:
        """Wake everyone in `wait_until`; called after each change of a counter."""
        for event in self._waiting:
            event.set()

    async def wait_until(self, condition: Callable[["Record"], bool], timeout_s: float = 5) -> None:
        """Wait until the counters meet a condition.

        Args:
            condition: looks at this record; called after each change.
            timeout_s: seconds.

        Raises:
            TimeoutError: it was not met in time.
        """
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            async with asyncio.timeout(timeout_s):
                while not condition(self):
                    event.clear()
                    await event.wait()
        finally:
            self._waiting.discard(event)

    def stats(self) -> Stats:
        """Return the counters as one frozen value."""
        return Stats(
            simulator="verismo-simulator",
            connections=self.connections,
            requests=self.requests,
            in_flight=self.in_flight,
            answers=self.answers,
            disconnects=self.disconnects,
            redirects_followed=self.redirects_followed,
            paths=dict(sorted(self.paths.items())),
            faults=dict(sorted(self.faults.items())),
            kept=list(self.kept),
        )
