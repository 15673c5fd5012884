"""A witness in a folder, and what a log sends to it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.tilelog import TileLog

from verismo.adapters.http_uvicorn import HttpServer, ServerSettings
from verismo.adapters.witness_key import WitnessKey
from verismo.adapters.witness_sqlite import SqliteWitness
from verismo.attest.merkle import consistency_proof
from verismo.attest.submission import Submission
from verismo.control.witness import Witness, witness_app
from verismo.ports.witness import TrustedLog
from verismo.wiring.witness import KEY_FILE, MEMORY_FILE, make_witness

NOW_S = 1_790_000_000
NAME = "witness.example/w1"


class Clock:
    """A clock that a test owns."""

    def __init__(self, now_s: int = NOW_S) -> None:
        self.now_s = now_s

    def __call__(self) -> int:
        """Return the time."""
        return self.now_s


def open_place(
    folder: Path, logs: list[TrustedLog], clock: Callable[[], int], name: str = NAME
) -> Witness:
    """Make a witness in a folder, or open it again."""
    if not (folder / MEMORY_FILE).exists():
        make_witness(folder, name)
    store = SqliteWitness(folder / MEMORY_FILE)
    store.trust(logs)
    return Witness(store, WitnessKey(folder / KEY_FILE), name, clock)


def trusted(log: TileLog) -> TrustedLog:
    """Return the log as a witness trusts it."""
    return TrustedLog(log.log.key.name, log.log.key.raw)


def submission(log: TileLog, old_size: int) -> Submission:
    """Return what an honest log sends."""
    proof = consistency_proof(old_size, log.size, log.tree)
    return Submission(old_size, proof, log.checkpoint().encode())


def forked(entries: list[bytes], origin: str) -> TileLog:
    """Return another log of the same key with other entries."""
    log = TileLog(origin)
    log.add(entries)
    return log


@asynccontextmanager
async def serving(witness: Witness) -> AsyncIterator[str]:
    """Serve a witness on a free port while the block runs; yields its URL."""

    listener = socket.create_server(("127.0.0.1", 0))
    limits = ServerSettings(16_384, 5.0, 1, obeys_signals=False)
    server = HttpServer(witness_app(witness), limits)
    task = asyncio.create_task(server.serve(listener))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.stop()
        await task
        listener.close()
