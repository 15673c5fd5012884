"""Closes the streams that were open when a worker died, each with its one terminal record.

The sealing is that of the normal path. A worker does it for its own slot before its first request;
the first worker does it also for slots that no worker has any more, because there are fewer now.
"""

import time
from collections.abc import Callable, Collection
from pathlib import Path

import msgspec

from verismo.adapters.journal_slot import has_ended, slot_files
from verismo.adapters.journal_sqlite import SignVoid
from verismo.gateway.seal import Sealer
from verismo.model.errors import IntegrityError, StateError
from verismo.ports.journal import Journal, JournalFailed, OpenStream, Record
from verismo.ports.signer import Signer
from verismo.ports.telemetry import Telemetry

_NS_PER_MS = 1_000_000

OpenJournal = Callable[[Path, str, SignVoid], Journal]
"""Opens the journal of a data folder's slot, given what signs a gap."""


async def recover(sealer: Sealer, journal: Journal) -> list[StateError]:
    """Write the terminal record of every lost stream of a journal; run it before all requests.

    Args:
        sealer: of the journal's slot.
        journal: just opened.

    Returns:
        Why a stream could not be closed, for each such stream; it stays open, and the next start
        tries again.
    """
    failures: list[StateError] = []
    for stream in journal.lost_streams():
        try:
            # A crash between two of them leaves the rest open for the next start.
            await journal.append(_seal(sealer, stream))
        except StateError as error:
            failures.append(error)
        except (IntegrityError, JournalFailed) as error:
            failures.append(
                StateError(
                    f"the lost stream {stream.prov_id} could not be closed: {error}",
                    next_step="Check the token key and the disk; the next start tries again.",
                )
            )
    return failures


class Heir(msgspec.Struct, frozen=True):
    """Closes what slots without a worker have left open.

    Args:
        data: the data folder.
        issuer: the `iss` of statements.
        signer: holder of the active token key.
        telemetry: counts what is withheld for want of a signature.
        open_journal: opens a slot's journal.
    """

    data: Path
    issuer: str
    signer: Signer
    telemetry: Telemetry
    open_journal: OpenJournal

    async def recover(self, taken: Collection[str]) -> list[StateError]:
        """Recover the slots that have a journal but no worker.

        Args:
            taken: the slots of the workers there should be.

        Returns:
            Why a slot or a stream could not be recovered; the others were.
        """
        failures: list[StateError] = []
        for slot, path in sorted(slot_files(self.data).items()):
            if slot in taken or has_ended(path):
                continue
            try:
                failures += await self._adopt(slot)
            except StateError as error:
                # Owned by a process that is still draining, or damaged.
                failures.append(error)
        return failures

    async def _adopt(self, slot: str) -> list[StateError]:
        def void(first: int, last: int) -> Record:
            return sealer.void(first, last)

        journal = self.open_journal(self.data, slot, void)
        try:
            # Under the slot's own name: its numbers go on, so its sequence keeps no gap.
            last_seq = journal.last_seq()
            sealer = Sealer(self.signer, slot, self.issuer, last_seq, self.telemetry)
            return await recover(sealer, journal)
        finally:
            await journal.close()


def _seal(sealer: Sealer, stream: OpenStream) -> Record:
    try:
        return sealer.seal_lost(stream, time.time_ns() // _NS_PER_MS)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StateError(
            f"what the journal kept of the lost stream {stream.prov_id} is damaged: {error}",
            next_step="Keep the journal file for examination, and check the disk. The stream stays "
            "without a terminal record; everything else goes on.",
        ) from error
