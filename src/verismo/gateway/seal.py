"""Step 10, seal: the graph's last node, the statement, the signature, the journal's record.

The sequence number is given at signing. A number whose commit then fails is never used again: the
journal records it as a void one with the next commit (decisions 10).
"""

import os
import time

import msgspec
from msgspec import UNSET

from verismo.attest import jws
from verismo.attest.commitment import commit
from verismo.attest.headers import content_digest, proof_headers
from verismo.attest.statement import (
    STATEMENT_BYTES_MAX,
    VERSION,
    Head,
    Sequence,
    StatedGraph,
    StatedModel,
    StatedPolicy,
    StatedResponse,
    StatedUsage,
    Statement,
    Void,
)
from verismo.gateway.journey import Journey, cut
from verismo.model import canonical
from verismo.model.errors import IntegrityError
from verismo.model.hop import Attribute
from verismo.model.ids import TenantId, prov_id_from
from verismo.ports.journal import OpenStream, Record
from verismo.ports.signer import Signer, SigningFailed
from verismo.ports.telemetry import Telemetry

RETRY_AFTER_S = 5
"""Told to clients when an answer is withheld: a disk or a key holder needs seconds, not ms."""

_NO_BUNDLE = "0" * 64


class Sealed(msgspec.Struct, frozen=True):
    """A signed answer that is not yet durable.

    Args:
        statement: the signed bytes.
        jws: the detached signature.
        record: for the journal.
    """

    statement: bytes
    jws: str
    record: Record


class Lost(msgspec.Struct, frozen=True):
    """What recovery needs to seal a lost stream: its statement but for number and time."""

    statement: Statement
    graph: bytes


_encode_lost = msgspec.msgpack.Encoder().encode
_decode_lost = msgspec.msgpack.Decoder(Lost).decode


