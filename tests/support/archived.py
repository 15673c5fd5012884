"""A gateway's data folder with real journals, key ring, ledger and vault, lived day by day."""

import hashlib
import json
from datetime import UTC, date, datetime
from pathlib import Path

import msgspec
from tests.ports.journal_conformance import void

from verismo.adapters.adapt_file import FILE_NAME as ADAPT_FILE
from verismo.adapters.adapt_file import AdaptFile
from verismo.adapters.adapt_leaves import open_leaves
from verismo.adapters.checkpoint_file import FolderCheckpoints
from verismo.adapters.decisions_sqlite import SqliteDecisions, SqliteSteering
from verismo.adapters.journal_reader import SqliteJournalReader
from verismo.adapters.journal_sqlite import SqliteJournal
from verismo.adapters.keyring_files import KeyRingFiles
from verismo.adapters.ledger_sqlite import FILE_NAME, SqliteLedger
from verismo.adapters.rollups_folder import FolderRollups
from verismo.adapters.tiles_folder import FolderTiles
from verismo.adapters.vault_file import FileVault
from verismo.attest import jws
from verismo.attest.controlrecord import NO_RECORD, ControlRecord, sign_record
from verismo.attest.steeringdoc import sign_steering
from verismo.attest.succession import KeyRules
from verismo.control.dayleaves import LeafDesk
from verismo.control.dayrollup import RollupDesk
from verismo.control.integrator import Integrator, IntegratorSettings, LedgerDesk
from verismo.control.leafsources import AdaptSource, JournalSource, KeyRingSource
from verismo.control.rotation import RingHistory
from verismo.model.decision import Subject
from verismo.model.ids import TenantId, prov_id_from
from verismo.model.ledger import LogId
from verismo.model.steering import Steering
from verismo.ports.decisions import DecisionRow
from verismo.ports.journal import Record
from verismo.ports.steering import SteeringRow
from verismo.wiring.keys import open_signer, prepare_keys

ISSUER = "https://gateway.example"
EU = LogId("eu", 2026)
US = LogId("us", 2026)
DAY_MS = 86_400_000
ONE, TWO = TenantId("TENANT_001"), TenantId("TENANT_002")
RULES = KeyRules()
NOTHING = Subject()


def at(text: str) -> int:
    """Return the Unix ms of a UTC time such as `2026-11-20 09:30`."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000


def day(text: str) -> date:
    """Return a day."""
    return date.fromisoformat(text)


def answer(
    seq_n: int,
    now_ms: int,
    *,
    tenant: TenantId = ONE,
    region: str = "eu",
    status: int = 200,
    captured: bytes = b"",
) -> Record:
    """Return an answer's record; its bytes follow from the arguments."""
    statement = json.dumps(
        {
            "iat": now_ms,
            "aud": hashlib.sha256(tenant.encode()).hexdigest()[:32],
            "region": region,
            "policy": {"bundle": "ab" * 32, "decision": "allow" if status != 403 else "deny"},
            "res": {"status": status},
            "seq": {"signer": "s0", "n": seq_n},
        }
    ).encode()
    return Record(
        kind="answer",
        seq_n=seq_n,
        prov_id=prov_id_from(now_ms, hashlib.sha256(b"%d" % seq_n).digest()[:10]),
        tenant=tenant,
        statement=statement,
        jws=b"h.." + hashlib.sha256(statement).hexdigest().encode(),
        graph=b'{"graph":%d}' % seq_n,
        cost_usd_micros=seq_n,
        captured=captured,
        written_ms=now_ms,
    )


