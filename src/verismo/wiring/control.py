"""Composes the control process: the administrators' API on a listener of its own."""

import ipaddress
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from verismo.adapters.http_uvicorn import HttpServer, ServerSettings
from verismo.adapters.journal_slot import next_slot_name
from verismo.config.schema import Config, ControlListen
from verismo.control.acts import AdaptDesk
from verismo.control.api import ControlDesk, control_app
from verismo.model.errors import StateError
from verismo.wiring.adapt import AdaptLoop
from verismo.wiring.canarygauges import CanaryGauges
from verismo.wiring.chosen import scaling_gauges, siem_loop, slo_loop, witness_loop
from verismo.wiring.keys import ROTATION_S, exposing_keys, rotating
from verismo.wiring.ledger import LedgerLoop
from verismo.wiring.readiness import LOOK_S, Readiness
from verismo.wiring.rollups import RollupLoop
from verismo.wiring.rounds import Rounds
from verismo.wiring.state import open_state
from verismo.wiring.telemetry import read_expositions, run_folder

BACKLOG = 128
Expose = Callable[[], Awaitable[list[str]]]
"""Returns metrics of this process as OpenMetrics lines."""
CONTROL = "control"
"""The label `worker` of this process's own metrics."""


async def run_control(config: Config, ready: Callable[[], None]) -> None:
    """Run the control process until SIGTERM or SIGINT.

    Args:
        config: the validated configuration.
        ready: called once, when requests are about to be answered.

    Raises:
        StateError: the control port is taken, or state.db cannot be used.
    """
    limits = config.limits
    settings = ServerSettings(
        header_bytes_max=limits.header_bytes_max,
        head_s_max=limits.request_ms_max / 1_000,
        stall_s_max=limits.client_stall_ms_max / 1_000,
        drain_s_max=1,
    )
    witnesses = witness_loop(config)
    asking = () if witnesses is None else (witnesses.notice, witnesses.look)
    ledger = LedgerLoop(config, *asking) if config.ledger.enabled else None
    rollups = RollupLoop(config) if config.ledger.enabled else None
    siem = siem_loop(config)
    adapt = AdaptLoop(config) if config.adapt.enabled else None
    canary = CanaryGauges(config.data) if config.adapt.enabled else None
    shown = (canary, scaling_gauges(config), slo_loop(config))
    parts = [part for part in (witnesses, ledger, rollups, siem, adapt, *shown) if part is not None]
    readiness = Readiness(config.data, lambda: _slots(config))
    exposes: list[Expose] = [exposing_keys(config.data), readiness.expose]
    exposes += [part.expose for part in parts]
    with open_state(config.data) as state, _bound(config.control) as listener:
        desk = ControlDesk(
            admins=state.admins,
            directory=state.directory,
            plan=lambda: config.plan,
            expositions=_expositions(config, exposes),
            unready=readiness.unready,
            now_ms=lambda: time.time_ns() // 1_000_000,
            metrics_need_no_key=_is_loopback(config.control.host),
            docs_base=config.docs_base_url,
            adapt=None if adapt is None else _adapt_desk(adapt),
        )
        server = HttpServer(control_app(desk), settings)
        rounds = Rounds(server.stop)
        rounds.begin("readiness", LOOK_S, readiness.look)
        rounds.begin("keys", ROTATION_S, rotating(config.data, config.keys))
        try:
            for part in parts:
                part.begin(rounds)
            await server.serve(listener, ready)
        finally:
            rounds.end()
            for part in reversed(parts):
                await part.close()
        rounds.check()


def _adapt_desk(loop: AdaptLoop) -> AdaptDesk:
    return AdaptDesk(loop.take, loop.decisions, loop.steering)


def _slots(config: Config) -> list[str]:
    return [next_slot_name(config.data, index) for index in range(config.listen.workers)]


def _expositions(
    config: Config, exposes: Sequence[Expose]
) -> Callable[[], Awaitable[Mapping[str, bytes]]]:
    slots = _slots(config)

    async def read() -> Mapping[str, bytes]:
        texts = dict(await read_expositions(run_folder(config.data), slots))
        lines = [line for expose in exposes for line in await expose()]
        texts[CONTROL] = "".join([*lines, "# EOF\n"]).encode("utf-8")
        return texts

    return read


def _bound(listen: ControlListen) -> socket.socket:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((listen.host, listen.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise StateError(
            f"cannot bind the control listener {listen.host}:{listen.port}: {error.strerror}",
            next_step="Set another `[control] port`, or end the program that has it.",
        ) from error
    return listener


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
