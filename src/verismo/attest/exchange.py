"""A saved HTTP exchange as one JSON document, so that an answer can be verified later, elsewhere.

Media type `application/vnd.verismo.exchange+json`; `docs/attestation-format.md` lists its members.
It holds content in clear: whoever saves one decides who may read it.
"""

import base64
import binascii

import msgspec

from verismo.attest.headers import CONTENT_DIGEST, HeadersRefused, read_proof_headers
from verismo.attest.onereading import MemberTwice, check_members
from verismo.attest.report import Expectation, Report, SeenRequest, SeenResponse
from verismo.attest.verify import Verifier, refused_headers
from verismo.attest.verify_ledger import LedgerTrust, verify_ledger
from verismo.model import canonical

VERSION = 1


class ExchangeRefused(ValueError):
    """The document is not a saved exchange, and why."""


class SavedRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The request. A body is given as base64 or as text, not both.

    Args:
        method: upper case.
        path: as sent, percent-encoding kept, without the query.
        query: raw, without the question mark.
        body_base64, body_text: its octets.
    """

    method: str
    path: str
    query: str = ""
    body_base64: str = ""
    body_text: str = ""


class SavedResponse(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The response. A body is given as base64 or as text, not both.

    Args:
        status: HTTP status.
        headers: pairs of name and value, in order; names in any case.
        body_base64, body_text: its octets without content or transfer coding.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body_base64: str = ""
    body_text: str = ""


class Exchange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One saved exchange with what its saver knew.

    Args:
        v: format version, 1.
        request: None if it was not kept; check 10 is skipped then, and no stream can be verified.
        response: what was received.
        nonce, issuer, audience, now_ms, age_ms_max: see `Expectation`.
        jwks: a key set. It proves nothing about who signed unless the reader trusts the saver.
        graph: the graph's exact text.
        proof: the proof file of the ledger, verbatim. The key of the log is never in here.
    """

    v: int
    response: SavedResponse
    request: SavedRequest | None = None
    nonce: str | None = None
    issuer: str | None = None
    audience: str | None = None
    now_ms: int | None = None
    age_ms_max: int | None = None
    jwks: msgspec.Raw = msgspec.Raw()
    graph: str | None = None
    proof: str | None = None


def read_exchange(document: bytes) -> Exchange:
    """Read a saved exchange.

    Raises:
        ExchangeRefused: not JSON, unknown members or one that stands twice, another version, a
            number of 2**53 or more, or a body that is not base64.
    """
    try:
        exchange = msgspec.json.decode(document, type=Exchange)
        check_members(document)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, MemberTwice) as error:
        raise ExchangeRefused(f"not a saved exchange: {error}") from error
    check_exchange(exchange)
    return exchange


def check_exchange(exchange: Exchange) -> None:
    """Check what the types alone do not say; after it an exchange can be verified.

    Raises:
        ExchangeRefused: another version, a number of 2**53 or more, a body that is given twice, or
            one that is not base64.
    """
    if exchange.v != VERSION:
        raise ExchangeRefused(f"version {exchange.v} is not known here; update the verifier")
    numbers = (exchange.response.status, exchange.now_ms or 0, exchange.age_ms_max or 0)
    if max(map(abs, numbers)) > canonical.MAX_INTEGER:
        raise ExchangeRefused("a number of 2**53 or more, which verifiers read differently")
    octets(exchange.response)
    if exchange.request is not None:
        octets(exchange.request)


def expectation(exchange: Exchange) -> Expectation:
    """Return what the saver of an exchange expected."""
    return Expectation(
        issuer=exchange.issuer,
        audience=exchange.audience,
        nonce=exchange.nonce,
        now_ms=exchange.now_ms,
        age_ms_max=exchange.age_ms_max,
    )


def verify_exchange(
    verifier: Verifier,
    exchange: Exchange,
    expected: Expectation,
    trust: LedgerTrust | None = None,
) -> Report:
    """Verify a saved exchange.

    Args:
        verifier: with the keys that the caller trusts.
        exchange: what was saved, as `read_exchange` returns it.
        expected: what the caller knows; start from `expectation(exchange)`.
        trust: what the caller trusts of the ledger; None leaves its checks out.
    """
    report = _verify_answer(verifier, exchange, expected)
    if trust is None and exchange.proof is None:
        return report
    proof = None if exchange.proof is None else exchange.proof.encode("utf-8")
    return verify_ledger(report, proof, trust or LedgerTrust())


def _verify_answer(verifier: Verifier, exchange: Exchange, expected: Expectation) -> Report:
    headers = fold(exchange.response.headers)
    try:
        proof = read_proof_headers(headers)
    except HeadersRefused as error:
        return refused_headers(error)
    saved = exchange.request
    request = None
    if saved is not None:
        query = saved.query.encode("utf-8", "surrogateescape")
        request = SeenRequest(saved.method, saved.path, query, octets(saved))
    response = SeenResponse(
        status=exchange.response.status,
        media=headers.get("content-type", ""),
        body=octets(exchange.response),
        content_digest=headers.get(CONTENT_DIGEST),
    )
    graph = None if exchange.graph is None else exchange.graph.encode("utf-8")
    return verifier.answer(proof, request, response, expected, graph)


def fold(pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Return headers by lower-case name; values of one name are joined by a comma.

    A proof header that stands twice becomes malformed by this and is refused, as it must be.

    Source: RFC 9110, section 5.3.
    """
    headers: dict[str, str] = {}
    for name, value in pairs:
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers


def octets(saved: SavedRequest | SavedResponse) -> bytes:
    """Return a saved body's octets.

    Raises:
        ExchangeRefused: both spellings are given, or the base64 is malformed.
    """
    if saved.body_base64 and saved.body_text:
        raise ExchangeRefused("a body is given as body_base64 or as body_text, not both")
    try:
        if saved.body_base64:
            if len(saved.body_base64) % 4:  # the decoder would take padding after a whole group
                raise ValueError("padding that is none")
            return base64.b64decode(saved.body_base64, validate=True)
        return saved.body_text.encode("utf-8")
    except (binascii.Error, ValueError) as error:
        raise ExchangeRefused("a body that is neither base64 nor text") from error
