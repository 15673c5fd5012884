"""What can be read back: provenance by id, the key set, and the public verification API."""

import logging

import msgspec

from verismo.attest.headers import ProofHeaders
from verismo.attest.verify import (
    Check,
    Expectation,
    Report,
    SeenRequest,
    SeenResponse,
    Verdict,
)
from verismo.gateway.graphs import GraphWriter, read_format
from verismo.gateway.identify import identify
from verismo.gateway.published import PublishedKeys
from verismo.gateway.ratelimit import Bucket, RateLimiter
from verismo.gateway.snapshot import SnapshotCell
from verismo.model import base64url
from verismo.model.errors import (
    Erased,
    MalformedRequest,
    NotFound,
    Overloaded,
    RateLimited,
    StateError,
)
from verismo.model.ids import ProvId, TenantId, is_prov_id
from verismo.model.traffic import Reply, Request
from verismo.ports.journal import JournalReader, Record
from verismo.ports.vault import Vault

PROV_PREFIX = "/v1/prov/"
PROV_MEDIA = "application/vnd.verismo.prov+json"
VERIFY_BYTES_MAX = 1_048_576
"""Body of a public verification request: anybody may send one. Larger answers verify offline."""
RETRY_S = 5

log = logging.getLogger("verismo.gateway")


class SignedGraph(msgspec.Struct, frozen=True):
    """A provenance graph with the statement and signature that cover its root.

    Args:
        prov_id: the answer.
        statement: the signed bytes, base64url.
        signature: the detached JWS.
        graph: the graph itself, canonical JSON.
    """

    prov_id: str
    statement: str
    signature: str
    graph: msgspec.Raw


class VerifyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `POST /v1/attest/verify` takes.

    Args:
        statement: the signed bytes, base64url.
        signature: the detached JWS.
        salt: 32 bytes, base64url; needed to check bodies.
        request: what was asked, to check it against the statement.
        response: what was answered, to check it against the statement.
    """

    statement: str
    signature: str
    salt: str = ""
    request: "VerifiedRequest | None" = None
    response: "VerifiedResponse | None" = None


class VerifiedRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request to check: method, path as sent, raw query, body as base64url."""

    method: str
    path: str
    query: str = ""
    body: str = ""


