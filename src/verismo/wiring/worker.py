"""Composes one gateway worker and runs it: its slot's journal and signer, the request path, the
server, and the small background loops that keep its snapshot current.
"""

import asyncio
import ipaddress
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from socket import socket

import msgspec

from verismo.adapters.budget_fixed import FixedBudget, day_start_ms
from verismo.adapters.cache_memory import MemoryCache
from verismo.adapters.http_uvicorn import HttpServer, ServerSettings
from verismo.adapters.journal_reader import SqliteJournalReader
from verismo.adapters.journal_slot import next_slot_name
from verismo.adapters.journal_sqlite import SignVoid, SqliteJournal
from verismo.adapters.prices_genai import GenaiPrices
from verismo.adapters.signer_file import FileSigner, make_secret, read_secret
from verismo.adapters.upstream_keepalive import KeepAliveUpstream
from verismo.adapters.upstream_pyreqwest import PyreqwestUpstream
from verismo.adapters.vault_file import FileVault
from verismo.attest.keys import Role
from verismo.config.schema import Config
from verismo.gateway.admit import Admission
from verismo.gateway.app import Application, Listener
from verismo.gateway.call import Credentials, Dispatcher
from verismo.gateway.capture import Capture
from verismo.gateway.choose import Breakers
from verismo.gateway.dialects.anthropic import AnthropicDialect
from verismo.gateway.dialects.graphql import GraphqlDialect
from verismo.gateway.dialects.http import HttpDialect
from verismo.gateway.dialects.openai import OpenAiDialect
from verismo.gateway.observe import Observer
from verismo.gateway.pipeline import Desk, Pipeline, recover
from verismo.gateway.ratelimit import RateLimiter
from verismo.gateway.records import Records
from verismo.gateway.report import Reporter
from verismo.gateway.seal import Sealer
from verismo.gateway.snapshot import Snapshot, SnapshotCell, compile_snapshot
from verismo.model.errors import StateError
from verismo.model.ids import ProviderId, TenantId
from verismo.model.traffic import Usage
from verismo.model.units import UsdMicros
from verismo.ports.directory import Directory
from verismo.ports.journal import Journal, Record
from verismo.ports.policy import PolicyEngine
from verismo.ports.telemetry import Telemetry
from verismo.ports.upstream import Upstream
from verismo.wiring.policy import open_policy
from verismo.wiring.state import open_state
from verismo.wiring.telemetry import close_telemetry, open_telemetry, serve_telemetry

WATCH_S = 0.5
"""How often keys and policy are looked at for changes (decisions 12)."""
REPORT_S = 1.0
"""How often observed operations are written down."""

log = logging.getLogger("verismo.worker")


class KeyFiles(msgspec.Struct, frozen=True):
    """Where a data folder keeps its secrets.

    Args:
        token: seed of the active token key.
        handles: secret that tenants' opaque handles are derived from.
        tenants: folder of the tenants' data keys.
    """

    token: Path
    handles: Path
    tenants: Path


def key_files(data: Path) -> KeyFiles:
    """Return where a data folder keeps its secrets."""
    keys = data / "keys"
    return KeyFiles(
        token=keys / "token.key", handles=keys / "handles.key", tenants=keys / "tenants"
    )


def prepare_data(data: Path) -> list[Path]:
    """Make the secrets of a new data folder; returns those that were made now.

    Raises:
        StateError: answers were signed here before but the key is gone; making another would
            leave them without a key to verify them.
    """
    files = key_files(data)
    if not files.token.exists() and SqliteJournalReader(data).slots():
        raise StateError(
            f"{files.token} is missing although {data / 'journal'} has answers signed with it",
            next_step="Restore keys/ from a backup.",
        )
    return [path for path in (files.token, files.handles) if make_secret(path)]


class Parts(msgspec.Struct, frozen=True):
    """How the parts that can fail are made; tests put failing ones in their place.

    Args:
        signer: from the key's file and role.
        journal: from the data folder, the slot and what signs a gap.
        budget: as `FixedBudget` is made.
        telemetry: from the configuration and the slot.
    """

    signer: Callable[[Path, Role], FileSigner] = FileSigner
    journal: Callable[[Path, str, SignVoid], Journal] = SqliteJournal
    budget: Callable[
        [Callable[[TenantId], UsdMicros], int, Mapping[TenantId, int], int], FixedBudget
    ] = FixedBudget
    telemetry: Callable[[Config, str], Telemetry] = open_telemetry


