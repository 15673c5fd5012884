"""Composes rollups and the archive: for the loop of the control process and for the commands."""

import asyncio
import logging
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from verismo.adapters.adapt_leaves import ArchivedAdapt, open_leaves
from verismo.adapters.archive_folder import FolderArchive
from verismo.adapters.archive_s3 import S3Archive, S3Settings
from verismo.adapters.checkpoint_file import FolderCheckpoints
from verismo.adapters.contradictions_file import ContradictionsFile
from verismo.adapters.folder_sync import sync_folder
from verismo.adapters.journal_reader import SqliteJournalReader
from verismo.adapters.journal_restored import RestoredJournals
from verismo.adapters.keyring_files import KeyRingFiles
from verismo.adapters.ledger_sqlite import SqliteLedger
from verismo.adapters.restoration import LEDGER_MARKER
from verismo.adapters.rollups_folder import FOLDER, FolderRollups
from verismo.adapters.siem_sqlite import FILE_NAME as SIEM_FILE
from verismo.adapters.siem_sqlite import SqliteSiemStore
from verismo.adapters.telemetry_archive import archive_lines
from verismo.adapters.tiles_folder import FolderTiles
from verismo.adapters.vault_file import FileVault
from verismo.attest.parity import manifest_of
from verismo.config.archivetable import ArchiveSettings
from verismo.config.schema import Config
from verismo.control.dayleaves import LeafDesk
from verismo.control.dayrollup import RollupDesk, SiemReport
from verismo.control.leafsources import AdaptSource, KeyRingSource
from verismo.control.restoring import RestoreDesk, RestoredLedger, restore_ledger
from verismo.control.rollups import Rollups, Vaulted
from verismo.control.rotation import RingHistory
from verismo.control.siem import siem_counters
from verismo.model.errors import IntegrityError, OperatorError, StateError
from verismo.model.ids import TenantId
from verismo.model.ledger import LogId
from verismo.model.retention import (
    Lock,
    compliance_lock,
    day_end,
    governance_lock,
    midnight_ms,
)
from verismo.ports.archive import Archive
from verismo.ports.ledger import LedgerForked
from verismo.wiring.keys import open_signer
from verismo.wiring.ledgerreads import ledger_places
from verismo.wiring.rounds import Rounds
from verismo.wiring.state import open_state
from verismo.wiring.vault import make_data_keys, open_vault

ROLLUPS_S = 60.0
"""A day's rollup is made within a minute of the time that it can be."""

log = logging.getLogger("verismo.rollups")


def open_archive(settings: ArchiveSettings) -> Archive | None:
    """Return the archive of a configuration; None where there is none.

    Raises:
        StateError: the extra `cluster` is missing, or the store cannot be used.
    """
    if settings.kind == "off":
        return None
    if settings.kind == "folder":
        return FolderArchive(settings.folder)
    return S3Archive(
        S3Settings(settings.bucket, settings.region, settings.endpoint, settings.prefix)
    )


def open_vaulted(settings: ArchiveSettings) -> Vaulted | None:
    """Return the archive with the locks that it puts on what it gets."""
    archive = open_archive(settings)

    def lock_of(day: date) -> Lock:
        if settings.mode == "COMPLIANCE":
            return compliance_lock(day)
        return governance_lock(day, settings.governance_days)

    return None if archive is None else Vaulted(archive, lock_of)


@contextmanager
def open_desk(config: Config, now_ms: int) -> Iterator[RollupDesk]:
    """Open what rollups are made with.

    Args:
        config: the validated configuration.
        now_ms: Unix ms.

    Raises:
        LedgerForked: the ledger is stopped: what it says of a day may not be what the world knows.
        StateError: the ledger, the key ring or the rollup key cannot be used.
    """
    _refuse_stopped(config.data)
    places = ledger_places(config.data)
    ring = KeyRingFiles(config.data)
    with (
        closing(SqliteLedger(places.state, read_only=True)) as ledger,
        closing(SqliteJournalReader(config.data)) as journal,
        closing(open_leaves(config.data)) as adapt,
        open_state(config.data) as state,
    ):
        yield RollupDesk(
            issuer=config.plan.issuer,
            leaves=LeafDesk(
                ledger,
                FolderTiles(places.tiles),
                journal,
                (KeyRingSource(ring), AdaptSource(adapt)),
            ),
            ring=RingHistory(ring).read,
            vault=open_vault(config.data, state),
            rollups=FolderRollups(config.data / FOLDER),
            signer=open_signer(config.data, "rollup", config.keys, now_ms),
            siem=lambda origin, day: siem_report(config, origin, day),
        )


def _refuse_stopped(data: Path) -> None:
    """Roll nothing up and upload nothing of a ledger that may sign nothing itself."""
    if (data / LEDGER_MARKER).exists():
        raise LedgerForked(
            f"{data} was restored; the published log may be ahead of the backup",
            next_step="Run `verismo ledger adopt` first; docs/runbooks/ledger-refused.md.",
        )
    if ContradictionsFile(data).contradictions().stops:
        raise LedgerForked(
            "a quorum of witnesses knows another ledger than this one",
            next_step="`verismo ledger status` names them; docs/runbooks/witness-split-view.md.",
        )


def siem_report(config: Config, origin: str, day: date) -> SiemReport | None:
    """Return what the export says about a log and day; None where nothing was ever exported."""
    path = config.data / SIEM_FILE
    if not config.siem.sinks or not path.exists():
        return None
    begin_ms, end_ms = midnight_ms(day), midnight_ms(day_end(day))
    with closing(SqliteSiemStore(path)) as store:
        counters = siem_counters(store, origin)
        hours = {
            one.sink: [
                manifest_of(tally)
                for tally in store.hours(one.sink, begin_ms, end_ms)
                if tally.log == origin
            ]
            for one in counters
        }
    return (counters, msgspec.json.encode(hours, order="sorted")) if counters else None


