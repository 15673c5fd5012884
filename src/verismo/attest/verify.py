"""The verifier: whether an answer is the one that its gateway signed. Offline and pure.

Seventeen numbered checks (`report.CHECK_NAMES`, `docs/attestation-format.md`), of which the last
three need more than the answer and are made by `verify_ledger` on the report of the others. Checks
1 to 5 end the verification where they fail: the signature is verified over the received bytes
before anything in them is read. The rest are all made, so that one report names everything that is
wrong.

What this does not prove: that the model's words are true, that the key set is the gateway's (get it
over TLS or by hand), or, without a nonce, that the answer is fresh.
"""

from collections.abc import Mapping

from verismo.attest import jws
from verismo.attest.commitment import SALT_BYTES
from verismo.attest.headers import HeadersRefused, ProofHeaders
from verismo.attest.keys import KeyRefused, PublicKey
from verismo.attest.keyset import KeySet
from verismo.attest.report import (
    CHECK_NAMES,
    SKEW_MS_MAX,
    Check,
    CheckFailed,
    Expectation,
    Findings,
    Outcome,
    Report,
    SeenRequest,
    SeenResponse,
    Verdict,
)
from verismo.attest.statement import Statement, StatementRefused, read_statement
from verismo.attest.stream import (
    DONE_EVENT,
    MEDIA,
    BlockSplitter,
    Chain,
    StreamRefused,
    is_comment_only,
    is_cut_comment,
    is_stream_media,
)
from verismo.attest.verify_claims import (
    check_content_digest,
    check_expected,
    check_graph,
    wrong_body,
    wrong_head_line,
    wrong_request,
)
from verismo.attest.verify_stream import StreamVerifier

__all__ = [
    "CHECK_NAMES",
    "SKEW_MS_MAX",
    "Check",
    "Expectation",
    "KeySet",
    "Outcome",
    "Report",
    "SeenRequest",
    "SeenResponse",
    "StreamVerifier",
    "Verdict",
    "Verifier",
    "refused_headers",
    "refused_keys",
    "verify_answer",
]

STREAM_MEDIA = MEDIA


def verify_answer(
    proof: ProofHeaders | None,
    keys: Mapping[str, PublicKey],
    request: SeenRequest | None,
    response: SeenResponse | None,
    expectation: Expectation,
    graph: bytes | None = None,
) -> Report:
    """Verify one answer; see `Verifier.answer`. For many, keep a `Verifier`."""
    return Verifier(keys).answer(proof, request, response, expectation, graph)


def refused_headers(error: HeadersRefused) -> Report:
    """Return the report on proof headers that could not be read: INVALID by check 1."""
    findings = Findings()
    findings.fails(1, str(error))
    return Report("INVALID", None, findings.checks(), "", None)


def refused_keys(error: KeyRefused) -> Report:
    """Return the report on a key set that could not be read: INVALID by check 3."""
    findings = Findings()
    findings.fails(3, str(error))
    return Report("INVALID", None, findings.checks(), "", None)


class Verifier:
    """Verifies answers against one key set, whose keys it loads once. Make one and keep it.

    Args:
        keys: by kid, as `keys.read_jwks` returns them. An empty set verifies nothing.
    """

    def __init__(self, keys: Mapping[str, PublicKey]) -> None:
        self.key_set = KeySet(keys)

    def answer(
        self,
        proof: ProofHeaders | None,
        request: SeenRequest | None,
        response: SeenResponse | None,
        expectation: Expectation,
        graph: bytes | None = None,
    ) -> Report:
        """Verify one answer that is there as a whole; a stream too, as its recorded bytes.

        Args:
            proof: as `headers.read_proof_headers` returns it; None if there is none. Built by hand,
                its salt may be empty if request and response are None, and its prov_id may be
                empty if no header was seen.
            request: what was sent; None skips check 10.
            response: what was received; None skips checks 11 and 14.
            expectation: what else is known.
            graph: the provenance graph as it was served; None skips check 13.

        Returns:
            The report. VERIFIED means that no check failed; `skip` names what was not checked.
        """
        if proof is None:
            findings = Findings()
            findings.fails(1, "no proof headers")
            return Report("UNSIGNED", None, findings.checks(), "", None)
        if not proof.statement and not proof.jws and _is_stream(response):
            return self._recorded_stream(proof, request, response, expectation, graph)
        return self._whole(proof, request, response, expectation, graph)

    def stream(
        self,
        proof: ProofHeaders | None,
        request: SeenRequest,
        response: SeenResponse,
        expectation: Expectation,
        *,
        release_early: bool = False,
    ) -> StreamVerifier:
        """Return a verifier for a stream that is about to arrive; see `StreamVerifier`."""
        return StreamVerifier(
            self.key_set, proof, request, response, expectation, release_early=release_early
        )

    def _recorded_stream(
        self,
        proof: ProofHeaders,
        request: SeenRequest | None,
        response: SeenResponse | None,
        expectation: Expectation,
        graph: bytes | None,
    ) -> Report:
        if request is None or response is None:
            findings = Findings()
            findings.fails(10, "a stream's chain begins with its request; give the request too")
            return Report("INVALID", 0, findings.checks(), proof.prov_id, None)
        stream = self.stream(proof, request, response, expectation)
        stream.feed(response.body)
        return stream.finish(graph)

    def _whole(
        self,
        proof: ProofHeaders,
        request: SeenRequest | None,
        response: SeenResponse | None,
        expectation: Expectation,
        graph: bytes | None,
    ) -> Report:
        findings = Findings()
        try:
            _check_proof(proof, request is None and response is None, findings)
            self.key_set.verify(proof.jws, proof.statement, jws.TYPE_STATEMENT, findings)
            statement = _read(proof.statement)
        except CheckFailed as error:
            findings.fails(error.number, error.detail)
            return Report("INVALID", None, findings.checks(), proof.prov_id, None)
        findings.passes(5, f"statement of version {statement.v}")
        check_expected(statement, proof.prov_id, expectation, findings)
        _check_exchange(statement, proof.salt, request, response, findings)
        check_graph(statement, graph, findings)
        check_content_digest(response, findings)
        verdict = _judge_end(statement, findings)
        events = _events(statement, verdict)
        return Report(
            verdict,
            events,
            findings.checks(),
            proof.prov_id,
            statement,
            payload=proof.statement,
            jws=proof.jws,
        )


