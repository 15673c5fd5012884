"""What an application catches.

    ClientError
    ├── VerificationFailed     an answer that must not be used; `report` says why
    │   ├── AnswerInvalid          something contradicts its proof
    │   ├── AnswerUnsigned         it has no proof and should have one
    │   └── StreamCut              it ended early; what was handed on is proven
    ├── KeysUnavailable        the gateway's key set cannot be had or read
    ├── ForeignAddress         the request is not for the gateway; it was not sent
    └── SealRefused            a run was not sealed, so there is no proof of it

None of them is an `httpx2.HTTPError`, on purpose: the openai SDK takes those for connection errors,
wraps them and sends the request again (`max_retries`). These reach the application at once and as
they are. Errors of the connection itself stay what `httpx2` raises.
"""

from typing import ClassVar

from verismo.attest.report import Report


class ClientError(Exception):
    """The root: every error of the verifying client, with a next step for the reader."""

    next_step: ClassVar[str] = "Read the message; it names what is missing or wrong."


class VerificationFailed(ClientError):
    """An answer that must not be used.

    Args:
        report: the verdict with its numbered checks.
    """

    def __init__(self, report: Report) -> None:
        super().__init__(report)
        self.report = report

    def __str__(self) -> str:
        failed = [check for check in self.report.checks if check.outcome == "fail"]
        found = "; ".join(
            f"check {check.number} ({check.name}): {check.detail}" for check in failed
        )
        return f"{self.report.verdict}: {found}"


class AnswerInvalid(VerificationFailed):
    """Something contradicts the answer's proof."""

    next_step = "Do not use the answer. Keep it (`keeps_exchanges`) and show it to the operator."


class AnswerUnsigned(VerificationFailed):
    """An answer without a proof where there must be one."""

    next_step = "Check that base_url is the gateway's and that nothing strips `Attest-` headers."


class StreamCut(VerificationFailed):
    """A stream that ended early. The events that were handed on are proven, the rest is missing."""

    next_step = "Ask again, or use the proven prefix knowing that it is one."


class KeysUnavailable(ClientError):
    """The gateway's key set cannot be had or read. No answer can be verified without it."""

    next_step = "Pin the gateway's key set, or check that its jwks.json can be reached."


class ForeignAddress(ClientError):
    """The request is not for the gateway, so its answer could not be verified; it was not sent."""

    next_step = "Check base_url; send other requests with another client, or set elsewhere='pass'."


class SealRefused(ClientError):
    """A run was not sealed: there is no proof of it."""

    next_step = 'Read the message; the operation must be registered with kind = "agent".'