class RollupLoop:
    """Makes rollups and uploads days in a thread of its own; a failure is logged and tried again.

    Args:
        config: the validated configuration.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._thread = ThreadPoolExecutor(1, "verismo-rollups")
        self._ending = threading.Event()
        self._told = ""
        self._has_keys = False
        self._failures = 0
        self._waiting: dict[LogId, int] = {}
        self._placed: set[LogId] = set()

    async def expose(self) -> list[str]:
        """Return the metrics of rollups and the archive, as of the last round."""
        return archive_lines(self._waiting, self._failures)

    def begin(self, rounds: Rounds) -> None:
        """Begin the loop."""
        rounds.begin("rollups", ROLLUPS_S, self.round)

    async def round(self) -> None:
        """Bring every log up to date."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._work)

    async def close(self) -> None:
        """End after the day that is under way: what is not finished is made again."""
        self._ending.set()
        await asyncio.to_thread(self._thread.shutdown)

    def _work(self) -> None:
        now_ms = clock_ms()
        if self._ending.is_set():
            return
        try:
            if not self._has_keys:
                make_data_keys(self._config)
                self._has_keys = True
            if not ledger_places(self._config.data).state.exists():
                return  # the ledger has not begun: there is nothing to roll up
            vaulted = open_vaulted(self._config.archive)
            with open_desk(self._config, now_ms) as desk:
                self._bring_up(Rollups(desk, vaulted, self._placed), now_ms)
            self._told = ""
        except StateError as error:
            self._tell(error.detail, error.advice)
        except IntegrityError as error:
            self._tell(error.detail, "docs/runbooks/archive-failing.md")

    def _bring_up(self, rollups: Rollups, now_ms: int) -> None:
        try:
            for which, day in rollups.step(now_ms):
                fields = {"log": which.path, "day": day.isoformat()}
                log.info("rolled up", extra={"fields": fields})
        finally:
            self._waiting = rollups.waiting(now_ms)

    def _tell(self, detail: str, advice: str) -> None:
        """Count a failure, and log it once, not every minute."""
        self._failures += 1
        if detail != self._told:
            fields = {"error": detail, "next": advice}
            log.error("rollups or the archive fail", extra={"fields": fields})
        self._told = detail


def archive_at(place: str, region: str, endpoint: str) -> Archive:
    """Return the archive that an operator names.

    Args:
        place: a folder, or `s3://BUCKET/PREFIX`.
        region: of the bucket; empty takes the environment's.
        endpoint: URL of a store other than AWS.

    Raises:
        OperatorError: neither a folder that is there nor such a URL.
    """
    parts = urlsplit(place)
    if parts.scheme == "s3" and parts.netloc:
        return S3Archive(S3Settings(parts.netloc, region, endpoint, parts.path.strip("/")))
    if parts.scheme == "s3" or not Path(place).is_dir():
        raise OperatorError(
            f"{place!r} is not an archive", next_step="Name a folder or s3://BUCKET/PREFIX."
        )
    return FolderArchive(Path(place))


def restore_from(archive: Archive, data: Path, keys: Path | None) -> RestoredLedger:
    """Rebuild a ledger in an empty folder from an archive alone.

    Args:
        archive: what is restored.
        data: an empty folder, or one to be made.
        keys: the tenants' data keys, `keys/tenants` of a data folder or what holds it; None opens
            no record.

    Returns:
        What was restored. Where it fails nothing is left: the folder gets its name at the end.

    Raises:
        StateError: the folder is not empty, or a store or the archive cannot be used.
        IntegrityError: something in the archive is not what was signed.
    """
    if data.exists() and any(data.iterdir()):
        raise StateError(
            f"{data} is not empty", next_step="Restore into a folder that is empty or not there."
        )
    try:
        data.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{data.name}.", dir=data.parent))
    except OSError as error:
        raise StateError(
            f"{data} cannot be made: {error.strerror}",
            next_step="Name a folder in a place that this user may write.",
        ) from error
    try:
        restored = _restore_into(staging, archive, keys)
        staging.rename(data)
    finally:
        if staging.exists():
            shutil.rmtree(staging)
    sync_folder(data.parent)
    return restored


def _restore_into(data: Path, archive: Archive, keys: Path | None) -> RestoredLedger:
    places = ledger_places(data)
    folder = _keys_in(keys) if keys is not None else data / "no-keys"
    with closing(SqliteLedger(places.state)) as ledger:
        desk = RestoreDesk(
            archive=archive,
            store=ledger,
            lease=ledger,
            tiles=FolderTiles(places.tiles),
            memory=FolderCheckpoints(places.memory),
            rollups=FolderRollups(data / FOLDER),
            ring=KeyRingFiles(data),
            records=RestoredJournals(data, secrets.token_hex(4)),
            control=ArchivedAdapt(data),
            vault=FileVault(folder),
            tenants=tuple(TenantId(path.stem) for path in sorted(folder.glob("*.key"))),
        )
        return restore_ledger(desk, clock_ms())


def clock_ms() -> int:
    """Return the present, Unix ms."""
    return time.time_ns() // 1_000_000


def _keys_in(folder: Path) -> Path:
    for place in (folder / "keys" / "tenants", folder / "tenants", folder):
        if any(place.glob("*.key")):
            return place
    raise OperatorError(
        f"{folder} holds no tenant's data key",
        next_step="Name keys/tenants of the data folder or of a backup made with --with-keys.",
    )
