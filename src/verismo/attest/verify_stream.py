"""Verifies a stream while it arrives: an event is trusted once a verified head covers it.

The final statement stands at the end; where the protocol ends with `data: [DONE]`, before it and
covering it. A stream that ends sooner is a
proven prefix; a stream that contradicts a signature is refused from there on. What is accepted does
not depend on how the network cut the bytes.
"""

import msgspec

from verismo.attest import jws
from verismo.attest.commitment import SALT_BYTES, commit
from verismo.attest.headers import ProofHeaders
from verismo.attest.keyset import KeySet
from verismo.attest.report import (
    CheckFailed,
    Expectation,
    Findings,
    Report,
    SeenRequest,
    SeenResponse,
    Verdict,
)
from verismo.attest.statement import Head, Statement, StatementRefused, read_head, read_statement
from verismo.attest.stream import (
    DONE_EVENT,
    BlockSplitter,
    Chain,
    SignedComment,
    StreamRefused,
    is_comment_only,
    is_cut_comment,
    is_stream_media,
    parse_signed_comment,
)
from verismo.attest.verify_claims import (
    check_expected,
    check_graph,
    wrong_head_line,
    wrong_request,
)
from verismo.model.ids import is_prov_id

HELD_BYTES_MAX = 33_554_432
"""As many octets may wait for a head; a gateway signs one before it waits with 32 events, or after
500 ms."""


