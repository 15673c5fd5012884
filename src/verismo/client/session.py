"""One request and what may be done with its answer. No I/O: bytes in, events and verdicts out.

A whole answer is judged at once (`judge`); a stream is fed (`begin`, `feed`, `finish`) and gives
back what may be used. Both are reported once, and `refusal` says whether the application may have
the answer. What is not signed is left out of account: of the headers only status and content type
are, so a redirect, which acts by its `Location`, is never accepted.
"""

import base64
from collections.abc import Iterable
from typing import Literal

import msgspec

from verismo.attest import jws
from verismo.attest.exchange import VERSION, Exchange, SavedRequest, SavedResponse, fold
from verismo.attest.headers import CONTENT_DIGEST, HeadersRefused, ProofHeaders, read_proof_headers
from verismo.attest.report import Expectation, Findings, Report, SeenRequest, SeenResponse
from verismo.attest.stream import StreamRefused, is_stream_media, parse_signed_comment
from verismo.attest.verify import StreamVerifier, Verifier, refused_headers
from verismo.client.errors import (
    AnswerInvalid,
    AnswerUnsigned,
    StreamCut,
    VerificationFailed,
)
from verismo.client.settings import Gateway

Way = Literal["whole", "stream", "settled"]
"""How an answer is to be taken: read whole, fed, or not at all because its report is there."""

OPENING_BYTES_MAX = 8_192
"""The first signed head has at most 2 KiB of JSON; a longer first block is none."""

_CODING = frozenset({"content-encoding", "content-length", "transfer-encoding"})


