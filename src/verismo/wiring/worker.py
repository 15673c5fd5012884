"""Composes one gateway worker and runs it: its slot's journal and signer, the request path, the
server, and the small background loops that keep its snapshot current.
"""

import asyncio
import ipaddress
import logging
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from socket import socket

import msgspec

from verismo.adapters.budget_leased import LeasedBudget
from verismo.adapters.cache_memory import MemoryCache
from verismo.adapters.http_uvicorn import HttpServer, ServerSettings
from verismo.adapters.journal_reader import SqliteJournalReader
from verismo.adapters.journal_slot import next_slot_name
from verismo.adapters.journal_sqlite import SqliteJournal
from verismo.adapters.prices_genai import GenaiPrices
from verismo.adapters.secret_file import read_secret
from verismo.adapters.signer_file import FileSigner
from verismo.adapters.upstream_keepalive import KeepAliveUpstream
from verismo.adapters.upstream_pyreqwest import PyreqwestUpstream
from verismo.config.schema import Config
from verismo.gateway.admit import Admission
from verismo.gateway.app import Application, Beside, Listener
from verismo.gateway.call import Credentials, Dispatcher
from verismo.gateway.capture import Capture
from verismo.gateway.choose import Breakers
from verismo.gateway.desk import Desk
from verismo.gateway.dialects.anthropic import AnthropicDialect
from verismo.gateway.dialects.graphql import GraphqlDialect
from verismo.gateway.dialects.http import HttpDialect
from verismo.gateway.dialects.openai import OpenAiDialect
from verismo.gateway.mcpdialect import McpDialect
from verismo.gateway.observe import Observer, storable
from verismo.gateway.pipeline import Pipeline
from verismo.gateway.records import Records
from verismo.gateway.report import Reporter
from verismo.gateway.runs import Runs
from verismo.gateway.seal import Sealer
from verismo.gateway.snapshot import Snapshot, SnapshotCell, compile_snapshot
from verismo.model.ids import ProviderId
from verismo.model.steering import Steering
from verismo.model.traffic import Usage
from verismo.ports.directory import Directory, Observation
from verismo.ports.journal import JournalFailed, Record
from verismo.ports.policy import PolicyEngine
from verismo.ports.telemetry import Telemetry
from verismo.ports.upstream import Upstream
from verismo.wiring.budget import RENEW_S, KeptBudget, MakeBudget
from verismo.wiring.firststart import key_files
from verismo.wiring.keys import OpenSigner, TokenKeys
from verismo.wiring.ledgerreads import open_ledger_reads
from verismo.wiring.pages import open_verify_page
from verismo.wiring.policy import open_policy
from verismo.wiring.rates import Rates
from verismo.wiring.readiness import readiness_path, serve_readiness
from verismo.wiring.recovery import Heir, OpenJournal, recover
from verismo.wiring.rounds import Rounds
from verismo.wiring.runs import PRUNE_S, KeptRuns
from verismo.wiring.spans import open_spans
from verismo.wiring.state import open_state
from verismo.wiring.steered import FOLLOW_S, Steered
from verismo.wiring.telemetry import (
    close_telemetry,
    open_telemetry,
    run_folder,
    serve_telemetry,
    socket_path,
)
from verismo.wiring.vault import open_vault

WATCH_S = 0.5
"""How often keys and policy are looked at for changes (decisions 12)."""
REPORT_S = 1.0
"""How often observed operations are written down."""
BACKLOG = 2_048

log = logging.getLogger("verismo.worker")


class Parts(msgspec.Struct, frozen=True):
    """How the parts that can fail are made; tests put failing ones in their place.

    Args:
        signer: from the key's file and role.
        journal: from the data folder, the slot and what signs a gap.
        budget: as `LeasedBudget` is made.
        telemetry: from the configuration and the slot.
    """

    signer: OpenSigner = FileSigner
    journal: OpenJournal = SqliteJournal
    budget: MakeBudget = LeasedBudget
    telemetry: Callable[[Config, str], Telemetry] = open_telemetry


def run_worker(
    config: Config, index: int, listener: socket, ready: Callable[[], None]
) -> Coroutine[None, None, None]:
    """Return the coroutine that is a worker's whole life.

    Args:
        config: the validated configuration.
        index: the worker's number, from 0; gives its slot.
        listener: the bound public socket; it listens once the worker is about to answer.
        ready: called once, when requests are about to be answered.
    """
    return Worker(config, index).run(listener, ready)