class VerifiedResponse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A response to check: status, content type as received, body as base64url."""

    status: int
    media: str
    body: str = ""


class VerifyAnswer(msgspec.Struct, frozen=True):
    """What `POST /v1/attest/verify` answers."""

    valid: bool
    verdict: Verdict
    checks: tuple[Check, ...]


class Records:
    """Reads for clients and verifiers.

    Args:
        snapshot: keys and tenants in force.
        reader: the journals.
        vault: says which tenants were erased.
        keys: the keys that are published.
        limiter: counts reads with a key against the rates of requests; a limiter of its own, so
            that who verifies each answer may ask as often, and a refused one can be read.
        verify_per_s_max: limit of the public verification API.
    """

    def __init__(
        self,
        snapshot: SnapshotCell,
        reader: JournalReader,
        vault: Vault,
        keys: PublishedKeys,
        limiter: RateLimiter,
        verify_per_s_max: int,
    ) -> None:
        self._snapshot = snapshot
        self._reader = reader
        self._vault = vault
        self._keys = keys
        self._limiter = limiter
        self._graphs = GraphWriter()
        self._rate = Bucket(verify_per_s_max * 60, 0, burst=verify_per_s_max)

    def jwks(self, request: Request) -> Reply:
        """Answer the public key set as it is at this moment."""
        return self._keys.jwks(request.received_ms)

    def keyring(self) -> Reply:
        """Answer every version of the key ring."""
        return self._keys.keyring()

    def provenance(self, request: Request) -> Reply:
        """Answer `GET /v1/prov/{prov_id}`: the tenant's own records, or any for an auditor.

        With `?format=svg`, `prov-json` or `dot` the graph is answered in that format.

        Raises:
            Unauthenticated: no key in force.
            NotFound: no such record, or another tenant's; the answer is the same for both.
            Erased: the tenant's data key was deleted.
            MalformedRequest: a format that is not known.
            Overloaded: it cannot be found out now whether it was, or too many graphs are made.
        """
        record = self.record_of(request, ProvId(request.path[len(PROV_PREFIX) :]))
        if self._is_erased(record.tenant):
            raise Erased("the tenant of this record was erased")
        asked = read_format(request.query)
        if asked != "json":
            return self._graphs.reply(record, asked)
        signed = SignedGraph(
            prov_id=record.prov_id,
            statement=base64url.encode(record.statement),
            signature=record.jws.decode("ascii"),
            graph=msgspec.Raw(record.graph),
        )
        return _json(signed, PROV_MEDIA)

    def _is_erased(self, tenant: TenantId) -> bool:
        try:
            return self._vault.is_erased(tenant)
        except StateError as error:
            # What is wrong with the store is the operator's business, not the client's.
            log.warning("erasures cannot be read", extra={"fields": {"error": error.detail}})
            raise Overloaded("records cannot be read now", retry_after_s=RETRY_S) from error

    def record_of(self, request: Request, prov_id: ProvId) -> Record:
        """Return a record for whoever may read it: its tenant, or an auditor.

        Args:
            request: says who asks.
            prov_id: as it was sent, perhaps none.

        Raises:
            Unauthenticated: no key in force.
            RateLimited: the tenant or the key is over its rate of requests.
            NotFound: no such record, or another tenant's; the answer is the same for both.
        """
        caller = identify(self._snapshot.current, request.headers, request.received_ms)
        self._limiter.take_read(caller, request.received_ms)
        record = self._find(prov_id) if is_prov_id(prov_id) else None
        if record is None or record.kind != "answer":
            raise NotFound("no record of that prov_id")
        if record.tenant != caller.view.tenant.id and caller.key.role != "auditor":
            raise NotFound("no record of that prov_id")
        return record

    def _find(self, prov_id: ProvId) -> Record | None:
        try:
            return self._reader.find(prov_id)
        except StateError as error:
            # What is wrong with the store is the operator's business, not the client's.
            log.warning("records not readable", extra={"fields": {"error": error.detail}})
            raise Overloaded("records cannot be read now", retry_after_s=RETRY_S) from error

    def verify(self, request: Request) -> Reply:
        """Answer `POST /v1/attest/verify` with the numbered checks.

        Raises:
            MalformedRequest: the body is not what this takes.
            RateLimited: too many calls; it is public.
        """
        now_ms = request.received_ms
        if self._rate.level(now_ms) < 1:
            raise RateLimited("the verification API is busy", retry_after_s=1)
        self._rate.take(1)
        try:
            asked = msgspec.json.decode(request.body, type=VerifyRequest)
            report = self._check(asked)
        except (msgspec.MsgspecError, UnicodeDecodeError, base64url.NotBase64) as error:
            raise MalformedRequest(f"not a verification request: {error}") from error
        answer = VerifyAnswer(
            valid=report.verdict == "VERIFIED", verdict=report.verdict, checks=report.checks
        )
        return _json(answer, "application/json")

    def _check(self, asked: VerifyRequest) -> Report:
        proof = ProofHeaders(
            prov_id="",
            salt=base64url.decode(asked.salt),
            statement=base64url.decode(asked.statement),
            jws=asked.signature,
        )
        sent, got = asked.request, asked.response
        seen_request = None
        if sent is not None:
            query, body = sent.query.encode("utf-8"), base64url.decode(sent.body)
            seen_request = SeenRequest(method=sent.method, path=sent.path, query=query, body=body)
        seen_response = None
        if got is not None:
            body = base64url.decode(got.body)
            seen_response = SeenResponse(status=got.status, media=got.media, body=body)
        return self._keys.verifier.answer(proof, seen_request, seen_response, Expectation())


def _json(value: object, media: str) -> Reply:
    return Reply(
        status=200,
        headers=[(b"content-type", media.encode("ascii")), (b"cache-control", b"no-store")],
        body=msgspec.json.encode(value),
    )
