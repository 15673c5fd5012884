"""Composes what asks witnesses, for the control process; the integrator knows nothing of it."""

import asyncio
import time
from collections.abc import Mapping

from verismo.adapters.contradictions_file import ContradictionsFile
from verismo.adapters.cosigned_folder import FolderCosigned
from verismo.adapters.telemetry_witness import witness_lines
from verismo.adapters.tiles_folder import CHECKPOINT, FolderTiles
from verismo.adapters.witness_http import HttpWitnesses
from verismo.attest.witnesspolicy import WitnessPolicy
from verismo.config.schema import Config
from verismo.control.witnessing import WitnessDesk, Witnessing
from verismo.control.witnesspeer import WitnessAddress
from verismo.model.ledger import LogId
from verismo.wiring.ledgerreads import ledger_places
from verismo.wiring.rounds import Rounds

WITNESSES_S = 0.1
"""Pause between two rounds; a checkpoint comes once a second."""


class WitnessLoop:
    """Asks the configured witnesses; made and used in one event loop.

    Args:
        config: the validated configuration.
        policy: of the configuration.
    """

    def __init__(self, config: Config, policy: WitnessPolicy) -> None:
        settings = config.witness
        tiles = ledger_places(config.data).tiles
        self._tiles = FolderTiles(tiles)
        self._loop = asyncio.get_running_loop()
        self._client = HttpWitnesses(settings.timeout_ms / 1_000)
        self._witnessing = Witnessing(
            WitnessDesk(
                policy=policy,
                addresses=tuple(WitnessAddress(o.name, o.key, o.url) for o in settings.urls),
                client=self._client,
                tiles=self._tiles,
                cosigned=FolderCosigned(tiles),
                contradictions=ContradictionsFile(config.data),
                now_ms=lambda: time.time_ns() // 1_000_000,
                timeout_ms=settings.timeout_ms,
            )
        )

    def begin(self, rounds: Rounds) -> None:
        """Begin the loop."""
        rounds.begin("witnesses", WITNESSES_S, self._witnessing.round)

    async def look(self) -> None:
        """Ask every witness, before anything is signed, whether it knows another ledger.

        Raises:
            StateError: what is published cannot be read.
        """
        await self._witnessing.look(await asyncio.to_thread(self._published))

    def _published(self) -> dict[LogId, bytes]:
        found = {one: self._tiles.read(one, CHECKPOINT) for one in self._tiles.logs()}
        return {one: note for one, note in found.items() if note is not None}

    def notice(self, published: Mapping[LogId, bytes]) -> None:
        """Take note of checkpoints that were published; from any thread, without waiting."""
        if published:
            self._loop.call_soon_threadsafe(self._witnessing.notice, published)

    async def expose(self) -> list[str]:
        """Return the metrics."""
        return witness_lines(
            {one.log: one.cosigned_size for one in self._witnessing.logs()},
            {one.log: one.delay_ms / 1_000 for one in self._witnessing.logs()},
            {
                one.name: None if one.cosigned_age_ms is None else one.cosigned_age_ms / 1_000
                for one in self._witnessing.witnesses()
            },
            {one.name: one.failures for one in self._witnessing.witnesses()},
        )

    async def close(self) -> None:
        """Give up what is under way."""
        await self._witnessing.aclose()
        await self._client.aclose()
