"""Composes what asks witnesses, for the control process; the integrator knows nothing of it."""

import asyncio
import time
from collections.abc import Mapping

from verismo.adapters.cosigned_folder import FolderCosigned
from verismo.adapters.telemetry_witness import witness_lines
from verismo.adapters.tiles_folder import FolderTiles
from verismo.adapters.witness_http import HttpWitnesses
from verismo.config.schema import Config
from verismo.control.witnessing import WitnessDesk, Witnessing
from verismo.control.witnesspeer import WitnessAddress
from verismo.model.ledger import LogId
from verismo.wiring.ledgerreads import ledger_places

WITNESSES_S = 0.1
"""Pause between two rounds; a checkpoint comes once a second."""


class WitnessLoop:
    """Asks the configured witnesses; made and used in one event loop.

    Args:
        config: the validated configuration; without a policy nobody is asked.
    """

    def __init__(self, config: Config) -> None:
        settings = config.witness
        self._loop = asyncio.get_running_loop()
        self._client = HttpWitnesses(settings.timeout_ms / 1_000)
        self._witnessing: Witnessing | None = None
        if settings.policy is not None:
            tiles = ledger_places(config.data).tiles
            desk = WitnessDesk(
                policy=settings.policy,
                addresses=tuple(WitnessAddress(o.name, o.key, o.url) for o in settings.urls),
                client=self._client,
                tiles=FolderTiles(tiles),
                cosigned=FolderCosigned(tiles),
                now_ms=lambda: time.time_ns() // 1_000_000,
                timeout_ms=settings.timeout_ms,
            )
            self._witnessing = Witnessing(desk)

    def notice(self, published: Mapping[LogId, bytes]) -> None:
        """Take note of checkpoints that were published; from any thread, without waiting."""
        if self._witnessing is not None and published:
            self._loop.call_soon_threadsafe(self._witnessing.notice, published)

    async def round(self) -> None:
        """Ask whoever can be asked."""
        if self._witnessing is not None:
            await self._witnessing.round()

    async def expose(self) -> list[str]:
        """Return the metrics; none without a policy."""
        if self._witnessing is None:
            return []
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
        if self._witnessing is not None:
            await self._witnessing.aclose()
        await self._client.aclose()
