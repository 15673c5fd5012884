"""What a verification looks at and what it answers: the seen exchange, the checks, the verdict.

The checks are numbered once, here; `docs/attestation-format.md` and the test vectors use the same
numbers.
"""

from typing import Literal

import msgspec

from verismo.attest.statement import Statement

CHECK_NAMES = {
    1: "proof",
    2: "profile",
    3: "key",
    4: "signature",
    5: "statement",
    6: "prov-id",
    7: "parties",
    8: "nonce",
    9: "time",
    10: "request",
    11: "response",
    12: "completeness",
    13: "graph",
    14: "content-digest",
    15: "ledger",
    16: "witnesses",
    17: "key-ring",
}

Outcome = Literal["pass", "fail", "skip"]
Verdict = Literal["VERIFIED", "VERIFIED_PREFIX", "INVALID", "UNSIGNED"]

_NOT_GIVEN = {
    15: "no proof of the ledger was given",
    16: "no witness policy was given",
    17: "no key ring was given",
}

SKEW_MS_MAX = 60_000
"""How far two clocks may differ (notes-attest 6.16)."""


class SeenRequest(msgspec.Struct, frozen=True):
    """The request as its sender knows it.

    Args:
        method: upper case.
        path: as sent, percent-encoding kept, without the query.
        query: the raw query string without the question mark; empty if there was none.
        body: octets, without content or transfer coding.
    """

    method: str
    path: str
    query: bytes = b""
    body: bytes = b""


class SeenResponse(msgspec.Struct, frozen=True):
    """The response as its receiver saw it.

    Args:
        status: HTTP status.
        media: the `Content-Type` header's exact value.
        body: octets, without content or transfer coding.
        content_digest: the `Content-Digest` header's value, None if there was none.
    """

    status: int
    media: str
    body: bytes = b""
    content_digest: str | None = None


class Expectation(msgspec.Struct, frozen=True):
    """What the one who verifies knows besides the exchange; None leaves the check out.

    Args:
        issuer: the `iss` that must stand in the statement.
        audience: the `aud` that must stand in the statement.
        nonce: the `Attest-Nonce` that was sent.
        now_ms: the present, Unix ms.
        age_ms_max: how old an answer may be; only with `now_ms`.
        skew_ms_max: how far the two clocks may differ; only with `now_ms`.
    """

    issuer: str | None = None
    audience: str | None = None
    nonce: str | None = None
    now_ms: int | None = None
    age_ms_max: int | None = None
    skew_ms_max: int = SKEW_MS_MAX


class Check(msgspec.Struct, frozen=True):
    """One numbered check: its outcome, and what was found in one line."""

    number: int
    name: str
    outcome: Outcome
    detail: str


_UNMADE = tuple(
    Check(number, name, "skip", _NOT_GIVEN.get(number, "not reached"))
    for number, name in CHECK_NAMES.items()
)


class Report(msgspec.Struct, frozen=True):
    """The answer of a verification.

    Args:
        verdict: VERIFIED: no check failed, the answer is whole. VERIFIED_PREFIX: a stream was cut;
            its first `events` events are proven. INVALID: something contradicts the proof.
            UNSIGNED: there is no proof.
        events: for streams how many events are proven, with INVALID those before the failure;
            None for a body, without proof, and where checks 1 to 5 failed outside a stream.
        checks: all seventeen, in order. `skip` says why a check was not made.
        prov_id: of the proof; empty if there is none.
        statement: what was signed; None unless its signature verified.
        payload: the verified octets that the verdict rests on: those of the statement or, of a
            stream that was cut, of its last good head; empty if none verified.
        jws: their detached signature; empty if none verified.
    """

    verdict: Verdict
    events: int | None
    checks: tuple[Check, ...]
    prov_id: str
    statement: Statement | None
    payload: bytes = b""
    jws: str = ""


class CheckFailed(Exception):
    """A check that ends the verification.

    Args:
        number: of the check.
        detail: what is wrong.
    """

    def __init__(self, number: int, detail: str) -> None:
        super().__init__(detail)
        self.number = number
        self.detail = detail


class Findings:
    """Collects the outcomes of one verification."""

    def __init__(self) -> None:
        self._found: dict[int, Check] = {}

    @property
    def failed(self) -> bool:
        """Whether any check has failed."""
        return "fail" in [check.outcome for check in self._found.values()]

    def passes(self, number: int, detail: str) -> None:
        """Note that a check passed."""
        self._found[number] = Check(number, CHECK_NAMES[number], "pass", detail)

    def skips(self, number: int, detail: str) -> None:
        """Note that a check was not made, and why."""
        self._found[number] = Check(number, CHECK_NAMES[number], "skip", detail)

    def fails(self, number: int, detail: str) -> None:
        """Note that a check failed."""
        self._found[number] = Check(number, CHECK_NAMES[number], "fail", detail)

    def judge(self, number: int, problem: str, detail: str) -> None:
        """Note a failure if there is a problem, else a pass."""
        outcome: Outcome = "fail" if problem else "pass"
        self._found[number] = Check(number, CHECK_NAMES[number], outcome, problem or detail)

    def checks(self) -> tuple[Check, ...]:
        """Return all checks in order; those that were not reached are skipped."""
        return tuple(self._found.get(unmade.number, unmade) for unmade in _UNMADE)
