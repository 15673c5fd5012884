"""The ledger: how fast leaves become durable, how soon proofs are there, what a large tree costs.

Four parts. One process on the gateway's core integrates a journal of real records into a tree of
growing size; memory and CPU for each leaf are read on the way. Then proofs are made from its tiles.
Then a small tree and a large one grow in turn by the same number of leaves, so that their CPU for
each leaf is compared under the same disturbances. Last, a gateway answers 1,000 requests a second
(open loop) while its control process integrates on the same core; for each answer the time until a
published checkpoint covers it is measured from the moment when it was signed.
"""

import asyncio
import json
import random
import secrets
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from harness import results
from harness.gateways import Site, site, starter
from harness.integrating import ISSUER, SLOT
from harness.machine import describe, pin_self_to_load, versions
from harness.openloop import OpenLoop
from harness.percentiles import percentile
from harness.table import Value
from verismo.adapters.journal_reader import SqliteJournalReader
from verismo.adapters.journal_sqlite import SqliteJournal
from verismo.adapters.ledger_sqlite import SqliteLedger
from verismo.adapters.tiles_folder import FolderTiles
from verismo.attest.checkpoint import read_checkpoint
from verismo.attest.merkle import inclusion_proof, leaf_hash, verify_inclusion
from verismo.attest.note import read_note
from verismo.attest.tile import Tile, TileTree, entries_path, read_bundle
from verismo.model import canonical
from verismo.model.ids import TenantId, prov_id_from
from verismo.model.ledger import LogId, origin_of
from verismo.ports.journal import Record
from verismo.wiring.ledgerreads import ledger_places

RATE_PER_S = 1_000
POLL_S = 0.01
GRAPH_BYTES = 1_200
"""As a chat of one model hop has it."""
YEAR = 2026
IAT_MS = 1_780_000_000_000
COLUMNS = {
    "name": "what",
    "leaves": "leaves",
    "leaves_per_s": "durable leaves/s",
    "cpu_us": "CPU µs/leaf",
    "rss_mb": "peak MB",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
}


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Args:
        records: distinct records of the journal that is integrated.
        small: the tree size from which on CPU for each leaf is first read.
        trees: tree sizes at which a leg ends.
        turns: a small and a large size, leaves of a turn, and how many turns each takes.
        proofs: made from the largest tree.
        seconds: of paced requests.
    """

    records: int
    small: int
    trees: tuple[int, ...]
    turns: tuple[int, int, int, int]
    proofs: int
    seconds: int


FULL = Sizes(
    records=100_000,
    small=10_000,
    trees=(100_000, 900_000, 1_000_000, 9_900_000, 10_000_000),
    turns=(100_000, 1_000_000, 5_000, 41),
    proofs=5_000,
    seconds=60,
)
QUICK = Sizes(
    records=10_000,
    small=10_000,
    trees=(40_000, 100_000),
    turns=(10_000, 100_000, 2_000, 9),
    proofs=500,
    seconds=5,
)
BRIEF = Sizes(
    records=1_000,
    small=1_000,
    trees=(2_000, 4_000),
    turns=(1_000, 4_000, 500, 3),
    proofs=50,
    seconds=1,
)


def main() -> None:
    asked = results.options(__doc__ or "").parse_args()
    sizes = results.sized(asked, full=FULL, quick=QUICK, brief=BRIEF)
    with results.run_folder() as folder, ExitStack() as stack:
        place = stack.enter_context(site(folder))
        machine = describe(place.chosen)
        data = folder / "ledger"
        asyncio.run(write_journal(data, sizes.records))
        legs = integrate(data, place.chosen.gateway, sizes)
        largest = sizes.trees[-1]
        bytes_per_leaf = size_bytes(data) / largest
        proofs_ms = prove(data, largest, sizes.proofs)
        small_us, large_us = compare(data, place.chosen.gateway, sizes)
        delays_ms = measure_delay(place, stack, sizes.seconds)
    rows: list[dict[str, Value]] = [
        {
            "name": "integrate",
            "leaves": leg["leaves"],
            "leaves_per_s": results.rounded(leg["leaves"] / leg["seconds"]),
            "cpu_us": results.rounded(leg["cpu_s"] / leg["leaves"] * 1e6),
            "rss_mb": round(leg["rss_mb"], 1),
        }
        for leg in legs
    ]
    for size, cpu_us in zip(sizes.turns, (small_us, large_us), strict=False):
        name = f"integrate in turn from {size:,}"
        rows.append({"name": name, "leaves": sizes.turns[2] * sizes.turns[3], "cpu_us": cpu_us})
    rows.append({"name": "prove from tiles", "leaves": largest, **percentiles(proofs_ms)})
    rows.append({"name": "answer to proof", "leaves": len(delays_ms), **percentiles(delays_ms)})
    total_s = sum(leg["seconds"] for leg in legs)
    facts = {
        "durable_leaves_per_s": results.rounded(largest / total_s),
        "proof_p99_s": results.rounded(percentile(delays_ms, 99) / 1e3),
        "cpu_growth_pct": round((large_us / small_us - 1) * 100, 1),
        "bytes_per_leaf": round(bytes_per_leaf, 1),
        "integrator_rss_mb": round(max(leg["rss_mb"] for leg in legs), 1),
        "inclusion_p99_ms": results.rounded(percentile(proofs_ms, 99)),
        "rate_per_s": RATE_PER_S,
        "machine": machine,
        "versions": versions("nginx"),
    }
    results.publish(asked, COLUMNS, rows, facts)


def percentiles(times_ms: list[float]) -> dict[str, Value]:
    """Return the columns of a distribution."""
    return {f"p{one}_ms": results.rounded(percentile(times_ms, one)) for one in (50, 99)}


async def write_journal(data: Path, records: int) -> None:
    """Write a journal of records as a gateway's are: statement, signature and graph."""

    def no_void(first: int, last: int) -> Record:
        raise AssertionError(f"a gap from {first} to {last}")

    journal = SqliteJournal(data, SLOT, no_void)
    numbers = iter(range(1, records + 1))

    async def append() -> None:
        for number in numbers:
            await journal.append(record_of(number))

    await asyncio.gather(*(append() for _ in range(128)))
    await journal.close()


