"""What a worker has to do with the controllers: it follows their steering, and writes what it
counts.
"""

import asyncio
import logging
import threading

from verismo.adapters.adapt_file import FILE_NAME as ADAPT_FILE
from verismo.adapters.adapt_file import AdaptFile
from verismo.adapters.decisions_sqlite import SqliteSteering
from verismo.adapters.windows_sqlite import FILE_NAME, SqliteWindows
from verismo.attest.steeringdoc import SteeringRefused, check_later, open_steering
from verismo.config.schema import Config
from verismo.gateway.snapshot import SnapshotCell, steered, unsteered
from verismo.gateway.windows import KEPT_MAX, Closed, WindowCounts
from verismo.model.errors import StateError
from verismo.model.plan import Plan
from verismo.model.steering import Steering
from verismo.ports.steering import SteeringReader, SteeringRow
from verismo.ports.windows import IntervalThere, WindowSink
from verismo.wiring.keys import TokenKeys

FOLLOW_S = 0.5
"""How often the version of the steering is looked at, and whether an interval is over."""

log = logging.getLogger("verismo.worker")


class Follower:
    """Keeps one worker's snapshot at the newest steering that can be believed.

    Args:
        reader: of what the control plane published.
        keys: of this worker; they know the key ring.
        cell: whose snapshot is swapped.
    """

    def __init__(self, reader: SteeringReader, keys: TokenKeys, cell: SnapshotCell) -> None:
        self._reader = reader
        self._keys = keys
        self._cell = cell
        self._in_force: SteeringRow | None = None
        self._judged_by = keys.entries

    def follow(self) -> None:
        """Take the newest version if it is later than the one in force.

        Raises:
            StateError: it cannot be read or is refused; what is in force stays.
        """
        self._judge_again()
        current = self._cell.current
        after = 0 if current.steering is None else current.steering.version
        if self._reader.version() == after:
            return
        row = self._reader.newest()
        if row is None:
            raise _refused(0, "there is none any more", after)
        try:
            steering = open_steering(row.statement, row.jws, self._keys.entries)
            check_later(steering, after, current.base, current.plan.issuer)
            _check_row(row, steering)
            _check_known(current.plan, steering)
        except SteeringRefused as error:
            raise _refused(row.version, str(error), after) from error
        self._cell.swap(steered(current, steering))
        self._in_force, self._judged_by = row, self._keys.entries
        fields = {
            "version": steering.version,
            "rollouts": len(steering.rollouts),
            "throttles": len(steering.throttles),
        }
        log.info("steering followed", extra={"fields": fields})

    def _judge_again(self) -> None:
        """Let go of what is in force once its key is revoked: a thief may have signed it.

        No number of a version holds after that, since the thief chose it: what the control plane
        publishes next is followed, as after a start.
        """
        entries, row = self._keys.entries, self._in_force
        if entries is self._judged_by or row is None:
            return
        try:
            open_steering(row.statement, row.jws, entries)
        except SteeringRefused as error:
            self._in_force = None
            self._cell.swap(unsteered(self._cell.current))
            fields = {"version": row.version, "error": str(error)}
            log.warning("steering let go of", extra={"fields": fields})
        self._judged_by = entries


def _check_row(row: SteeringRow, steering: Steering) -> None:
    if row.version != steering.version:
        raise SteeringRefused(f"it stands at version {row.version} and says {steering.version}")


def _check_known(plan: Plan, steering: Steering) -> None:
    """Refuse a rollout between deployments that the operation does not have."""
    for rollout in steering.rollouts:
        operation = plan.operations.get(rollout.operation)
        if (
            operation is None
            or rollout.baseline not in operation.deployments
            or rollout.candidate not in operation.candidates
        ):
            raise SteeringRefused(f"the rollout of {rollout.operation[:128]!r} is of another plan")


def _refused(version: int, why: str, after: int) -> StateError:
    return StateError(
        f"version {version} of the steering is refused: {why}; version {after} stays in force",
        next_step="Look at the log of the control process. If nobody there published it, look for "
        "who writes adapt.db.",
    )


class WindowWriter:
    """Writes what one worker counted, interval after interval.

    Args:
        counts: of the worker.
        sink: where intervals go; None forgets them, where no controller runs.
        slot: the worker's.
    """

    def __init__(self, counts: WindowCounts, sink: WindowSink | None, slot: str) -> None:
        self._counts = counts
        self._sink = sink
        self._slot = slot
        self._unwritten: list[Closed] = []
        self._writing = threading.Lock()

    async def write(self) -> None:
        """Write the intervals that are over, in a thread.

        Raises:
            StateError: they cannot be written now; they are kept for the next call, up to an hour.
        """
        self._unwritten += self._counts.take()
        if self._unwritten:
            await asyncio.to_thread(self._write_all)

    async def write_rest(self) -> None:
        """Write everything, the interval under way too; the worker ends."""
        self._unwritten += self._counts.take_rest()
        try:
            await asyncio.to_thread(self._write_all)
        except StateError as error:
            fields = {"error": error.detail, "next": error.advice}
            log.warning("the last intervals were not written", extra={"fields": fields})

    def _write_all(self) -> None:
        with self._writing:
            del self._unwritten[:-KEPT_MAX]
            while self._unwritten:
                self._write_first()

    def _write_first(self) -> None:
        if self._sink is not None:
            try:
                self._sink.write(self._unwritten[0].interval(self._slot))
            except IntervalThere as error:
                fields = {"error": error.detail, "next": error.advice}
                log.warning("an interval was written before", extra={"fields": fields})
        self._unwritten.pop(0)


class Steered:
    """The worker's part of the controllers, and its end.

    Args:
        config: the validated configuration.
        slot: the worker's.
        keys: of the worker.
        cell: whose snapshot is swapped.
    """

    def __init__(self, config: Config, slot: str, keys: TokenKeys, cell: SnapshotCell) -> None:
        late_ms = {target.deployment: target.late_ms for target in config.scaling}
        window_ms = config.adapt.window_s * 1_000
        self.windows = WindowCounts(window_ms, config.plan.operations, late_ms)
        self._file = AdaptFile(config.data / ADAPT_FILE, read_only=True)
        self._sink = SqliteWindows(config.data / FILE_NAME)
        is_used = config.adapt.enabled
        self._writer = WindowWriter(self.windows, self._sink if is_used else None, slot)
        self._follower = Follower(SqliteSteering(self._file), keys, cell) if is_used else None

    async def follow(self) -> None:
        """Follow the newest steering.

        Raises:
            StateError: it is refused or cannot be read; the last one stays in force.
        """
        if self._follower is not None:
            self._follower.follow()

    async def begin(self) -> None:
        """Follow what there is before the first request comes; what is refused is logged."""
        try:
            await self.follow()
        except StateError as error:
            fields = {"error": error.detail, "next": error.advice}
            log.warning("started without steering", extra={"fields": fields})

    async def write(self) -> None:
        """Write the intervals that are over.

        Raises:
            StateError: they cannot be written now; the next round tries again.
        """
        await self._writer.write()

    async def close(self) -> None:
        """Write what was counted last and close the files."""
        await self._writer.write_rest()
        self._sink.close()
        self._file.close()