class Session:
    """The verification of one answer. One object for each request; not thread-safe.

    Args:
        gateway: what is demanded.
        request: as it is sent.
        nonce: the `Attest-Nonce` that is sent.
    """

    def __init__(self, gateway: Gateway, request: SeenRequest, nonce: str) -> None:
        self._gateway = gateway
        self._request = request
        self._nonce = nonce
        self._response = SeenResponse(status=0, media="")
        self._pairs: tuple[tuple[str, str], ...] = ()
        self._proof: ProofHeaders | None = None
        self._stream: StreamVerifier | None = None
        self._raw = bytearray()
        self._is_kept = gateway.keeps_exchanges
        self._is_over = False
        self._judged_ms: int | None = None
        self._report: Report | None = None

    def arrive(self, status: int, pairs: Iterable[tuple[str, str]]) -> Way:
        """Take the head of the answer.

        Args:
            status: HTTP status.
            pairs: headers, name and value, in order.
        """
        pairs = tuple(pairs)
        headers = fold(pairs)
        self._pairs = tuple((name, value) for name, value in pairs if name.lower() not in _CODING)
        self._response = SeenResponse(
            status, headers.get("content-type", ""), content_digest=headers.get(CONTENT_DIGEST)
        )
        try:
            self._proof = read_proof_headers(headers)
        except HeadersRefused as error:
            self._report = refused_headers(error)
            return "settled"
        if self._proof is None:
            self._report = Verifier({}).answer(None, None, None, Expectation())
            return "settled"
        if 300 <= status < 400 and "location" in headers:
            return self._refuse(11, "a redirect: its Location is not signed")
        if self._proof.statement or not is_stream_media(self._response.media):
            return "whole"
        if status != 200:
            return self._refuse(11, f"a stream of status {status}: the gateway's have 200")
        return "stream"

    @property
    def report(self) -> Report:
        """The verdict; it is a mistake to ask for it before there is one."""
        if self._report is None:
            raise RuntimeError("the answer was not judged")
        return self._report

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The answer's headers without those of its coding, which is removed before verifying."""
        return self._pairs

    @property
    def kid(self) -> str:
        """Which key a whole answer names; empty if its signature cannot be read."""
        return "" if self._proof is None else _kid(self._proof.jws)

    def judge(self, verifier: Verifier, body: bytes) -> Report:
        """Judge a whole answer.

        Args:
            verifier: with the keys in use.
            body: octets, without content coding.
        """
        if len(body) > self._gateway.body_bytes_max:
            self._is_over = True
            self._refuse(11, f"longer than {self._gateway.body_bytes_max} octets")
        else:
            self._keep(body)
            response = msgspec.structs.replace(self._response, body=body)
            self._report = verifier.answer(
                self._proof, self._request, response, self._expectation()
            )
        return self.report

    def begin(self, verifier: Verifier) -> None:
        """Begin to take a stream; its keys stay the same until its end."""
        self._stream = verifier.stream(
            self._proof,
            self._request,
            self._response,
            self._expectation(),
            release_early=self._gateway.releases_early,
        )

    def feed(self, data: bytes) -> bytes:
        """Take received octets of a stream and return those that may be used now."""
        stream = self._begun()
        self._keep(data)
        released = b"".join(stream.feed(data, now_ms=self._now_ms()))
        if self._gateway.releases_early and self.contradicted:
            return b""
        return released

    @property
    def contradicted(self) -> bool:
        """Whether something in the stream contradicts its proof, and that is to be refused."""
        return self._begun().failed and self._gateway.on_verdict.invalid == "refuse"

    def finish(self) -> Report:
        """Judge what was seen of a stream."""
        self._report = self._begun().finish()
        return self._report

    def refusal(self) -> VerificationFailed | None:
        """Return the error that the application gets instead of the answer, or of its end."""
        report, rules = self.report, self._gateway.on_verdict
        if report.verdict == "INVALID":
            # The rest of an answer over the limit was not read, so it cannot be passed on either.
            is_refused = rules.invalid == "refuse" or self._is_over
            return AnswerInvalid(report) if is_refused else None
        if report.verdict == "VERIFIED_PREFIX":
            return StreamCut(report) if rules.prefix == "refuse" else None
        if report.verdict == "VERIFIED":
            return None
        if self._stream is not None:  # it announced a proof and was cut before the first head
            action = rules.prefix
        elif self._response.status >= 400:
            action = rules.unsigned_refusal
        else:
            action = rules.unsigned
        return AnswerUnsigned(report) if action == "refuse" else None

    def exchange(self, jwks: bytes) -> Exchange | None:
        """Return the exchange for later verification; None if it is not kept.

        Args:
            jwks: the key set in use.
        """
        if not self._is_kept or self._proof is None:
            return None
        request, gateway = self._request, self._gateway
        return Exchange(
            v=VERSION,
            request=SavedRequest(
                request.method,
                request.path,
                request.query.decode("ascii"),
                body_base64=base64.b64encode(request.body).decode("ascii"),
            ),
            response=SavedResponse(
                self._response.status,
                self._pairs,
                body_base64=base64.b64encode(self._raw).decode("ascii"),
            ),
            nonce=self._nonce,
            issuer=gateway.issuer,
            audience=gateway.audience,
            now_ms=self._judged_ms,
            jwks=msgspec.Raw(jwks),
        )

    def _refuse(self, number: int, detail: str) -> Way:
        findings = Findings()
        findings.fails(number, detail)
        prov_id = "" if self._proof is None else self._proof.prov_id
        self._report = Report("INVALID", None, findings.checks(), prov_id, None)
        return "settled"

    def _keep(self, data: bytes) -> None:
        if not self._is_kept:
            return
        self._raw += data
        if len(self._raw) > self._gateway.body_bytes_max:
            self._raw, self._is_kept = bytearray(), False

    def _now_ms(self) -> int | None:
        if self._gateway.skew_ms_max is None:
            return None
        self._judged_ms = self._gateway.clock_ms()
        return self._judged_ms

    def _expectation(self) -> Expectation:
        gateway = self._gateway
        return Expectation(
            issuer=gateway.issuer,
            audience=gateway.audience,
            nonce=self._nonce,
            now_ms=self._now_ms(),
            skew_ms_max=gateway.skew_ms_max or 0,
        )

    def _begun(self) -> StreamVerifier:
        if self._stream is None:
            raise RuntimeError("the stream was not begun")
        return self._stream


def opening_kid(data: bytes) -> str | None:
    """Return which key a stream's first signed head names.

    Args:
        data: what has arrived of the stream.

    Returns:
        The kid, empty if the stream does not begin with a readable head, None if more is needed.
    """
    block, end, _ = data.partition(b"\n\n")
    if not end:
        return None if len(data) <= OPENING_BYTES_MAX else ""
    try:
        comment = parse_signed_comment(block + end)
    except StreamRefused:
        return ""
    return "" if comment is None else _kid(comment.jws)


def _kid(text: str) -> str:
    try:
        return jws.parse(text).header.kid
    except jws.JwsRefused:
        return ""