def record_of(number: int) -> Record:
    """Return a record with a statement of the usual length."""
    prov_id = prov_id_from(IAT_MS + number, secrets.token_bytes(10))
    digest = secrets.token_hex(32)
    statement = canonical.encode(
        {
            "v": 1,
            "iss": ISSUER,
            "prov_id": prov_id,
            "iat": IAT_MS + number,
            "aud": digest[:22],
            "region": "us",
            "op": "support.answer",
            "req": {"commit": digest, "len": 330, "method": "POST", "path": "/v1/chat/completions"},
            "res": {"commit": digest, "fin": True, "len": 600, "mode": "body", "status": 200},
            "dag": {"root": digest, "nodes": 6},
            "policy": {"bundle": digest, "decision": "allow"},
            "cache": "off",
            "plan": digest,
            "seq": {"signer": SLOT, "n": number},
        }
    )
    return Record(
        kind="answer",
        seq_n=number,
        prov_id=prov_id,
        tenant=TenantId("BENCH"),
        statement=statement,
        jws=f"{digest[:40]}..{digest}{digest[:22]}".encode(),
        graph=b"g" * GRAPH_BYTES,
        written_ms=IAT_MS + number,
    )


def integrate(data: Path, core: int, sizes: Sizes) -> list[dict[str, float]]:
    """Integrate in a process of its own; returns one leg for each tree size."""
    lines = _integrating("grow", data, core, (sizes.records, sizes.small, *sizes.trees))
    read = [json.loads(line) for line in lines]
    legs = [{**leg, "leaves": leg["size"] - before["size"]} for before, leg in pairwise(read)]
    # What came before the first size is counted with it: nothing durable is left out.
    legs[0]["seconds"] += read[0]["seconds"]
    legs[0]["cpu_s"] += read[0]["cpu_s"]
    legs[0]["leaves"] += read[0]["size"]
    return legs


def compare(data: Path, core: int, sizes: Sizes) -> tuple[float, float]:
    """Grow a small tree and a large one in turn; returns the median CPU for each leaf, in us."""
    lines = _integrating("compare", data, core, (sizes.records, *sizes.turns))
    turns = [json.loads(line) for line in lines]
    leaves = sizes.turns[2]
    small, large = (median(cpu_s) / leaves * 1e6 for cpu_s in zip(*turns, strict=True))
    return results.rounded(small), results.rounded(large)


