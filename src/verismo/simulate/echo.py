"""The generic HTTP dialect: `/echo` says which octets arrived, so that a test can compare."""

import hashlib

import msgspec

from verismo.simulate.answer import FINGERPRINT, Answer, Call


class EchoBody(msgspec.Struct, frozen=True):
    """What arrived.

    Args:
        method: upper case.
        path: decoded, without the query.
        query: raw query string.
        content_type: as received; empty if there was none.
        length: octets of the body.
        sha256: lower-case hex over the body.
        simulator: names the simulator.
    """

    method: str
    path: str
    query: str
    content_type: str
    length: int
    sha256: str
    simulator: str = FINGERPRINT


class Echo:
    """Answers `/echo` and any path below it, with any method."""

    def answer(self, call: Call) -> Answer:
        """Answer a call."""
        body = EchoBody(
            method=call.method,
            path=call.path,
            query=call.query,
            content_type=call.headers.get("content-type", ""),
            length=len(call.body),
            sha256=hashlib.sha256(call.body).hexdigest(),
        )
        return Answer(status=200, body=msgspec.json.encode(body))

    def error(self, status: int, message: str) -> Answer:
        """Return an error as an RFC 9457 problem."""
        body = msgspec.json.encode({"title": message, "status": status})
        return Answer(status=status, body=body, media="application/problem+json")