class StreamVerifier:
    """Verifies one stream. Not thread-safe; one object for each stream.

    Args:
        keys: the gateway's key set.
        proof: the stream's proof headers, None if there were none.
        request: what was sent; the chain begins with it.
        response: status and media type as the headers said; its body is not looked at.
        expectation: what else is known.
        release_early: hand on all bytes as they come and judge at the end: nothing is trusted
            before `finish`, and the bytes of an invalid stream have been used by then.
    """

    def __init__(
        self,
        keys: KeySet,
        proof: ProofHeaders | None,
        request: SeenRequest,
        response: SeenResponse,
        expectation: Expectation,
        *,
        release_early: bool = False,
    ) -> None:
        self._keys = keys
        self._proof = proof
        self._request = request
        self._response = response
        self._expectation = expectation
        self._head_expectation = msgspec.structs.replace(expectation, age_ms_max=None)
        self._release_early = release_early
        self._findings = Findings()
        self._splitter = BlockSplitter()
        self._held: list[bytes] = []
        self._held_octets = 0
        self._head: Head | None = None
        self._statement: Statement | None = None
        self._signed: SignedComment | None = None
        self._trusted = 0
        self._salt = b"" if proof is None else proof.salt
        self._prov_id = "" if proof is None else proof.prov_id
        self._chain = self._open_chain()

    @property
    def failed(self) -> bool:
        """Whether something contradicts the proof; nothing is trusted from here on."""
        return self._findings.failed

    @property
    def trusted_events(self) -> int:
        """How many events are proven so far."""
        return self._trusted

    def feed(self, data: bytes, *, now_ms: int | None = None) -> list[bytes]:
        """Take received bytes and return the events that may be used now, in order.

        Args:
            data: octets of the body as they come, without content or transfer coding.
            now_ms: the present, Unix ms; give it for a live stream, whose heads are fresh. None
                means a recorded one: its heads may be older than its end, so only the end's age
                is limited.

        Returns:
            Events as exact octets, comments left out; nothing after a failure. With
            `release_early` the bytes as they came.
        """
        if now_ms is not None:
            self._expectation = msgspec.structs.replace(self._expectation, now_ms=now_ms)
            self._head_expectation = self._expectation
        released: list[bytes] = []
        if self._chain is not None and not self.failed:
            try:
                for block in self._splitter.blocks(data):
                    released += self._take(block, self._chain)
            except CheckFailed as error:
                self._findings.fails(error.number, error.detail)
            except StreamRefused as error:
                self._findings.fails(11, str(error))
        if self._release_early:
            return [data] if data else []
        return released

    def finish(self, graph: bytes | None = None) -> Report:
        """Judge the stream; call it once the body has ended, however it ended.

        Args:
            graph: the provenance graph, if it was fetched.
        """
        if self._proof is None:
            self._findings.fails(1, "no proof headers")
            return self._report("UNSIGNED")
        if self.failed:
            return self._report("INVALID")
        if self._statement is not None:
            return self._judge_end(self._statement, graph)
        if self._head is not None:
            return self._judge_cut(self._head)
        self._findings.fails(1, "nothing that arrived is signed")
        return self._report("UNSIGNED")

    def _judge_cut(self, head: Head) -> Report:
        check_expected(head, self._prov_id, self._expectation, self._findings)
        if self._findings.failed:
            return self._report("INVALID")
        events = head.n
        self._findings.skips(14, "a stream has no Content-Digest")
        self._findings.skips(10, "only the body is bound so far, by the chain's beginning")
        self._findings.passes(11, f"the first {events} events are in the signed chain")
        self._findings.skips(13, "the final statement, which names the graph, did not arrive")
        self._findings.fails(12, f"cut after {events} proven events")
        return self._report("VERIFIED_PREFIX")

    def _judge_end(self, statement: Statement, graph: bytes | None) -> Report:
        self._findings.skips(14, "a stream has no Content-Digest")
        check_graph(statement, graph, self._findings)
        arrived = statement.res.events == self._trusted
        if arrived and not is_cut_comment(self._splitter.pending):
            self._findings.fails(11, "octets after the end")
        if self._findings.failed:
            return self._report("INVALID")
        if not statement.res.fin:
            self._findings.fails(12, "the gateway says that the stream ended early")
        elif not arrived:
            self._findings.fails(12, "cut before [DONE]")
        else:
            self._findings.passes(12, f"final statement over all {self._trusted} events")
            return self._report("VERIFIED")
        return self._report("VERIFIED_PREFIX")

    def _take(self, block: bytes, chain: Chain) -> list[bytes]:
        """Take one block and return the events that it makes trusted."""
        if is_comment_only(block):
            comment = parse_signed_comment(block)
            return [] if comment is None else self._take_signed(comment, chain)
        if self._statement is not None:
            return self._take_done(block, self._statement, chain)
        if block == DONE_EVENT:
            raise CheckFailed(12, "[DONE] without a final statement before it")
        chain.add(block)
        self._held_octets += len(block)
        if self._held_octets > HELD_BYTES_MAX:
            raise CheckFailed(11, f"no signed head for {HELD_BYTES_MAX} octets")
        if not self._release_early:
            self._held.append(block)
        return []

    def _take_done(self, block: bytes, statement: Statement, chain: Chain) -> list[bytes]:
        """After the final statement only the `[DONE]` that it covers may come, once."""
        if block != DONE_EVENT or statement.res.events != chain.events + 1:
            raise CheckFailed(11, "an event that the final statement does not cover")
        chain.add(block)
        self._trusted = chain.events
        return [block]

    def _take_signed(self, comment: SignedComment, chain: Chain) -> list[bytes]:
        if self._statement is not None:
            raise CheckFailed(11, "a signature after the final statement")
        try:
            typ = jws.parse(comment.jws).header.typ
        except jws.JwsRefused as error:
            raise CheckFailed(2, str(error)) from error
        if typ not in (jws.TYPE_HEAD, jws.TYPE_STATEMENT):
            raise CheckFailed(2, f"a signature of type {typ} has no place in a stream")
        self._keys.verify(comment.jws, comment.payload, typ, self._findings)
        try:
            if typ == jws.TYPE_HEAD:
                self._take_head(read_head(comment.payload), chain)
            else:
                self._take_statement(read_statement(comment.payload), chain)
        except StatementRefused as error:
            raise CheckFailed(5, str(error)) from error
        self._signed = comment
        released, self._held, self._held_octets = self._held, [], 0
        self._trusted = chain.events
        return released

    def _take_head(self, head: Head, chain: Chain) -> None:
        self._findings.passes(5, f"head of version {head.v} over {head.n} events")
        self._check_expected(head, self._head_expectation)
        if head.n != chain.events:
            raise CheckFailed(11, f"a head over {head.n} events stands after {chain.events}")
        if head.head != chain.head.hex():
            raise CheckFailed(11, f"the first {head.n} events are not the signed ones")
        self._head = head

    def _take_statement(self, statement: Statement, chain: Chain) -> None:
        self._findings.passes(5, f"statement of version {statement.v}")
        self._check_expected(statement, self._expectation)
        problem = wrong_request(statement, self._salt, self._request)
        self._findings.judge(10, problem, "method, path, query and body")
        problem = wrong_head_line(statement, self._response) or _wrong_end(statement, chain)
        self._findings.judge(11, problem, f"chain over {statement.res.events} events")
        self._refuse_failed()
        if statement.res.events != chain.events and not statement.res.fin:
            raise CheckFailed(12, "[DONE] is signed for a stream that is called incomplete")
        self._statement = statement

    def _check_expected(self, signed: Head | Statement, expected: Expectation) -> None:
        """Make checks 6 to 9, and hold every signature to what the head before it said."""
        check_expected(signed, self._prov_id, expected, self._findings)
        self._refuse_failed()
        before = self._head
        if before is not None and (before.iss, before.aud) != (signed.iss, signed.aud):
            raise CheckFailed(7, "two signatures of one stream name different parties")
        if before is not None and before.nonce != signed.nonce:
            raise CheckFailed(8, "two signatures of one stream carry different nonces")

    def _refuse_failed(self) -> None:
        for check in self._findings.checks():
            if check.outcome == "fail":
                raise CheckFailed(check.number, check.detail)

    def _report(self, verdict: Verdict) -> Report:
        signed = self._signed
        return Report(
            verdict=verdict,
            events=None if verdict == "UNSIGNED" else self._trusted,
            checks=self._findings.checks(),
            prov_id=self._prov_id,
            statement=self._statement,
            payload=b"" if signed is None else signed.payload,
            jws="" if signed is None else signed.jws,
        )

    def _open_chain(self) -> Chain | None:
        """Make check 1 and begin the chain."""
        proof = self._proof
        if proof is None:
            return None
        if proof.statement or proof.jws:
            self._findings.fails(1, "a stream carries its statement inside, not in headers")
        elif len(proof.salt) != SALT_BYTES or not is_prov_id(proof.prov_id):
            self._findings.fails(1, "the salt or the prov_id is missing or malformed")
        elif not is_stream_media(self._response.media):
            self._findings.fails(1, "the content type is not that of a stream")
        else:
            self._findings.passes(1, "proof headers of a stream")
            seed = commit("req", proof.salt, self._request.body)
            return Chain(proof.salt, proof.prov_id, seed)
        return None


def _wrong_end(statement: Statement, chain: Chain) -> str:
    """Say what is wrong with a final statement that stands after the chain's events.

    Where the protocol has a `[DONE]`, a whole stream's statement also covers the one that follows.
    """
    stated = statement.res
    if stated.mode != "sse":
        return "the statement is about a whole body"
    covers_done = stated.events == chain.events + 1
    if not covers_done and stated.events != chain.events:
        return f"a final statement over {stated.events} events stands after {chain.events}"
    head = chain.peek(DONE_EVENT) if covers_done else chain.head
    if stated.commit != head.hex():
        return "the events are not the signed ones"
    octets = chain.octets + (len(DONE_EVENT) if covers_done else 0)
    return "" if stated.len == octets else f"{stated.len} octets are signed, seen were {octets}"
