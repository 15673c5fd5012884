"""Runs: `with run(...)` around what an agent does for one answer.

    with run("research", gateway="https://gate.example", api_key=key) as r:
        answer = agent(question)
        sealed = r.seal(answer.encode())

In a service that the gateway calls the run is the caller's, and the gateway seals it:

    async with run.continued(request.headers, gateway=..., api_key=...) as r:
        ...
        await r.flush()  # before the last octet of the answer

What a run notes leaves as digests only. A gateway that cannot be reached never breaks the agent's
work: what was lost is in `lost` and `faults`, and once in the log (`verismo.client`).
"""

import asyncio
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import Token
from types import TracebackType

import httpx2
import msgspec

from verismo.attest.commitment import SALT_BYTES
from verismo.client.delivery import Delivery
from verismo.client.errors import SealRefused
from verismo.client.recorder import Recorder, Step, enter, here, leave
from verismo.client.sealing import Seal, Sealing, Way
from verismo.client.settings import Gateway
from verismo.client.tracecontext import RunContext, read_run_context


class RunState:
    """What can be seen of a run, whoever waits for its network.

    Args:
        recorder: notes its steps; None where nothing is recorded.
        root: its root step.
    """

    def __init__(self, recorder: Recorder | None, root: Step | None) -> None:
        self._recorder = recorder
        self._root = root

    @property
    def is_recorded(self) -> bool:
        """Whether steps are noted; not where a service was called outside any run."""
        return self._recorder is not None

    @property
    def trace_id(self) -> str:
        """Its W3C trace id, empty if nothing is recorded."""
        return "" if self._recorder is None else self._recorder.context.trace_id

    @property
    def span_id(self) -> str:
        """Its root span, empty if nothing is recorded."""
        return "" if self._recorder is None else self._recorder.context.run_span

    @property
    def salt(self) -> bytes:
        """The 32 octets that its commitments are salted with; keep them to check them."""
        return b"" if self._recorder is None else self._recorder.context.salt

    @property
    def lost(self) -> int:
        """Steps that the gateway does not have and will not get."""
        return 0 if self._recorder is None else self._recorder.lost

    @property
    def refused(self) -> int:
        """Steps that the gateway refused; `faults` says why."""
        return 0 if self._recorder is None else self._recorder.refused

    @property
    def faults(self) -> tuple[str, ...]:
        """Why steps did not arrive, each reason once."""
        return () if self._recorder is None else tuple(self._recorder.faults)

    def headers(self) -> dict[str, str]:
        """Return what a call carries so that it stands under the present step of this run."""
        if self._recorder is None or self._root is None:
            return {}
        present = here()
        is_own = present is not None and present.recorder is self._recorder
        step = present if present is not None and is_own else self._root
        return self._recorder.headers(step.span_id)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make this run the present one again, in a thread or context that does not inherit it."""
        if self._root is None:
            yield
            return
        token = enter(self._root)
        try:
            yield
        finally:
            leave(token)


class Run(RunState):
    """A run in code that may block.

    Args:
        recorder, root: as for `RunState`.
        sealing: seals it; None where the gateway does.
    """

    def __init__(
        self, recorder: Recorder | None, root: Step | None, sealing: Sealing | None
    ) -> None:
        super().__init__(recorder, root)
        self._sealing = sealing

    def flush(self) -> None:
        """Send what was noted so far and wait for the gateway; what fails is sent again later."""
        if self._recorder is not None:
            self._recorder.flush()

    def seal(self, answer: bytes) -> Seal:
        """Have the gateway sign the whole run under this answer's digest; nothing joins after it.

        Args:
            answer: what the agent answers; only its commitment is sent.

        Raises:
            SealRefused: the gateway did not seal it, or this is no run of its own.
            VerificationFailed: keys were given and the reply contradicts its proof.
            httpx2.TransportError: the gateway cannot be reached.
        """
        sealing = _required(self._sealing)
        self.flush()
        return sealing.seal(answer)


class AsyncRun(RunState):
    """A run in asyncio: what waits for the network does so beside the event loop.

    Args:
        run: the same run for code that may block.
        recorder, root: as for `RunState`.
    """

    def __init__(self, run: Run, recorder: Recorder | None, root: Step | None) -> None:
        super().__init__(recorder, root)
        self._run = run

    async def flush(self) -> None:
        """Send what was noted so far; see `Run.flush`."""
        await asyncio.to_thread(self._run.flush)

    async def seal(self, answer: bytes) -> Seal:
        """Have the gateway sign the whole run; see `Run.seal`."""
        return await asyncio.to_thread(self._run.seal, answer)


class RunScope:
    """Where a run begins and ends, for `with` and `async with`, once.

    Args:
        delivery: the way to the gateway; closed at the end.
        recorder, root, sealing: as for `Run`.
    """

    def __init__(
        self,
        delivery: Delivery,
        recorder: Recorder | None,
        root: Step | None,
        sealing: Sealing | None = None,
    ) -> None:
        self._delivery = delivery
        self._recorder = recorder
        self._root = root
        self._sealing = sealing
        self._token: Token[Step | None] | None = None
        self._is_entered = False

    def __enter__(self) -> Run:
        if self._is_entered:
            raise RuntimeError("a run is entered once; make another one")
        self._is_entered = True
        if self._root is not None:
            self._root.recorder.around = here()
            self._token = enter(self._root)
        return Run(self._recorder, self._root, self._sealing)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave()
        self._finish()

    async def __aenter__(self) -> AsyncRun:
        return AsyncRun(self.__enter__(), self._recorder, self._root)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave()
        await asyncio.to_thread(self._finish)

    def _leave(self) -> None:
        token, self._token = self._token, None
        if token is not None:
            leave(token)

    def _finish(self) -> None:
        if self._recorder is not None:
            self._recorder.flush()
            self._recorder.give_up()
        self._delivery.close()


class run(RunScope):  # noqa: N801 - read as a word of the language: `with run(...)`
    """A run of one's own; the client seals it.

    Args:
        operation: registered with the gateway as `kind = "agent"`; `seal` is for it.
        gateway: its address without `/v1`; a `Gateway` if replies to `seal` are to be verified.
        api_key: of the tenant, `vk_...`.
        http_client: sends the reports; one that is given is shared and stays open.

    Raises:
        ConfigError: the operation, the address or the key cannot be used.
    """

    def __init__(
        self,
        operation: str,
        *,
        gateway: str | Gateway,
        api_key: str,
        http_client: httpx2.Client | None = None,
    ) -> None:
        random = secrets.token_bytes(24)
        context = RunContext(
            trace_id=random[:16].hex(),
            parent_span="",
            run_span=random[16:].hex(),
            salt=secrets.token_bytes(SALT_BYTES),
            others="",
        )
        way = Way(gateway, api_key)
        delivery = Delivery(way.base_url, api_key, http_client)
        recorder = Recorder(context, operation, delivery)
        root = Step(recorder, "", operation, {}, context.run_span)
        super().__init__(delivery, recorder, root, Sealing(way, operation, recorder))

    @staticmethod
    def continued(
        headers: Mapping[str, str],
        *,
        gateway: str | Gateway,
        api_key: str,
        http_client: httpx2.Client | None = None,
        name: str = "agent",
    ) -> RunScope:
        """Return the run that a request to this service belongs to; its caller seals it.

        A request that came outside any run is served without recording.

        Args:
            headers: of the request: `traceparent`, `tracestate`, `attest-run-salt`.
            gateway: as for `run`.
            api_key: as for `run`; of the tenant that called.
            http_client: as for `run`.
            name: of this service.

        Raises:
            ConfigError: the address or the key cannot be used.
        """
        delivery = Delivery(Way(gateway, api_key).base_url, api_key, http_client)
        context = read_run_context(headers)
        if context is None:
            return RunScope(delivery, None, None)
        if not context.salt:
            salt = secrets.token_bytes(SALT_BYTES)
            context = msgspec.structs.replace(context, salt=salt)
        recorder = Recorder(context, name, delivery)
        return RunScope(delivery, recorder, Step(recorder, "", name, {}, context.parent_span))


def _required(sealing: Sealing | None) -> Sealing:
    if sealing is None:
        raise SealRefused("this run is its caller's: who answers the client seals it")
    return sealing
