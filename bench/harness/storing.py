"""Fills a slot of a journal with records: `storing.py FOLDER SLOT TENANT HOPS RECORDS`.

Their graphs are as real ones: a request, tools and models with commitments, a response. They are
not signed by the gateway's key; reading one does not verify it. The prov_ids are printed.
"""

import asyncio
import secrets
import sys
from pathlib import Path

from verismo.adapters.journal_sqlite import SqliteJournal
from verismo.attest.provenance import GraphBuilder
from verismo.model import canonical
from verismo.model.hop import Attribute
from verismo.model.ids import TenantId, prov_id_from
from verismo.ports.journal import Record

IAT_MS = 1_780_000_000_000
WRITERS = 256


def record_of(number: int, tenant: TenantId, hops: int) -> Record:
    """Return a record with a statement and a graph of the usual length."""
    at_ms = IAT_MS + number
    prov_id = prov_id_from(at_ms, secrets.token_bytes(10))
    digest = secrets.token_hex(32)
    graph = GraphBuilder(prov_id)
    asked: dict[str, Attribute] = {
        "method": "POST",
        "path": "/v1/chat/completions",
        "trace": digest[:32],
        "prov_id": prov_id,
    }
    last = graph.add("request", (), asked, (at_ms, at_ms), digest)
    for hop in range(hops - 2):
        attrs: dict[str, Attribute] = {
            "deployment": "us-small",
            "provider": "us-provider",
            "region": "us",
            "model": "small-1",
            "try": hop,
            "sent": digest,
            "status": 200,
        }
        last = graph.add(
            "tool" if hop % 2 else "model", (last,), attrs, (at_ms + hop, at_ms + hop + 1), digest
        )
    graph.add("response", (last,), {"status": 200}, (at_ms, at_ms), digest)
    statement = canonical.encode(
        {
            "v": 1,
            "iss": "https://bench.example",
            "prov_id": prov_id,
            "iat": at_ms,
            "aud": digest[:22],
            "region": "us",
            "op": "support.answer",
            "req": {"commit": digest, "len": 330, "method": "POST", "path": "/v1/chat/completions"},
            "res": {"commit": digest, "fin": True, "len": 600, "mode": "body", "status": 200},
            "dag": {"root": graph.root, "nodes": hops},
            "policy": {"bundle": digest, "decision": "allow"},
            "cache": "off",
            "plan": digest,
            "seq": {"signer": "stored", "n": number},
        }
    )
    return Record(
        kind="answer",
        seq_n=number,
        prov_id=prov_id,
        tenant=tenant,
        statement=statement,
        jws=f"{digest[:40]}..{digest}{digest[:22]}".encode(),
        graph=graph.encode(),
        written_ms=at_ms,
    )


async def fill(data: Path, slot: str, tenant: TenantId, hops: int, records: int) -> None:
    """Write the records and print the prov_id of each."""

    def no_void(first: int, last: int) -> Record:
        raise AssertionError(f"a gap from {first} to {last}")

    journal = SqliteJournal(data, slot, no_void)
    numbers = iter(range(1, records + 1))

    async def append() -> None:
        for number in numbers:
            record = record_of(number, tenant, hops)
            await journal.append(record)
            print(record.prov_id)

    await asyncio.gather(*(append() for _ in range(WRITERS)))
    await journal.close()


if __name__ == "__main__":
    folder, name, owner, length, count = sys.argv[1:]
    asyncio.run(fill(Path(folder), name, TenantId(owner), int(length), int(count)))
