"""`verismo.attest.verify` under the path that the specification names."""

from verismo.attest.verify import (
    CHECK_NAMES,
    SKEW_MS_MAX,
    Check,
    Expectation,
    KeySet,
    Outcome,
    Report,
    SeenRequest,
    SeenResponse,
    StreamVerifier,
    Verdict,
    Verifier,
    refused_headers,
    refused_keys,
    verify_answer,
)

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
