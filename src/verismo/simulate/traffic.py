"""Simulated callers: chat requests at random moments, sent to a gateway over HTTP.

They are no load test: nothing is measured here. Arrivals are a Poisson process whose draws follow
from the seed; a caller that finds the gateway slow does not wait for it with its next request.

The number of requests in flight is bounded; what would pass the bound is left out and counted.
"""

import asyncio
from collections import Counter
from random import Random

import httpx2
import msgspec

CHAT_PATH = "/v1/chat/completions"
TIMEOUT_S = 30.0


class TrafficSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who is called, how often.

    Args:
        url: of the gateway, without a path.
        api_key: of a tenant; never shown.
        operation: what is asked for, in the member `model`.
        per_s: mean arrivals in a second, above 0.
        in_flight_max: requests at the same time; later ones are left out.
        seed: decides when requests come.
    """

    url: str
    api_key: str
    operation: str
    per_s: float
    in_flight_max: int = 256
    seed: int = 1

    def __repr__(self) -> str:
        return f"TrafficSettings(url={self.url!r}, operation={self.operation!r}, api_key=***)"


class Traffic:
    """Callers of one gateway.

    Args:
        settings: whom they call, how often.
    """

    def __init__(self, settings: TrafficSettings) -> None:
        self._settings = settings
        self._under_way: set[asyncio.Task[None]] = set()
        self.outcomes: Counter[str] = Counter()
        """How requests ended: by HTTP status, `unreachable`, or `left_out`."""

    async def run(self, ended: asyncio.Event) -> None:
        """Call until told to end; requests under way are waited for."""
        settings, random = self._settings, Random(self._settings.seed)
        headers = {"authorization": f"Bearer {settings.api_key}"}
        limits = httpx2.Limits(max_connections=settings.in_flight_max)
        async with httpx2.AsyncClient(
            base_url=settings.url, headers=headers, timeout=TIMEOUT_S, limits=limits
        ) as client:
            loop = asyncio.get_running_loop()
            due, number = loop.time(), 0
            while not ended.is_set():
                due += random.expovariate(settings.per_s)
                await asyncio.sleep(max(0.0, due - loop.time()))
                number += 1
                self._begin(client, number)
            await asyncio.gather(*self._under_way)

    def _begin(self, client: httpx2.AsyncClient, number: int) -> None:
        if len(self._under_way) >= self._settings.in_flight_max:
            self.outcomes["left_out"] += 1
            return
        task = asyncio.create_task(self._call(client, number))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _call(self, client: httpx2.AsyncClient, number: int) -> None:
        message = {"role": "user", "content": f"Where is order {number}?"}
        body = {"model": self._settings.operation, "max_tokens": 16, "messages": [message]}
        try:
            response = await client.post(CHAT_PATH, json=body)
            self.outcomes[str(response.status_code)] += 1
        except httpx2.HTTPError:
            self.outcomes["unreachable"] += 1
