"""Composes the SIEM export: its sinks, its store, and the loops of the control process."""

import asyncio
import logging
import re
import time
from pathlib import Path

from verismo.adapters.adapt_leaves import open_leaves
from verismo.adapters.journal_reader import SqliteJournalReader
from verismo.adapters.keyring_files import KeyRingFiles
from verismo.adapters.ledger_sqlite import SqliteLedger
from verismo.adapters.siem_file import FileSink, FileSinkReader, FileSinkSettings
from verismo.adapters.siem_http import HttpSettings, HttpSink, HttpSinkReader
from verismo.adapters.siem_sqlite import FILE_NAME, SqliteSiemStore
from verismo.adapters.siem_syslog import SyslogSettings, SyslogSink
from verismo.adapters.telemetry_siem import SinkFigures, siem_lines
from verismo.adapters.tiles_folder import FolderTiles
from verismo.config.schema import Config, Sink
from verismo.control.siem import ExportDesk, ExportStatus, SinkExport, lag_ms
from verismo.control.siemleaves import LeafStores, LedgerLeaves
from verismo.control.siemparity import ParityDesk, ParityWatch
from verismo.model.errors import ConfigError, StateError
from verismo.ports.siem import SiemSink, SinkReader
from verismo.wiring.ledgerreads import ledger_places
from verismo.wiring.rounds import Rounds

PARITY_ROUND_S = 30.0

log = logging.getLogger("verismo.siem")


def open_sink(config: Config, sink: Sink) -> SiemSink:
    """Return the adapter of a sink; nothing is connected yet."""
    if sink.kind == "file":
        settings = FileSinkSettings(sink.folder, sink.rotate_bytes_max, sink.rotate_s_max)
        return FileSink(settings, time.time)
    if sink.kind == "syslog":
        return SyslogSink(
            SyslogSettings(
                host=sink.host,
                port=sink.port,
                tls=sink.tls,
                ca_file=sink.ca_file,
                hostname=sink.hostname or _issuer_host(config.plan.issuer),
                structured_data_id=sink.structured_data_id,
                message_bytes_max=sink.message_bytes_max,
                timeout_s=sink.timeout_ms / 1_000,
            )
        )
    return HttpSink(_http_settings(sink), time.time)


def open_sink_reader(sink: Sink) -> SinkReader | None:
    """Return what reads a sink back; None if it cannot be read from here."""
    if sink.kind == "file":
        return FileSinkReader(sink.folder)
    if sink.kind == "syslog":
        return None if sink.received_file is None else FileSinkReader(sink.received_file)
    return HttpSinkReader(_http_settings(sink)) if sink.query_url else None


class SiemParts:
    """What the export and its comparison read and write; close it.

    Args:
        config: the validated configuration.

    Raises:
        StateError: siem.db cannot be used.
    """

    def __init__(self, config: Config) -> None:
        self.store = SqliteSiemStore(config.data / FILE_NAME)
        self._journal = SqliteJournalReader(config.data)
        places = ledger_places(config.data)
        self._ledger = SqliteLedger(places.state, read_only=True)
        self._adapt = open_leaves(config.data)
        self.leaves = LedgerLeaves(
            config.plan.issuer,
            LeafStores(
                ledger=self._ledger,
                journal=self._journal,
                keyring=KeyRingFiles(config.data),
                adapt=self._adapt,
                tiles=FolderTiles(places.tiles),
            ),
        )

    def close(self) -> None:
        """Close every file."""
        self.store.close()
        self._journal.close()
        self._ledger.close()
        self._adapt.close()


def open_parity(config: Config, parts: SiemParts, name: str, from_file: Path | None) -> ParityDesk:
    """Return what a comparison of one sink works with.

    Args:
        config: the validated configuration.
        parts: ledger and store.
        name: of the sink.
        from_file: file or folder that holds what the sink received; None asks the sink itself.

    Raises:
        ConfigError: there is no such sink, or it cannot be read back.
    """
    sink = find_sink(config, name)
    reader = open_sink_reader(sink) if from_file is None else FileSinkReader(from_file)
    if reader is None:
        raise ConfigError(
            f"the sink {name} cannot be read back from here",
            next_step="Name what it received with --from FILE, or set `received_file` or "
            f"`query_url` of [siem.sinks.{name}].",
        )
    return ParityDesk(name, parts.leaves, parts.store, reader)


def find_sink(config: Config, name: str) -> Sink:
    """Return a sink by name.

    Raises:
        ConfigError: there is none of that name.
    """
    for sink in config.siem.sinks:
        if sink.name == name:
            return sink
    known = ", ".join(sink.name for sink in config.siem.sinks) or "none"
    raise ConfigError(
        f"there is no SIEM sink {name!r}; there are: {known}",
        next_step="Name one of them, or add [siem.sinks.NAME] to verismo.toml.",
    )


