"""A process that appends until it is killed: arguments data folder, callers, appends at most.

It prints each number after its append was acknowledged.
"""

import asyncio
import sys
from pathlib import Path

from tests.ports.journal_conformance import answer, void

from verismo.adapters.journal_sqlite import SqliteJournal


async def append_concurrently(data: Path, callers: int, appends_max: int) -> None:
    journal = SqliteJournal(data, "s0", void)
    seq_n = journal.last_seq()
    end = seq_n + appends_max

    async def append() -> None:
        nonlocal seq_n
        while seq_n < end:
            seq_n += 1
            number = seq_n
            await journal.append(answer(number, size_bytes=number % 7 * 500))
            print(number, flush=True)

    await asyncio.gather(*[append() for _ in range(callers)])
    await journal.close()


if __name__ == "__main__":
    asyncio.run(append_concurrently(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
