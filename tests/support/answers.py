"""An HTTP answer as a verifier sees it, and whether a journal record proves itself."""

import json
from collections.abc import Mapping

import httpx2
import msgspec

from verismo.attest import jws
from verismo.attest.headers import read_proof_headers
from verismo.attest.keys import PublicKey
from verismo.attest.keyset import KeySet
from verismo.attest.provenance import read_graph
from verismo.attest.report import (
    CheckFailed,
    Expectation,
    Findings,
    Report,
    SeenRequest,
    SeenResponse,
)
from verismo.attest.statement import Statement, read_statement
from verismo.attest.verify import verify_answer
from verismo.ports.journal import Record


class Answer(msgspec.Struct, frozen=True):
    """What came back, and what had been sent for it."""

    request: SeenRequest
    nonce: str | None
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def prov_id(self) -> str:
        return self.headers.get("attest-prov-id", "")

    @property
    def is_signed(self) -> bool:
        return "attest-statement" in self.headers

    @property
    def statement(self) -> Statement:
        """The statement of a whole answer."""
        proof = read_proof_headers(self.headers)
        assert proof is not None
        return read_statement(proof.statement)

    def json(self):
        return json.loads(self.body)

    def report(self, public: Mapping[str, PublicKey], graph: bytes | None = None) -> Report:
        """Verify it offline."""
        seen = SeenResponse(
            status=self.status,
            media=self.headers.get("content-type", ""),
            body=self.body,
            content_digest=self.headers.get("content-digest"),
        )
        proof = read_proof_headers(self.headers)
        return verify_answer(
            proof, public, self.request, seen, Expectation(nonce=self.nonce), graph
        )


def answer_from(request: httpx2.Request, response: httpx2.Response, body: bytes) -> Answer:
    """Return what a client of httpx2 sent and got."""
    target = request.url.raw_path
    path, _, query = target.partition(b"?")
    return Answer(
        request=SeenRequest(request.method, path.decode("ascii"), query, body),
        nonce=request.headers.get("attest-nonce"),
        status=response.status_code,
        headers=dict(response.headers.items()),
        body=response.content,
    )


def proof_problems(record: Record, public: Mapping[str, PublicKey]) -> str:
    """Say what is wrong with a journal record: signature, statement, graph; empty for nothing."""
    typ = jws.TYPE_VOID if record.kind == "void" else jws.TYPE_STATEMENT
    try:
        KeySet(public).verify(record.jws.decode("ascii"), record.statement, typ, Findings())
    except CheckFailed as error:
        return error.detail
    if record.kind == "void":
        return ""
    statement = read_statement(record.statement)
    graph, root = read_graph(record.graph)
    if (root, len(graph.nodes)) != (statement.dag.root, statement.dag.nodes):
        return "the graph is not the one that was signed"
    if (statement.prov_id, graph.prov_id) != (record.prov_id, record.prov_id):
        return "statement, graph and row name different answers"
    return "" if statement.seq.n == record.seq_n else "the statement has another number"


class KeepingTransport(httpx2.AsyncBaseTransport, httpx2.BaseTransport):
    """Sends like httpx2 and keeps each exchange, so that what an SDK got can be verified."""

    def __init__(self) -> None:
        self._inner = httpx2.AsyncHTTPTransport()
        self._inner_sync = httpx2.HTTPTransport()
        self.answers: list[Answer] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        body = b"".join([piece async for piece in response.stream])
        await response.aclose()
        return self._kept(request, response, body)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        response = self._inner_sync.handle_request(request)
        body = b"".join(response.stream)
        response.close()
        return self._kept(request, response, body)

    async def aclose(self) -> None:
        await self._inner.aclose()

    def close(self) -> None:
        self._inner_sync.close()

    def _kept(
        self, request: httpx2.Request, response: httpx2.Response, body: bytes
    ) -> httpx2.Response:
        whole = httpx2.Response(response.status_code, headers=response.headers, content=body)
        self.answers.append(answer_from(request, whole, request.content))
        return whole