def _integrating(task: str, data: Path, core: int, numbers: tuple[int, ...]) -> list[str]:
    script = Path(__file__).parent / "harness" / "integrating.py"
    command = ["taskset", "-c", str(core), sys.executable, str(script), task, str(data)]
    done = subprocess.run(
        [*command, *map(str, numbers)], stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.splitlines()


def size_bytes(data: Path) -> int:
    """Return what the ledger takes on the disk: tiles, bundles and its state."""
    places = ledger_places(data)
    files = [path for path in places.tiles.rglob("*") if path.is_file()]
    files += data.glob(f"{places.state.name}*")
    return sum(path.stat().st_blocks * 512 for path in files)


def prove(data: Path, size: int, count: int) -> list[float]:
    """Make and verify proofs of leaves anywhere in the tree; returns how long each took to make."""
    places = ledger_places(data)
    log, tiles = LogId("us", YEAR), FolderTiles(places.tiles)
    checkpoint = read_checkpoint(read_note(tiles.read(log, "checkpoint") or b"").text)
    assert (checkpoint.origin, checkpoint.size) == (origin_of(ISSUER, log), size)

    def fetch(tile: Tile) -> bytes:
        return tiles.read(log, tile.path) or b""

    took_ms: list[float] = []
    chosen = random.Random(size)
    with closing(SqliteLedger(places.state, read_only=True)) as reader:
        for _ in range(count):
            seq_n = chosen.randrange(1, size + 1)
            began_s = time.perf_counter()
            found = reader.locate(SLOT, seq_n)
            assert found is not None
            hashes = inclusion_proof(found.index, size, TileTree(fetch, size))
            took_ms.append((time.perf_counter() - began_s) * 1e3)
            bundle, at = divmod(found.index, 256)
            width = min(256, size - bundle * 256)
            entry = read_bundle(tiles.read(log, entries_path(bundle, width)) or b"")[at]
            verify_inclusion(leaf_hash(entry), found.index, size, hashes, checkpoint.root)
    return took_ms


class Watch:
    """Notes when each checkpoint was first seen, by looking at the published file."""

    def __init__(self, tiles: FolderTiles, log: LogId) -> None:
        self._tiles = tiles
        self._log = log
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.seen: list[tuple[float, int]] = []

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ending.wait(POLL_S):
            note = self._tiles.read(self._log, "checkpoint")
            size = 0 if note is None else read_checkpoint(read_note(note).text).size
            if size > (self.seen[-1][1] if self.seen else 0):
                self.seen.append((time.time() * 1e3, size))

    def wait_for(self, size: int, seconds: float) -> None:
        """Wait until a checkpoint of a size is published."""
        deadline = time.monotonic() + seconds
        while (self.seen[-1][1] if self.seen else 0) < size:
            assert time.monotonic() < deadline, f"no checkpoint of {size} within {seconds} s"
            time.sleep(POLL_S)


def measure_delay(place: Site, stack: ExitStack, seconds: int) -> list[float]:
    """Answer at a rate; returns for each answer the ms from its signing until its proof."""
    gateway = stack.enter_context(starter("verismo", place))
    data = place.folder / "attested-verismo" / "verismo" / "var"
    pin_self_to_load()
    log = LogId("us", time.gmtime().tm_year)
    header = f"Authorization: Bearer {gateway.key}\r\n"
    loop = OpenLoop(gateway.port, gateway.path("small"), RATE_PER_S, b"chatcmpl", header)
    with Watch(FolderTiles(ledger_places(data).tiles), log) as watch:
        paced = asyncio.run(loop.run([gateway.body("small")], seconds))
        assert not paced.failed, f"{paced.failed} requests failed"
        reader = SqliteLedger(ledger_places(data).state, read_only=True)
        journal = SqliteJournalReader(data)
        with closing(reader), closing(journal):
            rows = _signed_rows(journal)
            watch.wait_for(len(rows), 30)
            return _delays(rows, reader, watch.seen)


def _signed_rows(journal: SqliteJournalReader) -> list[tuple[int, int]]:
    """Return number and time of signing of every record."""
    rows: list[tuple[int, int]] = []
    while batch := journal.scan(SLOT, rows[-1][0] if rows else 0, 5_000):
        rows += [(one.seq_n, one.written_ms) for one in batch]
    return rows


def _delays(
    rows: list[tuple[int, int]], reader: SqliteLedger, seen: list[tuple[float, int]]
) -> list[float]:
    delays_ms: list[float] = []
    for seq_n, signed_ms in rows:
        place = reader.locate(SLOT, seq_n)
        assert place is not None
        covered_ms = next(at_ms for at_ms, size in seen if size > place.index)
        delays_ms.append(max(0.0, covered_ms - signed_ms))
    return delays_ms


if __name__ == "__main__":
    main()