class Worker:
    """The objects of one worker.

    Args:
        config: the validated configuration.
        index: the worker's number, from 0; gives its slot.
        parts: how the parts that can fail are made.
    """

    def __init__(self, config: Config, index: int, parts: Parts | None = None) -> None:
        self._config = config
        self._index = index
        self._parts = parts = parts or Parts()
        files = key_files(config.data)
        self._state = open_state(config.data)
        self._directory: Directory = self._state.directory
        self._handle_secret = read_secret(files.handles)
        self._slot = next_slot_name(config.data, index)
        self._keys = TokenKeys(config.data, config.keys, parts.signer)
        self._journal = parts.journal(config.data, self._slot, self._void)
        self._reader = SqliteJournalReader(config.data)
        self._budget = KeptBudget(config, self._slot, parts.budget)
        self._runs = KeptRuns(config)
        self._rates = Rates(config)
        self._vault = open_vault(config.data, self._state)
        self._snapshot = SnapshotCell(self._compile())
        self._policy: PolicyEngine = open_policy(config.policy)
        self._telemetry: Telemetry = parts.telemetry(config, self._slot)
        self._upstream: Upstream = _upstream(config)
        self._observer = Observer()
        self._unwritten: Sequence[Observation] = ()
        self._writing = threading.Lock()
        self._steered = Steered(config, self._slot, self._keys, self._snapshot)
        self.breakers = Breakers(self._steered.windows)
        self._sealer = Sealer(
            self._keys.signer,
            self._slot,
            config.plan.issuer,
            self._journal.last_seq(),
            self._telemetry,
        )
        self._pipeline = Pipeline(self._desk())
        self.application = self._compose_application()
        settings = self._server_settings()
        self.server = HttpServer(
            self.application, settings, self._pipeline.stop, self.application.refuse_unread
        )

    @property
    def steering(self) -> Steering | None:
        """What this worker follows now; None before there is any."""
        return self._snapshot.current.steering

    def _void(self, first: int, last: int) -> Record:
        return self._sealer.void(first, last)

    def _compile(self) -> Snapshot:
        version = self._directory.version()
        keys = self._directory.api_keys()
        return compile_snapshot(self._config.plan, keys, self._handle_secret, version)

    def _desk(self) -> Desk:
        config, telemetry = self._config, self._telemetry
        prices = GenaiPrices()
        for deployment in config.plan.deployments.values():
            # The first look-up reads the whole price list; no request should wait for that.
            prices.cost(config.plan.providers[deployment.provider], deployment, Usage(1, 1))
        limiter = self._rates.limiter("calls")
        dispatcher = Dispatcher(
            upstream=self._upstream,
            dialects={
                "openai": OpenAiDialect(),
                "anthropic": AnthropicDialect(),
                "graphql": GraphqlDialect(),
                "http": HttpDialect(),
                "mcp": McpDialect(),
            },
            credentials=_credentials(config),
            breakers=self.breakers,
            limits=config.limits,
            telemetry=telemetry,
        )
        return Desk(
            snapshot=self._snapshot,
            sealer=self._sealer,
            journal=self._journal,
            policy=self._policy,
            admission=Admission(limiter, self._budget.leased, prices, self._steered.windows),
            cache=MemoryCache(),
            breakers=self.breakers,
            dispatcher=dispatcher,
            prices=prices,
            capture=Capture(self._vault),
            observer=self._observer,
            reporter=Reporter(telemetry, self._steered.windows, logs_requests=config.log.requests),
            telemetry=telemetry,
            limits=config.limits,
            runs=None
            if self._runs.store is None
            else Runs(self._runs.store, self._reader, telemetry),
        )

    def _compose_application(self) -> Application:
        config = self._config
        records = Records(
            self._snapshot,
            self._reader,
            self._vault,
            self._keys.published,
            self._rates.limiter("reads"),
            config.limits.verify_per_s_max,
        )
        listener = Listener(
            limits=config.limits,
            trusted_proxies=tuple(
                ipaddress.ip_network(network) for network in config.listen.trusted_proxies
            ),
            cors_origins=frozenset(config.listen.cors_origins),
            docs_base=config.docs_base_url,
        )
        ledger = open_ledger_reads(config, records) if config.ledger.enabled else None
        # A limiter of its own: an agent that asks as often as it may can still report what it did.
        limiter = self._rates.limiter("spans")
        spans = open_spans(config, self._snapshot, self._runs.store, limiter, self._telemetry)
        beside = Beside(ledger=ledger, spans=spans, page=open_verify_page())
        return Application(
            self._pipeline, records, self._telemetry, listener, self._unready, beside
        )

    def _unready(self) -> list[str]:
        reasons = ["draining"] if self.server.is_draining else []
        if not self._journal.is_open():
            return [*reasons, "the journal is closed"]
        failure = self._journal.failure()
        return [*reasons, _uncommitted(self._slot, failure)] if failure else reasons

    def _server_settings(self) -> ServerSettings:
        limits, listen = self._config.limits, self._config.listen
        return ServerSettings(
            header_bytes_max=limits.header_bytes_max,
            head_s_max=limits.request_ms_max / 1_000,
            stall_s_max=limits.client_stall_ms_max / 1_000,
            drain_s_max=-(-limits.drain_ms_max // 1_000),
            tls_cert=listen.tls_cert,
            tls_key=listen.tls_key,
        )

    async def run(self, listener: socket, ready: Callable[[], None]) -> None:
        """Recover, serve, drain, and leave everything closed.

        Raises:
            JournalFailed: the journal's writer died; start the process again.
        """
        async with AsyncExitStack() as closing:
            # The last is closed first, and each is closed even if closing another fails.
            closing.callback(close_telemetry, self._telemetry)
            closing.callback(self._state.close)
            closing.callback(self._runs.close)
            closing.callback(self._budget.close)
            closing.callback(self._rates.close)
            closing.callback(self._reader.close)
            closing.callback(self._policy.close)
            closing.push_async_callback(self._upstream.aclose)
            closing.push_async_callback(self._journal.close)
            closing.push_async_callback(self._report_rest)
            closing.push_async_callback(self._steered.close)
            closing.push_async_callback(self._pipeline.drain)
            await self._recover()
            await self._journal.try_out()
            await self._steered.begin()
            await self._serve_sockets(closing)
            rounds = Rounds(self.server.stop)
            closing.callback(rounds.end)
            rounds.begin("watch", WATCH_S, self._refresh)
            rounds.begin("steering", FOLLOW_S, self._steered.follow)
            rounds.begin("windows", FOLLOW_S, self._steered.write)
            rounds.begin("report", REPORT_S, self._report)
            rounds.begin("budget", RENEW_S, self._budget.renew)
            rounds.begin("forget runs", PRUNE_S, self._runs.prune)
            listener.listen(BACKLOG)
            await self.server.serve(listener, ready)
            rounds.check()

    async def _recover(self) -> None:
        failures = await recover(self._sealer, self._journal)
        if self._index == 0:
            config = self._config
            workers = range(config.listen.workers)
            heir = Heir(
                data=config.data,
                issuer=config.plan.issuer,
                signer=self._keys.signer,
                telemetry=self._telemetry,
                open_journal=self._parts.journal,
            )
            failures += await heir.recover(
                {self._slot, *(next_slot_name(config.data, index) for index in workers)}
            )
        for error in failures:
            fields = {"error": error.detail, "next": error.advice}
            log.error("could not recover", extra={"fields": fields})

    async def _serve_sockets(self, closing: AsyncExitStack) -> None:
        saying = await serve_readiness(self._config.data, self._slot, self._unready)
        path = readiness_path(self._config.data, self._slot)
        closing.callback(path.unlink, missing_ok=True)
        closing.callback(saying.close)
        exposition = await serve_telemetry(self._config.data, self._slot, self._telemetry)
        if exposition is not None:
            path = socket_path(run_folder(self._config.data), self._slot)
            closing.callback(path.unlink, missing_ok=True)
            closing.callback(exposition.close)

    async def _refresh(self) -> None:
        """Swap API keys and signing key when they change, and the policy when its bundle does.

        Raises:
            JournalFailed: the journal's writer died; only a new process can open it again.
        """
        if not self._journal.is_open():
            raise JournalFailed("the writer of the journal has ended")
        current, version = self._snapshot.current, self._directory.version()
        if version != current.version:
            # The plan stays for the life of the process, so nothing else is compiled anew.
            keys = {key.id: key for key in self._directory.api_keys()}
            self._snapshot.swap(msgspec.structs.replace(current, keys=keys, version=version))
        if self._policy.reload():
            log.info("policy reloaded", extra={"fields": {"bundle": self._policy.bundle}})
        signer = self._keys.refresh()
        if signer is not None:
            self._sealer.use(signer)

    async def _report(self) -> None:
        """Write down what observe mode let through.

        A batch that cannot be written is kept for the next round; what collects behind it is
        within the observer's own bound.
        """
        self._unwritten = self._unwritten or self._observer.take()
        await asyncio.to_thread(self._write_observed)

    async def _report_rest(self) -> None:
        """Write the batch that was under way or kept, and then what collected behind it."""
        await self._report()
        await self._report()

    def _write_observed(self) -> None:
        with self._writing:
            if self._unwritten:
                self._directory.observe(storable(self._unwritten))
                self._unwritten = ()


def _uncommitted(slot: str, failure: str) -> str:
    return (
        f"the newest commit of journal {slot} failed: {failure}; check the disk of the data folder "
        "but delete nothing under journal/; ready again by itself once a commit succeeds"
    )


def _upstream(config: Config) -> Upstream:
    """Return the HTTP client that the configuration names; both keep one contract."""
    return PyreqwestUpstream() if config.upstream_client == "pyreqwest" else KeepAliveUpstream()


def _credentials(config: Config) -> Credentials:
    headers: dict[ProviderId, tuple[str, str]] = {}
    for name, secret in config.credentials.items():
        provider = config.plan.providers[name]
        headers[name] = (provider.auth_header, provider.auth_scheme + secret.reveal())
    return Credentials(headers)
