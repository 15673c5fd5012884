"""Records of a ledger as the SIEM export gets them, and sources and sinks that keep them."""

from collections.abc import Callable, Iterator, Sequence

import msgspec
from msgspec import UNSET

from verismo.attest.leaf import LeafType
from verismo.attest.ocsf_frame import Logged
from verismo.attest.provenance import GraphBuilder
from verismo.attest.statement import Sequence as StatedSequence
from verismo.attest.statement import (
    StatedGraph,
    StatedModel,
    StatedPolicy,
    StatedRequest,
    StatedResponse,
    StatedUsage,
    Statement,
    Void,
)
from verismo.model import canonical
from verismo.model.errors import StateError
from verismo.model.ids import ProvId, TenantId, prov_id_from
from verismo.model.siem import SiemEvent
from verismo.ports.journal import Record
from verismo.ports.siem import LoggedRecord, Refusal, SinkUnavailable

LOG = "gateway.example/log/eu/2026"
HOUR_MS = 3_600_000
START_MS = 1_790_000_000_000 // HOUR_MS * HOUR_MS
"""The beginning of an hour in 2026."""
JWS = b"eyJhbGciOiJFZDI1NTE5In0.." + b"A" * 86


def prov_id(number: int, time_ms: int = START_MS) -> ProvId:
    return prov_id_from(time_ms, number.to_bytes(10, "big"))


def stated(number: int, time_ms: int = START_MS, **changes: object) -> Statement:
    """Return the statement of a chat that went well; `changes` replaces fields."""
    statement = Statement(
        v=1,
        iss="https://gateway.example",
        prov_id=prov_id(number, time_ms),
        iat=time_ms,
        aud="tn_4ZQ2",
        region="eu",
        op="support.answer",
        req=StatedRequest(method="POST", path="/v1/chat/completions", commit="a" * 64, len=120),
        res=StatedResponse(
            status=200, media="application/json", mode="body", commit="b" * 64, len=900, fin=True
        ),
        dag=StatedGraph(root="c" * 64, nodes=6),
        policy=StatedPolicy(bundle="d" * 64, decision="allow"),
        cache="off",
        plan="e" * 64,
        seq=StatedSequence(signer="s0", n=number),
        model=StatedModel(provider="openai", id="gpt-4o-mini"),
        usage=StatedUsage(input=12, output=34),
        cost_usd_micros=56,
    )
    return msgspec.structs.replace(statement, **changes)


def refused(number: int, status: int, decision: str, time_ms: int = START_MS) -> Statement:
    """Return the statement of an answer without a model's: a refusal or an error."""
    ok = stated(number, time_ms)
    return msgspec.structs.replace(
        ok,
        res=msgspec.structs.replace(ok.res, status=status, media="application/problem+json"),
        policy=StatedPolicy(bundle="d" * 64, decision=decision),
        model=UNSET,
        usage=UNSET,
        cost_usd_micros=UNSET,
    )


def cut_stream(number: int, time_ms: int = START_MS) -> Statement:
    ok = stated(number, time_ms)
    res = StatedResponse(200, "text/event-stream", "sse", "b" * 64, 400, False, 7)
    return msgspec.structs.replace(ok, res=res)


def graph(number: int, **attrs: str | int | bool) -> bytes:
    """Return a graph whose last node has these facts."""
    builder = GraphBuilder(prov_id(number))
    first = builder.add("request", (), {}, (1, 1))
    builder.add("response", (first,), attrs, (2, 2))
    return builder.encode()


def void(number: int, first: int, last: int, time_ms: int = START_MS) -> Void:
    issuer = "https://gateway.example"
    return Void(1, issuer, prov_id(number, time_ms), time_ms, "s0", first, last)


def answer(statement: Statement, graph_bytes: bytes = b"") -> Record:
    return Record(
        kind="answer",
        seq_n=statement.seq.n,
        prov_id=ProvId(statement.prov_id),
        tenant=TenantId("TENANT_001"),
        statement=canonical.encode(statement),
        jws=JWS,
        graph=graph_bytes,
        written_ms=statement.iat,
    )


def gap(value: Void) -> Record:
    return Record(
        kind="void",
        seq_n=value.last,
        prov_id=ProvId(value.prov_id),
        tenant=TenantId(""),
        statement=canonical.encode(value),
        jws=JWS,
        graph=b"",
        written_ms=value.iat,
    )


def logged(record: Record, index: int, kind: int = 0) -> Logged:
    return Logged(
        log=LOG,
        index=index,
        kind=LeafType(kind or (5 if record.kind == "void" else 1)),
        prov_id=record.prov_id,
        statement=record.statement,
        jws=record.jws,
        graph=record.graph,
        written_ms=record.written_ms,
    )


def chats(count: int, start_ms: int = START_MS, step_ms: int = 1_000) -> Sequence[Record]:
    """Return records of chats, one every `step_ms`."""
    return [answer(stated(n, start_ms + n * step_ms)) for n in range(count)]


def logged_record(record: Record, index: int) -> LoggedRecord:
    kind = LeafType.VOID if record.kind == "void" else LeafType.ANSWER
    fields = (record.prov_id, record.statement, record.jws, record.graph, record.written_ms)
    return LoggedRecord(index, kind, *fields)


class KeptLeaves:
    """A `LeafReader` over lists; remembers how much it was asked for at once."""

    def __init__(self, logs: dict[str, Sequence[Record]]) -> None:
        self.kept = {name: list(records) for name, records in logs.items()}
        self.limits: list[int] = []
        self.error: StateError | None = None

    def logs(self) -> Sequence[str]:
        if self.error is not None:
            raise self.error
        return sorted(self.kept)

    def size(self, log: str) -> int:
        return len(self.kept.get(log, ()))

    def is_lost(self, log: str, index: int) -> bool:
        return False

    def read(self, log: str, after_index: int, limit: int) -> Sequence[LoggedRecord]:
        self.limits.append(limit)
        first = after_index + 1
        found = self.kept.get(log, [])[first : first + limit]
        return [logged_record(record, first + number) for number, record in enumerate(found)]


class KeptSink:
    """A `SiemSink` in memory that can fail, before or after it has taken a batch."""

    def __init__(self) -> None:
        self.events: list[SiemEvent] = []
        self.batches: list[int] = []
        self.faults: list[tuple[str, SinkUnavailable]] = []
        self.refuse: Callable[[SiemEvent], bool] = lambda _: False

    async def send(self, events: Sequence[SiemEvent]) -> Sequence[Refusal]:
        fault, error = self.faults.pop(0) if self.faults else ("", SinkUnavailable(""))
        if fault == "not taken":
            raise error
        self.batches.append(len(events))
        self.events += [event for event in events if not self.refuse(event)]
        if fault == "but taken":
            raise error
        return [Refusal(n, "refused here") for n, event in enumerate(events) if self.refuse(event)]

    async def aclose(self) -> None:
        pass


class KeptReader:
    """A `SinkReader` over lines in memory."""

    def __init__(self, lines: Sequence[bytes] = ()) -> None:
        self.kept = list(lines)
        self.error: StateError | None = None
        self.looks = 0

    def lines(self, since_ms: int, until_ms: int) -> Iterator[bytes]:
        self.looks += 1
        if self.error is not None:
            raise self.error
        yield from self.kept