def _is_stream(response: SeenResponse | None) -> bool:
    return response is not None and is_stream_media(response.media)


def _events(statement: Statement, verdict: Verdict) -> int | None:
    """Count what a stream's statement proves: every event or, where a check failed, none."""
    if not isinstance(statement.res.events, int):
        return None
    return 0 if verdict == "INVALID" else statement.res.events


def _read(data: bytes) -> Statement:
    try:
        return read_statement(data)
    except StatementRefused as error:
        raise CheckFailed(5, str(error)) from error


def _check_proof(proof: ProofHeaders, saltless: bool, findings: Findings) -> None:
    """Make check 1."""
    if not proof.statement or not proof.jws:
        raise CheckFailed(1, "the statement or the signature is missing")
    if len(proof.salt) != SALT_BYTES and not (saltless and not proof.salt):
        raise CheckFailed(1, f"the salt has not exactly {SALT_BYTES} bytes")
    findings.passes(1, "statement, signature and salt" if proof.salt else "statement and signature")


def _check_exchange(
    statement: Statement,
    salt: bytes,
    request: SeenRequest | None,
    response: SeenResponse | None,
    findings: Findings,
) -> None:
    """Make checks 10 and 11."""
    if request is None:
        findings.skips(10, "no request was given")
    else:
        problem = wrong_request(statement, salt, request)
        findings.judge(10, problem, "method, path, query and body")
    if response is None:
        findings.skips(11, "no response was given")
    elif statement.res.mode == "sse":
        problem = wrong_head_line(statement, response) or _wrong_events(statement, salt, response)
        findings.judge(11, problem, f"chain over {statement.res.events} events")
    else:
        problem = wrong_body(statement, salt, response)
        findings.judge(11, problem, f"{statement.res.len} octets, status and media type")


def _judge_end(statement: Statement, findings: Findings) -> Verdict:
    """Make check 12; a stream that its gateway ended early is a proven prefix."""
    sound = not findings.failed
    if statement.res.fin:
        findings.passes(12, "the answer is complete")
        return "VERIFIED" if sound else "INVALID"
    findings.fails(12, "the gateway says that the answer is not complete")
    return "VERIFIED_PREFIX" if sound and statement.res.mode == "sse" else "INVALID"


def _wrong_events(statement: Statement, salt: bytes, response: SeenResponse) -> str:
    """Say what is wrong with a recorded stream whose final statement was taken out of it."""
    chain = Chain(salt, statement.prov_id, statement.req.commit)
    splitter = BlockSplitter()
    last, ended = b"", False
    try:
        for block in splitter.blocks(response.body):
            if not is_comment_only(block):
                ended, last = ended or last == DONE_EVENT, block
                chain.add(block)
    except StreamRefused as error:
        return str(error)
    if ended:
        return "an event after [DONE]"
    if last == DONE_EVENT and not statement.res.fin:
        return "[DONE] in a stream that its gateway calls incomplete"
    if not is_cut_comment(splitter.pending):
        return "the stream was cut within an event"
    if (statement.res.events, statement.res.len) != (chain.events, chain.octets):
        return f"{statement.res.events} events are signed, seen were {chain.events}"
    if statement.res.commit != chain.head.hex():
        return "the events are not the signed ones"
    return ""
