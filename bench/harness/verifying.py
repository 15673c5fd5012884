"""Asks the public verification API about saved exchanges."""

import msgspec

from verismo.attest.exchange import Exchange, fold, octets
from verismo.attest.headers import read_proof_headers
from verismo.model import base64url

VERIFY_PATH = "/v1/attest/verify"
VALID = b'"valid":true'


def request_of(exchange: Exchange) -> bytes:
    """Return the body that asks the API to verify an exchange, request and response included."""
    headers = fold(exchange.response.headers)
    proof = read_proof_headers(headers)
    assert proof is not None
    assert exchange.request is not None
    return msgspec.json.encode(
        {
            "statement": base64url.encode(proof.statement),
            "signature": proof.jws,
            "salt": base64url.encode(proof.salt),
            "request": {
                "method": exchange.request.method,
                "path": exchange.request.path,
                "body": base64url.encode(octets(exchange.request)),
            },
            "response": {
                "status": exchange.response.status,
                "media": headers["content-type"],
                "body": base64url.encode(octets(exchange.response)),
            },
        }
    )
