"""Opens the budgets that the workers of a data folder share, and keeps their leases renewed."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from verismo.adapters.budget_leased import BudgetTerms, LeasedBudget, day_start_ms
from verismo.adapters.budget_slices import FILE_NAME
from verismo.adapters.journal_reader import SqliteJournalReader
from verismo.config.schema import Config

RENEW_S: Final = 1.0
"""How often leases are renewed and what was spent is told."""
_NS_PER_MS: Final = 1_000_000

MakeBudget = Callable[[BudgetTerms, int], LeasedBudget]
"""From the terms and the start of the present UTC day, Unix ms."""


class KeptBudget:
    """One worker's budgets, and their end.

    Args:
        config: the validated configuration.
        slot: the worker's; nobody else uses it.
        make: the budgets.

    Raises:
        StateError: the journals cannot be read.
    """

    def __init__(self, config: Config, slot: str, make: MakeBudget) -> None:
        # A reader of its own: reading a day's costs may take a while, and requests read too.
        self._reader = SqliteJournalReader(config.data)
        terms = BudgetTerms(
            path=config.data / FILE_NAME,
            slot=slot,
            workers=config.listen.workers,
            limit=lambda tenant: config.plan.tenants[tenant].budget_usd_micros_per_day,
            journaled=self._reader.spent_by_slot,
            clock_ms=lambda: time.monotonic_ns() // _NS_PER_MS,
        )
        self.leased = make(terms, day_start_ms(time.time_ns() // _NS_PER_MS))

    async def renew(self) -> None:
        """Do one round of what keeps the leases."""
        self.leased.expire()
        await asyncio.to_thread(self.leased.renew)

    def close(self) -> None:
        """Give back what is leased, and close the files."""
        self.leased.close()
        self._reader.close()
