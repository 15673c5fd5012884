"""Checks 6 to 14: whether what was signed is what was seen and expected. Pure comparisons.

Each function returns what is wrong, or an empty text.
"""

import hashlib

from msgspec import UNSET

from verismo.attest.commitment import commit
from verismo.attest.provenance import Graph, GraphRefused, read_graph
from verismo.attest.report import Expectation, Findings, SeenRequest, SeenResponse
from verismo.attest.statement import Head, Statement
from verismo.model import base64url
from verismo.model.units import moment_utc


def check_expected(
    signed: Statement | Head, prov_id: str, expected: Expectation, findings: Findings
) -> None:
    """Make checks 6 to 9: prov_id, parties, nonce, time.

    Args:
        signed: a statement or head whose signature has been verified.
        prov_id: of the header; empty if there was no header.
        expected: what the one who verifies knows.
        findings: where the outcomes are noted.
    """
    if prov_id:
        findings.judge(
            6,
            "" if signed.prov_id == prov_id else "the header and the signed bytes name two answers",
            f"the header names the answer that was signed, {signed.prov_id}",
        )
    else:
        findings.skips(6, "no header was given")
    if expected.issuer is None and expected.audience is None:
        findings.skips(7, f"no issuer or audience is expected; signed by {signed.iss}")
    else:
        findings.judge(7, _wrong_party(signed, expected), f"issuer {signed.iss}")
    if expected.nonce is None:
        findings.skips(8, "no nonce was sent: an old answer to the same request would pass")
    else:
        findings.judge(
            8,
            "" if signed.nonce == expected.nonce else "the nonce is not the one that was sent",
            "the nonce that was sent",
        )
    if expected.now_ms is None:
        findings.skips(9, f"no time was given; signed at {moment_utc(signed.iat)}")
    else:
        findings.judge(
            9,
            _wrong_time(signed.iat, expected.now_ms, expected),
            f"signed {expected.now_ms - signed.iat} ms ago",
        )


def _wrong_party(signed: Statement | Head, expected: Expectation) -> str:
    if expected.issuer is not None and signed.iss != expected.issuer:
        return f"issued by {signed.iss[:256]!r}, expected {expected.issuer!r}"
    if expected.audience is not None and signed.aud != expected.audience:
        return f"issued for {signed.aud[:256]!r}, expected {expected.audience!r}"
    return ""


def _wrong_time(iat_ms: int, now_ms: int, expected: Expectation) -> str:
    if iat_ms > now_ms + expected.skew_ms_max:
        return f"signed {iat_ms - now_ms} ms in the future"
    limit = expected.age_ms_max
    if limit is not None and now_ms - iat_ms > limit + expected.skew_ms_max:
        return f"signed {now_ms - iat_ms} ms ago, at most {limit} ms are allowed"
    return ""


def wrong_request(statement: Statement, salt: bytes, request: SeenRequest) -> str:
    """Check 10: method, path, query and body are those of the statement."""
    stated = statement.req
    if stated.method != request.method:
        return f"the statement is about {stated.method[:16]!r}, sent was {request.method!r}"
    if stated.path != request.path:
        return f"the statement is about {stated.path[:256]!r}, sent was {request.path!r}"
    if (stated.query is not UNSET) != bool(request.query):
        return "one of statement and request has a query string, the other has none"
    if stated.query is not UNSET and stated.query != commit("query", salt, request.query):
        return "the query string is not the one that was committed to"
    if stated.len != len(request.body):
        return f"the request had {stated.len} octets, sent were {len(request.body)}"
    if stated.commit != commit("req", salt, request.body):
        return "the request body is not the one that was committed to"
    return ""


def wrong_head_line(statement: Statement, response: SeenResponse) -> str:
    """First half of check 11: status and media type are those of the statement."""
    if statement.res.status != response.status:
        return f"the statement is about status {statement.res.status}, seen was {response.status}"
    if statement.res.media != response.media:
        return f"the statement is about {statement.res.media[:128]!r}, seen was {response.media!r}"
    return ""


def wrong_body(statement: Statement, salt: bytes, response: SeenResponse) -> str:
    """Check 11 for a whole body: status, media type, length and commitment."""
    if problem := wrong_head_line(statement, response):
        return problem
    if statement.res.len != len(response.body):
        return f"the answer had {statement.res.len} octets, seen were {len(response.body)}"
    if statement.res.commit != commit("res", salt, response.body):
        return "the response body is not the one that was committed to"
    return ""


def check_graph(statement: Statement, document: bytes | None, findings: Findings) -> None:
    """Make check 13: the graph is well formed and is the one that was signed."""
    if document is None:
        findings.skips(13, "no graph was given")
        return
    try:
        graph, root = read_graph(document)
    except GraphRefused as error:
        findings.fails(13, str(error))
        return
    findings.judge(13, _wrong_graph(statement, graph, root), f"{len(graph.nodes)} nodes")


def _wrong_graph(statement: Statement, graph: Graph, root: str) -> str:
    if root != statement.dag.root:
        return "the graph's root is not the signed one"
    if len(graph.nodes) != statement.dag.nodes:
        return f"the graph has {len(graph.nodes)} nodes, signed were {statement.dag.nodes}"
    if graph.prov_id != statement.prov_id:
        return "the graph belongs to another answer"
    # `read_graph` has seen that the first node is the one request, the last the one response.
    if graph.nodes[0].commit != statement.req.commit:
        return "the graph's request is not the signed one"
    if graph.nodes[-1].commit != statement.res.commit:
        return "the graph's response is not the signed one"
    return ""


def check_content_digest(response: SeenResponse | None, findings: Findings) -> None:
    """Make check 14: a `Content-Digest` with SHA-256 fits the body (RFC 9530, section 2)."""
    if response is None or response.content_digest is None:
        findings.skips(14, "no Content-Digest")
        return
    problem, found = "", False
    for member in response.content_digest.split(","):
        name, _, value = member.strip(" \t").partition("=")
        if name == "sha-256":
            problem = "sha-256 stands twice" if found else _wrong_digest(value, response.body)
            found = True
            if problem:
                break
    if found:
        findings.judge(14, problem, "sha-256 of the body")
    else:
        findings.skips(14, "the Content-Digest has no sha-256")


def _wrong_digest(value: str, body: bytes) -> str:
    try:
        digest = base64url.decode_binary_item(value)
    except base64url.NotBase64 as error:
        return f"sha-256 is {error}"
    return "" if digest == hashlib.sha256(body).digest() else "sha-256 is not that of the body"
