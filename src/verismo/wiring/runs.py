"""Opens what is kept of agents' runs until they are sealed, where an agent is registered at all."""

import asyncio
import time

from verismo.adapters.runs_sqlite import FILE_NAME, SqliteRuns
from verismo.config.schema import Config

PRUNE_S = 60.0
"""How often silent runs are looked for; they may be silent for an hour by default."""
_NS_PER_MS = 1_000_000


class KeptRuns:
    """The runs of a data folder, and their end.

    Args:
        config: the validated configuration.

    Raises:
        StateError: the file cannot be used.
    """

    def __init__(self, config: Config) -> None:
        is_used = any(op.kind == "agent" for op in config.plan.operations.values())
        self.store = SqliteRuns(config.data / FILE_NAME) if is_used else None
        self._idle_ms_max = config.limits.run_idle_ms_max

    async def prune(self) -> None:
        """Forget runs that have been silent for too long.

        Raises:
            StateError: the file cannot be used.
        """
        if self.store is not None:
            before_ms = time.time_ns() // _NS_PER_MS - self._idle_ms_max
            await asyncio.to_thread(self.store.prune, before_ms)

    def close(self) -> None:
        """Close the file."""
        if self.store is not None:
            self.store.close()