def run_worker(
    config: Config, index: int, listener: socket, ready: Callable[[], None]
) -> Coroutine[None, None, None]:
    """Return the coroutine that is a worker's whole life.

    Args:
        config: the validated configuration.
        index: the worker's number, from 0; gives its slot.
        listener: the bound public socket.
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
        self._parts = parts = parts or Parts()
        files = key_files(config.data)
        self._state = open_state(config.data)
        self._directory: Directory = self._state.directory
        self._handle_secret = read_secret(files.handles)
        self._slot = next_slot_name(config.data, index)
        self._signer = parts.signer(files.token, "token")
        self._journal = parts.journal(config.data, self._slot, self._void)
        self._reader = SqliteJournalReader(config.data)
        self._vault = FileVault(files.tenants)
        self._snapshot = SnapshotCell(self._compile())
        self._policy: PolicyEngine = open_policy(config.policy)
        self._telemetry: Telemetry = parts.telemetry(config, self._slot)
        self._upstream: Upstream = _upstream(config)
        self._observer = Observer()
        self.breakers = Breakers()
        self._sealer = Sealer(
            self._signer,
            self._slot,
            config.plan.issuer,
            self._journal.last_seq(),
            self._telemetry,
        )
        self._pipeline = Pipeline(self._desk())
        self.application = self._compose_application()
        self.server = HttpServer(self.application, self._server_settings())

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
        workers = config.listen.workers
        today = day_start_ms(time.time_ns() // 1_000_000)
        spent = self._reader.spent_since(today)
        budget = self._parts.budget(
            lambda tenant: config.plan.tenants[tenant].budget_usd_micros_per_day,
            workers,
            {tenant: cost // workers for tenant, cost in spent.items()},
            today,
        )
        dispatcher = Dispatcher(
            upstream=self._upstream,
            dialects={
                "openai": OpenAiDialect(),
                "anthropic": AnthropicDialect(),
                "graphql": GraphqlDialect(),
                "http": HttpDialect(),
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
            admission=Admission(RateLimiter(workers), budget, prices),
            cache=MemoryCache(),
            breakers=self.breakers,
            dispatcher=dispatcher,
            prices=prices,
            capture=Capture(self._vault),
            observer=self._observer,
            reporter=Reporter(telemetry, logs_requests=config.log.requests),
            telemetry=telemetry,
            limits=config.limits,
        )

    def _compose_application(self) -> Application:
        config = self._config
        records = Records(
            self._snapshot,
            self._reader,
            self._vault,
            (self._signer.public,),
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
        return Application(self._pipeline, records, self._telemetry, listener, self._unready)

    def _unready(self) -> list[str]:
        return ["draining"] if self.server.is_draining else []

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
        """Recover, serve, drain, and leave everything closed."""
        for append in recover(self._sealer, self._journal):
            await append
        exposition = await serve_telemetry(self._config.data, self._slot, self._telemetry)
        loops = [asyncio.create_task(self._watch()), asyncio.create_task(self._report())]
        try:
            ready()
            await self.server.serve(listener)
            await self._pipeline.drain()
        finally:
            for loop in loops:
                loop.cancel()
            if exposition is not None:
                exposition.close()
            self._directory.observe(self._observer.take())
            await self._journal.close()
            await self._upstream.aclose()
            self._state.close()
            close_telemetry(self._telemetry)

    async def _watch(self) -> None:
        """Swap the snapshot when keys change, and the policy when its bundle does."""
        told = ""
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                self._refresh()
                told = ""
            except StateError as error:
                # The state in force stays and the next round tries again; the log says it once.
                if error.detail != told:
                    fields = {"error": error.detail, "next": error.advice}
                    log.warning("kept the last good state", extra={"fields": fields})
                told = error.detail

    def _refresh(self) -> None:
        if self._directory.version() != self._snapshot.current.version:
            self._snapshot.swap(self._compile())
        if self._policy.reload():
            log.info("policy reloaded", extra={"fields": {"bundle": self._policy.bundle}})

    async def _report(self) -> None:
        """Write down what observe mode let through."""
        while True:
            await asyncio.sleep(REPORT_S)
            taken = self._observer.take()
            if taken:
                await asyncio.to_thread(self._directory.observe, taken)


def _upstream(config: Config) -> Upstream:
    """Return the HTTP client that the configuration names; both keep one contract."""
    return PyreqwestUpstream() if config.upstream_client == "pyreqwest" else KeepAliveUpstream()


def _credentials(config: Config) -> Credentials:
    headers: dict[ProviderId, tuple[str, str]] = {}
    for name, secret in config.credentials.items():
        provider = config.plan.providers[name]
        headers[name] = (provider.auth_header, provider.auth_scheme + secret.reveal())
    return Credentials(headers)