class SiemLoop:
    """The export in the control process: for each sink two loops that wait for nobody else.

    A store that cannot be opened is tried again; nothing else of the process depends on it.

    Args:
        config: the validated configuration; it has at least one sink.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._began_ms = _now_ms()
        self._parts: SiemParts | None = None
        self._sinks: dict[str, SiemSink] = {}
        self._exports: dict[str, SinkExport] = {}
        self._watches: dict[str, ParityWatch] = {}

    def begin(self, rounds: Rounds) -> None:
        """Begin the loop that begins the others."""
        interval_s = self._config.siem.interval_ms / 1_000
        rounds.begin("siem", interval_s, lambda: self.round(rounds))

    async def round(self, rounds: Rounds) -> None:
        """Open what the export needs and begin its loops, once.

        Args:
            rounds: the loops of the process.

        Raises:
            StateError: siem.db cannot be used now.
        """
        if self._parts is not None:
            return
        config = self._config
        self._parts = parts = await asyncio.to_thread(SiemParts, config)
        for sink in config.siem.sinks:
            self._sinks[sink.name] = opened = open_sink(config, sink)
            export = SinkExport(
                ExportDesk(
                    name=sink.name,
                    sink=opened,
                    leaves=parts.leaves,
                    store=parts.store,
                    now_ms=_now_ms,
                    batch_events_max=config.siem.batch_events_max,
                )
            )
            self._exports[sink.name] = export
            rounds.begin(f"siem {sink.name}", config.siem.interval_ms / 1_000, export.round)
            reader = open_sink_reader(sink) if config.siem.parity else None
            if reader is not None:
                desk = ParityDesk(sink.name, parts.leaves, parts.store, reader)
                watch = self._watches[sink.name] = ParityWatch(desk, _now_ms)
                rounds.begin(f"siem parity {sink.name}", PARITY_ROUND_S, watch.round)

    async def expose(self) -> list[str]:
        """Return the export's metrics."""
        return siem_lines(await asyncio.to_thread(self._figures))

    async def close(self) -> None:
        """Close connections and files; the loops have ended."""
        for watch in self._watches.values():
            await asyncio.to_thread(watch.close)
        for sink in self._sinks.values():
            await sink.aclose()
        if self._parts is not None:
            await asyncio.to_thread(self._parts.close)

    def _figures(self) -> list[SinkFigures]:
        waiting, dead = self._positions()
        now_ms = _now_ms()
        found = []
        for name in (sink.name for sink in self._config.siem.sinks):
            export = self._exports.get(name)
            unopened = ExportStatus(is_up=False, oldest_ms=self._began_ms)
            status = unopened if export is None else export.status
            watch = self._watches.get(name)
            found.append(
                SinkFigures(
                    sink=name,
                    is_up=status.is_up,
                    delivered=status.delivered,
                    failures=status.failures,
                    waiting=waiting.get(name),
                    lag_s=lag_ms(status, waiting.get(name), now_ms) / 1_000,
                    dead=dead.get(name),
                    parity_ppm=None if watch is None else watch.status.parity_ppm,
                    checked_s=None if watch is None else watch.status.checked_ms / 1_000,
                )
            )
        return found

    def _positions(self) -> tuple[dict[str, int], dict[str, int]]:
        """Return by sink how many leaves wait and how many letters are dead; empty if unknown."""
        parts = self._parts
        if parts is None:
            return {}, {}
        try:
            total = sum(parts.leaves.size(name) for name in parts.leaves.logs())
            progress = parts.store.progress()
        except StateError as error:
            fields = {"error": error.detail, "next": error.advice}
            log.warning("the export's figures cannot be read", extra={"fields": fields})
            return {}, {}
        waiting = dict.fromkeys(self._exports, total)
        dead = dict.fromkeys(self._exports, 0)
        for one in progress:
            if one.sink in waiting:
                waiting[one.sink] -= one.cursor + 1
                dead[one.sink] += one.dead
        return waiting, dead


def _http_settings(sink: Sink) -> HttpSettings:
    return HttpSettings(
        url=sink.url,
        token="" if sink.token is None else sink.token.reveal(),
        auth_scheme=sink.auth_scheme,
        ca_file=sink.ca_file,
        query_url=sink.query_url,
        timeout_s=sink.timeout_ms / 1_000,
    )


def _issuer_host(issuer: str) -> str:
    """Return what stands between the issuer's scheme and its path or port."""
    return re.split(r"[/:]", re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*://", "", issuer))[0] or "-"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
