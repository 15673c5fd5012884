"""The simulated upstream as an ASGI application: route, answer, and do the fault that is due.

The life of a call: read -> keep -> draw a fault or take an order -> answer by dialect -> let
latency pass -> deliver. Dialects are pure; what goes wrong on purpose goes wrong in `deliver`.
"""

import msgspec

from verismo.simulate.answer import FINGERPRINT, Answer, Call, Dialect, digest_of
from verismo.simulate.anthropic import Anthropic
from verismo.simulate.delivery import deliver
from verismo.simulate.echo import Echo
from verismo.simulate.exchange import BodyTooLarge, ClientGone, Exchange, Receive, Scope, Send
from verismo.simulate.faults import (
    HEADER,
    NO_FAULT,
    RETRY_AFTER_S,
    BadOrder,
    Fault,
    FaultSource,
    find_order,
    parse_order,
)
from verismo.simulate.graphql import GraphQl
from verismo.simulate.openai import OpenAi
from verismo.simulate.record import Record, SeenRequest
from verismo.simulate.settings import SimulatorSettings

_ANSWER_TOKENS_LEAST = 16
_ANSWER_TOKENS_SPREAD = 33
_RETRY_STATUSES = frozenset({429, 503, 529})


class Simulator:
    """One simulated upstream.

    Args:
        settings: what it is told.
        record: counts what it sees.
    """

    def __init__(self, settings: SimulatorSettings, record: Record) -> None:
        self.record = record
        self._settings = settings
        self._faults = FaultSource(settings)
        openai = OpenAi(settings)
        self._echo = Echo()
        self._models = openai
        self._dialects: dict[str, Dialect] = {
            "/v1/chat/completions": openai,
            "/v1/embeddings": openai,
            "/v1/models": openai,
            "/v1/messages": Anthropic(settings),
            "/graphql": GraphQl(settings),
            "/echo": self._echo,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI request.

        Raises:
            ValueError: the scope is not of type `http`; the server is set up wrongly.
        """
        if scope["type"] != "http":
            raise ValueError(f"the simulator does not speak {scope['type']}")
        exchange = Exchange(scope, receive, send)
        try:
            if exchange.text("path").startswith("/simulator/"):
                await self._show(exchange)
            else:
                await self._count(exchange)
        finally:
            exchange.release()

    async def _count(self, exchange: Exchange) -> None:
        """Serve one call, counting how it begins and ends."""
        record = self.record
        record.requests += 1
        record.in_flight += 1
        record.changed()
        try:
            if await self._serve(exchange):
                record.answers += 1
        except ClientGone:
            record.disconnects += 1
        finally:
            record.in_flight -= 1
            record.changed()

    async def _serve(self, exchange: Exchange) -> bool:
        """Serve one call; returns whether its answer was sent to the end."""
        path = exchange.text("path")
        dialect = self._dialect_of(path)
        try:
            body = await exchange.read(self._settings.request_bytes_max)
        except BodyTooLarge as error:
            refusal = (dialect or self._echo).error(413, str(error))
            return await deliver(exchange, refusal, NO_FAULT, self._settings.interval_ms)
        seen = SeenRequest(
            method=exchange.text("method"),
            path=path,
            query=exchange.text("query_string"),
            headers=exchange.headers(),
            body=body,
        )
        self.record.kept.append(seen)
        if dialect is None:
            answer, fault = self._echo.error(404, f"the simulator does not serve {path}"), NO_FAULT
        else:
            self.record.paths[path] += 1
            answer, fault = self._answer(dialect, seen)
        self._note(fault)
        latency_ms = self._latency_ms(fault)
        if latency_ms > 0:
            await exchange.pause(latency_ms)
        return await deliver(exchange, answer, fault, self._settings.interval_ms)

    def _answer(self, dialect: Dialect, seen: SeenRequest) -> tuple[Answer, Fault]:
        """Return the whole answer and the fault to do to it."""
        headers = dict(seen.headers)
        fault = self._faults.draw()
        try:
            order = find_order(headers.get(HEADER, ""), seen.body)
            if order:
                fault = parse_order(order)
        except BadOrder as error:
            return dialect.error(400, str(error)), NO_FAULT
        if fault.error_status:
            refusal = dialect.error(fault.error_status, "Simulated error.")
            if fault.error_status in _RETRY_STATUSES:
                retry = (("retry-after", str(RETRY_AFTER_S)),)
                refusal = msgspec.structs.replace(refusal, headers=retry)
            return refusal, fault
        digest = digest_of(self._settings.seed, seen.method, seen.path, seen.body)
        drawn = _ANSWER_TOKENS_LEAST + digest[0] % _ANSWER_TOKENS_SPREAD
        call = Call(
            method=seen.method,
            path=seen.path,
            query=seen.query,
            headers=headers,
            body=seen.body,
            digest=digest,
            answer_tokens=fault.answer_tokens or self._settings.answer_tokens or drawn,
            cached_tokens=fault.cached_tokens,
        )
        return dialect.answer(call), fault

    def _dialect_of(self, path: str) -> Dialect | None:
        dialect = self._dialects.get(path)
        if dialect is None and path.startswith("/v1/models/"):
            return self._models
        if dialect is None and path.startswith("/echo/"):
            return self._echo
        return dialect

    def _latency_ms(self, fault: Fault) -> float:
        return self._faults.draw_latency_ms() if fault.latency_ms is None else fault.latency_ms

    def _note(self, fault: Fault) -> None:
        for name in fault.names():
            self.record.faults[name] += 1

    async def _show(self, exchange: Exchange) -> None:
        """Answer the simulator's own pages, which are neither counted nor faulted."""
        path = exchange.text("path")
        if path == "/simulator/stats":
            answer = Answer(status=200, body=msgspec.json.encode(self.record.stats()))
        elif path == "/simulator/redirected":
            self.record.redirects_followed += 1
            self.record.changed()
            answer = Answer(status=200, body=msgspec.json.encode({"simulator": FINGERPRINT}))
        else:
            answer = self._echo.error(404, f"the simulator does not serve {path}")
        await deliver(exchange, answer, NO_FAULT, 0)