class Sealer:
    """Signs everything that one worker answers, with a gapless sequence of its own.

    Args:
        signer: holder of the active token key.
        slot: name of this worker's signer slot.
        issuer: the `iss` of statements.
        last_seq: highest number that the journal holds.
        telemetry: counts what is withheld for want of a signature.
    """

    def __init__(
        self, signer: Signer, slot: str, issuer: str, last_seq: int, telemetry: Telemetry
    ) -> None:
        self._telemetry = telemetry
        self._slot = slot
        self._issuer = issuer
        self._n = last_seq
        self.use(signer)

    def use(self, signer: Signer) -> None:
        """Sign with this key from the next signature on; the sequence goes on as it is.

        Called in the event loop, where statements and heads are signed too. Voids are signed in the
        journal's thread: they take key and header in one reading.

        Args:
            signer: holder of the token key that is in force now.
        """
        self._signer = signer
        self._statement_header = jws.protected_header(signer.kid, jws.TYPE_STATEMENT)
        self._head_header = jws.protected_header(signer.kid, jws.TYPE_HEAD)
        self._voiding = signer, jws.protected_header(signer.kid, jws.TYPE_VOID)

    def seal(
        self,
        journey: Journey,
        response: StatedResponse,
        attrs: dict[str, Attribute],
        captured: bytes = b"",
    ) -> Sealed:
        """Close the graph and sign the statement of an answer.

        Args:
            journey: what was gathered.
            response: what is answered.
            attrs: facts for the response node, such as the error's code.
            captured: encrypted content, if the tenant has capture on.

        Raises:
            IntegrityError: no signature could be made; nothing may be served.
        """
        now_ms = journey.now_ms()
        attrs["status"] = response.status
        if journey.cost is not None:
            attrs["cost_usd_micros"] = journey.cost
        if journey.usage is not None:
            attrs["input_tokens"] = journey.usage.input_tokens
            attrs["output_tokens"] = journey.usage.output_tokens
        if journey.run is not None:
            attrs |= journey.run.facts
        journey.hop("response", attrs, now_ms, response.commit)
        statement = canonical.encode_trusted(self._statement(journey, response, now_ms))
        if len(statement) > STATEMENT_BYTES_MAX:
            raise IntegrityError("the statement is too long", retry_after_s=None)
        signature = self._sign(self._statement_header, statement)
        self._n += 1
        record = Record(
            kind="answer",
            seq_n=self._n,
            prov_id=journey.prov_id,
            tenant=journey.caller.view.tenant.id,
            statement=statement,
            jws=signature.encode("ascii"),
            graph=journey.graph.encode(),
            cost_usd_micros=journey.cost or 0,
            captured=captured,
            written_ms=now_ms,
        )
        return Sealed(statement=statement, jws=signature, record=record)

    def head(self, journey: Journey, events: int, chain_head: bytes) -> tuple[bytes, str]:
        """Sign the head of a stream's prefix; returns the signed bytes and the signature.

        Raises:
            IntegrityError: no signature could be made.
        """
        payload = canonical.encode_trusted(
            Head(
                v=VERSION,
                iss=self._issuer,
                prov_id=journey.prov_id,
                iat=journey.now_ms(),
                aud=journey.caller.view.handle,
                n=events,
                head=chain_head.hex(),
                nonce=journey.nonce,
            )
        )
        return payload, self._sign(self._head_header, payload)

    def lost_context(self, journey: Journey, response: StatedResponse) -> bytes:
        """Return what is needed to seal a stream whose process dies: all but number and time.

        Args:
            journey: what was gathered so far.
            response: the stream at its opening: no events, not finished.
        """
        graph, last = journey.outline()
        now_ms = journey.now_ms()
        attrs: dict[str, Attribute] = {"end": "gateway_lost", "status": response.status}
        graph.add("response", (last,), attrs, (now_ms, now_ms), response.commit)
        stated = self._statement(journey, response, now_ms)
        dag = StatedGraph(root=graph.root, nodes=len(graph))
        return _encode_lost(Lost(msgspec.structs.replace(stated, dag=dag), graph.encode()))

    def seal_lost(self, stream: OpenStream, now_ms: int) -> Record:
        """Seal the terminal record of a stream that was open when its process died.

        Args:
            stream: as the journal kept it.
            now_ms: the time of recovery, Unix ms.

        Raises:
            IntegrityError: no signature could be made.
        """
        lost = _decode_lost(stream.context)
        seq = Sequence(signer=self._slot, n=self._n + 1)
        statement = canonical.encode_trusted(
            msgspec.structs.replace(lost.statement, seq=seq, iat=now_ms)
        )
        signature = self._sign(self._statement_header, statement)
        self._n += 1
        return Record(
            kind="answer",
            seq_n=self._n,
            prov_id=stream.prov_id,
            tenant=stream.tenant,
            statement=statement,
            jws=signature.encode("ascii"),
            graph=lost.graph,
            written_ms=now_ms,
        )

    def void(self, first: int, last: int) -> Record:
        """Sign the record of a gap: numbers that were given and never served (decisions 10).

        Raises:
            SigningFailed: no signature could be made; the journal then stores nothing.
        """
        now_ms = time.time_ns() // 1_000_000
        prov_id = prov_id_from(now_ms, os.urandom(10))
        payload = canonical.encode(
            Void(
                v=VERSION,
                iss=self._issuer,
                prov_id=prov_id,
                iat=now_ms,
                signer=self._slot,
                first=first,
                last=last,
            )
        )
        signer, protected = self._voiding
        signature = signer.sign(jws.signing_input(protected, payload))
        return Record(
            kind="void",
            seq_n=last,
            prov_id=prov_id,
            tenant=TenantId(""),
            statement=payload,
            jws=jws.detached(protected, signature).encode("ascii"),
            graph=b"",
            written_ms=now_ms,
        )

    def _sign(self, protected: str, payload: bytes) -> str:
        try:
            signature = self._signer.sign(jws.signing_input(protected, payload))
        except SigningFailed as error:
            self._telemetry.failed_closed("seal")
            raise IntegrityError(
                "the answer could not be signed, so it is not served", retry_after_s=RETRY_AFTER_S
            ) from error
        return jws.detached(protected, signature)

    def _statement(self, journey: Journey, response: StatedResponse, now_ms: int) -> Statement:
        view, usage, deployment = journey.caller.view, journey.usage, journey.deployment
        stated = journey.stated
        if journey.doc is not UNSET:
            stated = msgspec.structs.replace(stated, doc=journey.doc)
        return Statement(
            v=VERSION,
            iss=self._issuer,
            prov_id=journey.prov_id,
            iat=now_ms,
            aud=view.handle,
            region=view.tenant.region,
            op=journey.operation,
            req=stated,
            res=response,
            dag=StatedGraph(root=journey.graph.root, nodes=len(journey.graph)),
            policy=StatedPolicy(bundle=journey.bundle or _NO_BUNDLE, decision=journey.decision),
            cache=journey.cache,
            plan=journey.snapshot.digest,
            seq=Sequence(signer=self._slot, n=self._n + 1),
            nonce=journey.nonce,
            model=StatedModel(provider=deployment.provider, id=cut(journey.model))
            if deployment is not None and journey.model
            else UNSET,
            usage=StatedUsage(input=usage.input_tokens, output=usage.output_tokens)
            if usage is not None
            else UNSET,
            cost_usd_micros=UNSET if journey.cost is None else journey.cost,
        )


def state_body(journey: Journey, status: int, media: str, body: bytes) -> StatedResponse:
    """Return what is stated about a whole answer."""
    return StatedResponse(
        status=status,
        media=media,
        mode="body",
        commit=commit("res", journey.salt, body),
        len=len(body),
        fin=True,
    )


def proven_headers(journey: Journey, sealed: Sealed, body: bytes) -> list[tuple[bytes, bytes]]:
    """Return the proof headers of a whole answer, its Content-Digest included."""
    headers = proof_headers(journey.prov_id, journey.salt, sealed.statement, sealed.jws)
    headers.append((b"content-digest", content_digest(body)))
    return headers