class Gateway:
    """A data folder; `serve` is what answers would leave in it, `integrate` the control process."""

    def __init__(self, folder: Path, now_ms: int) -> None:
        self.folder = folder
        prepare_keys(folder, RULES, now_ms)
        self.vault = FileVault(folder / "keys" / "tenants")
        self.tiles = FolderTiles(folder / "log")
        self.rollups = FolderRollups(folder / "rollups")
        self.store = SqliteLedger(folder / FILE_NAME)
        self.reader = SqliteJournalReader(folder)
        self.ring = KeyRingFiles(folder)
        self.adapt = open_leaves(folder)
        self.seq_n = 0
        self.integrator = Integrator(
            LedgerDesk(
                sources=(
                    JournalSource(self.reader),
                    KeyRingSource(RingHistory(self.ring)),
                    AdaptSource(self.adapt),
                ),
                store=self.store,
                lease=self.store,
                tiles=self.tiles,
                memory=FolderCheckpoints(folder / "keys" / "checkpoints"),
                signer=open_signer(folder, "log", RULES, now_ms),
            ),
            IntegratorSettings(issuer=ISSUER, home_region="eu", holder="a"),
        )
        self.token = open_signer(folder, "token", RULES, now_ms)
        self.signer = open_signer(folder, "rollup", RULES, now_ms)
        self.siem = None

    async def serve(self, count: int, now_ms: int, slot: str = "s0", **given: object) -> None:
        """Write answers to the journal, a millisecond apart."""
        journal = SqliteJournal(self.folder, slot, self.void)
        content = given.pop("content", None)
        for number in range(count):
            self.seq_n += 1
            record = self.signed(answer(self.seq_n, now_ms + number, **given))
            if isinstance(content, bytes):
                sealed = self.vault.seal(record.tenant, record.prov_id, content)
                record = msgspec.structs.replace(record, captured=sealed)
            await journal.append(record)
        await journal.close()

    def decide(self, count: int, now_ms: int, about: Subject = NOTHING) -> None:
        """Leave decisions and a version of the steering behind, as the controllers do."""
        signer = open_signer(self.folder, "plan", RULES, now_ms)
        file = AdaptFile(self.folder / ADAPT_FILE)
        token = file.acquire("a", now_ms, 5_000)
        decisions, steering = SqliteDecisions(file), SqliteSteering(file)
        prev = NO_RECORD
        for number in range(count):
            n, at_ms = decisions.last() + 1, now_ms + number
            record = ControlRecord(
                *(1, ISSUER, at_ms, n, prev, "decision", "canary", 1, about, "HOLD"),
                *(hashlib.sha256(b"%d" % part).hexdigest() for part in range(4)),
            )
            statement, jws = sign_record(record, signer.kid, signer.sign)
            decisions.append(
                token, DecisionRow(n, "canary", "{}", "HOLD", statement, jws, at_ms), {}
            )
            prev = hashlib.sha256(statement).hexdigest()
        told = Steering(1, steering.last() + 1, "b" * 64, ISSUER, now_ms)
        statement, jws = sign_steering(told, signer.kid, signer.sign)
        steering.publish(token, SteeringRow(told.version, statement, jws, now_ms))
        file.close()

    def skip(self, count: int) -> None:
        """Lose numbers: the next answer's journal records the gap."""
        self.seq_n += count

    def void(self, first: int, last: int, now_ms: int = at("2026-11-20 09:00")) -> Record:
        """Return the record of a gap."""
        statement = json.dumps({"iat": now_ms, "first": first, "last": last}).encode()
        made = msgspec.structs.replace(void(first, last), statement=statement)
        return self.signed(msgspec.structs.replace(made, written_ms=now_ms))

    def signed(self, record: Record) -> Record:
        """Return a record with the signature of the token key over its statement."""
        kind = jws.TYPE_STATEMENT if record.kind == "answer" else jws.TYPE_VOID
        header = jws.protected_header(self.token.kid, kind)
        signature = self.token.sign(jws.signing_input(header, record.statement))
        return msgspec.structs.replace(record, jws=jws.detached(header, signature).encode())

    def integrate(self, now_ms: int) -> None:
        """Integrate everything there is and sign a checkpoint."""
        while self.integrator.step(now_ms).is_behind:
            pass

    def desk(self) -> RollupDesk:
        """Return the parts that rollups are made with."""
        return RollupDesk(
            issuer=ISSUER,
            leaves=LeafDesk(
                ledger=self.store,
                tiles=self.tiles,
                journal=self.reader,
                sources=(KeyRingSource(self.ring), AdaptSource(self.adapt)),
            ),
            ring=RingHistory(self.ring).read,
            vault=self.vault,
            rollups=self.rollups,
            signer=self.signer,
            siem=lambda origin, day: self.siem,
        )

    def close(self) -> None:
        """Close every file."""
        self.store.close()
        self.reader.close()
        self.adapt.close()
