"""Every error that leaves Verismo, as one tree split by whose fault it is.

    VerismoError
    ├── CallerError            4xx: change the request
    │   ├── MalformedRequest       400 malformed_request
    │   ├── DuplicateMember        400 duplicate_member
    │   ├── HeaderMismatch         400 header_mismatch
    │   ├── RevisionUnsupported    400 revision_unsupported
    │   ├── ToolUnregistered       400 tool_unregistered
    │   ├── Unauthenticated        401 unauthenticated
    │   ├── OriginRefused          403 origin_refused
    │   ├── NotFound               404 not_found
    │   ├── OperationUnregistered  404 operation_unregistered
    │   ├── MethodUnregistered     404 method_unregistered
    │   ├── MethodNotAllowed       405 method_not_allowed
    │   ├── RequestTimeout         408 request_timeout
    │   ├── RunSealed              409 run_sealed
    │   ├── DecisionStale          409 decision_stale
    │   ├── Erased                 410 erased
    │   ├── BodyTooLarge           413 body_too_large
    │   ├── UriTooLong             414 uri_too_long
    │   ├── UnsupportedMediaType   415 unsupported_media_type
    │   └── HeadersTooLarge        431 headers_too_large
    ├── PolicyRefusal          403 policy_refused: the rules say no; its reasons name the rules
    ├── CapacityError          try later
    │   ├── RateLimited            429 rate_limited
    │   ├── BudgetExhausted        429 budget_exhausted
    │   ├── RouteThrottled         429 route_throttled
    │   ├── RunLimit               429 run_limit
    │   ├── ProofPending           409 proof_pending
    │   ├── Overloaded             503 overloaded
    │   └── DecidedElsewhere       503 decided_elsewhere
    ├── UpstreamError          the provider's fault; `retryable` says whether another may do
    │   ├── UpstreamUnreachable    502 upstream_unreachable
    │   ├── UpstreamBroken         502 upstream_broken
    │   ├── UpstreamFailed         502 upstream_failed
    │   ├── UpstreamTooLarge       502 upstream_too_large
    │   │   └── ResultTooLarge         502 result_too_large
    │   ├── UpstreamTimeout        504 upstream_timeout
    │   └── NoDeployment           503 no_deployment
    ├── IntegrityError         503 attestation_unavailable: fails closed, nothing is served
    └── OperatorError          for the operator at the command line: exit code 2
        ├── ConfigError            names file, line and the nearest known key
        └── StateError             a data folder, key file or database that cannot be used

Each error has a stable `code`, an HTTP `status`, a `title`, and a `next_step` for the reader.
`docs/errors.md` lists them; a test compares.
"""

from typing import ClassVar, Final

_REGISTERED: Final = "https://iana.org/assignments/http-problem-types"
QUOTA_EXCEEDED: Final = f"{_REGISTERED}#quota-exceeded"
REDUCED_CAPACITY: Final = f"{_REGISTERED}#temporary-reduced-capacity"
"""Problem types of draft-ietf-httpapi-ratelimit-headers."""


class VerismoError(Exception):
    """The root: an error with a stable code and a next step.

    Args:
        detail: what happened, for the reader of this one answer; never content, never a secret.
        retry_after_s: when a retry makes sense, seconds; None means do not say.
    """

    code: ClassVar[str] = "internal_error"
    status: int = 500
    title: ClassVar[str] = "Internal error"
    next_step: ClassVar[str] = "Report it with the x-request-id; the gateway's log names the cause."
    openai_type: ClassVar[str] = "server_error"
    problem_type: ClassVar[str] = ""
    """A registered problem type (RFC 9457); empty for a page of our own."""

    def __init__(self, detail: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s


class CallerError(VerismoError):
    """The request is at fault; sending it again unchanged gives the same answer."""

    openai_type = "invalid_request_error"


class MalformedRequest(CallerError):
    """The request cannot be parsed or lacks something required."""

    code = "malformed_request"
    status = 400
    title = "Malformed request"
    next_step = "Mend what the error names and send the request again."


class DuplicateMember(CallerError):
    """A JSON object names one member twice, so its meaning depends on the parser (decisions 18)."""

    code = "duplicate_member"
    status = 400
    title = "Duplicate JSON member"
    next_step = "Send each JSON member once."


class HeaderMismatch(CallerError):
    """A header that repeats what an MCP message says is missing or says something else."""

    code = "header_mismatch"
    status = 400
    title = "Header and body differ"
    next_step = "Send the MCP headers that the revision asks for, with the values of the body."


class RevisionUnsupported(CallerError):
    """An MCP client speaks a revision of the protocol that is not spoken here.

    Args:
        requested: the revision that the client named, empty if it named none.
        supported: the revisions that are spoken.
    """

    code = "revision_unsupported"
    status = 400
    title = "MCP revision not supported"
    next_step = "Use an MCP client of the revision that the error names, without a session."

    def __init__(self, detail: str, *, requested: str, supported: tuple[str, ...]) -> None:
        super().__init__(detail)
        self.requested = requested
        self.supported = supported


class ToolUnregistered(CallerError):
    """The MCP operation does not have the tool, whatever the server behind it has."""

    code = "tool_unregistered"
    status = 400
    title = "Tool not registered"
    next_step = "Ask for `tools/list`; operators: `tools` of the operation."


class Unauthenticated(CallerError):
    """No API key, or one that is unknown, expired or revoked. The answer does not say which."""

    code = "unauthenticated"
    status = 401
    title = "API key missing or not valid"
    next_step = "Send `Authorization: Bearer vk_...`; `verismo apikey create` makes a key."
    openai_type = "authentication_error"


class OriginRefused(CallerError):
    """A browser's page asks, and its origin is none of those that may."""

    code = "origin_refused"
    status = 403
    title = "Origin not allowed"
    next_step = "Call without a browser; operators: `listen.cors_origins`."
    openai_type = "permission_error"


class NotFound(CallerError):
    """No such path or record, or it belongs to another tenant."""

    code = "not_found"
    status = 404
    title = "Not found"
    next_step = "Check the path and the identifier; records of other tenants are not shown."


class OperationUnregistered(CallerError):
    """What the caller asked to run is not registered for its tenant."""

    code = "operation_unregistered"
    status = 404
    title = "Operation not registered"
    next_step = "GET /v1/models lists what may be called; `verismo operation list` shows all."


class MethodUnregistered(CallerError):
    """The MCP operation does not let this method through."""

    code = "method_unregistered"
    status = 404
    title = "MCP method not registered"
    next_step = "Use a method that the error names; operators: `methods` of the operation."


class MethodNotAllowed(CallerError):
    """The path exists but not for this method."""

    code = "method_not_allowed"
    status = 405
    title = "Method not allowed"
    next_step = "Use the method that the `Allow` header names."


class RequestTimeout(CallerError):
    """The request did not arrive whole in time."""

    code = "request_timeout"
    status = 408
    title = "Request timed out"
    next_step = "Send the request faster; the limit is `limits.request_ms_max`."


class RunSealed(CallerError):
    """The run has an answer already, or will have one; what is sealed is never changed.

    Args:
        prov_id: the answer.
    """

    code = "run_sealed"
    status = 409
    title = "Run sealed already"
    next_step = "Read the answer that the error names, or begin a new run under a new root span."

    def __init__(self, prov_id: str) -> None:
        super().__init__(f"the run under this span belongs to the answer {prov_id}")
        self.prov_id = prov_id


class DecisionStale(CallerError):
    """What is to be overridden is no longer the newest decision."""

    code = "decision_stale"
    status = 409
    title = "Decision no longer the newest"
    next_step = "Read the newest one (`verismo decisions`) and say again what is to be done."


class Erased(CallerError):
    """The tenant's key was erased, and its records with it."""

    code = "erased"
    status = 410
    title = "Erased"
    next_step = "The record was erased on request; its proof in the ledger still stands."


class BodyTooLarge(CallerError):
    """The request body is over the limit."""

    code = "body_too_large"
    status = 413
    title = "Request body too large"
    next_step = "Send less, or raise `limits.request_bytes_max`."


class UriTooLong(CallerError):
    """The request's path and query are longer than a request's head may be."""

    code = "uri_too_long"
    status = 414
    title = "Request target too long"
    next_step = "Send a shorter path or query; the limit is `limits.header_bytes_max`."


class UnsupportedMediaType(CallerError):
    """The request body is not of a type this path takes."""

    code = "unsupported_media_type"
    status = 415
    title = "Unsupported media type"
    next_step = "Send `Content-Type: application/json`."


class HeadersTooLarge(CallerError):
    """The request's headers are over the limit."""

    code = "headers_too_large"
    status = 431
    title = "Request headers too large"
    next_step = "Send fewer or shorter headers; the limit is `limits.header_bytes_max`."


class PolicyRefusal(VerismoError):
    """The policy said no, failed, or said nothing; all three refuse.

    Args:
        detail: the policy's message.
        reasons: the stable codes of the rules that refused, sorted; `policy_error` if it failed.
    """

    code = "policy_refused"
    status = 403
    title = "Refused by policy"
    next_step = "The `reasons` name the rules; `verismo policy eval` shows why."
    openai_type = "permission_error"

    def __init__(self, detail: str, *, reasons: tuple[str, ...] = ("policy_error",)) -> None:
        super().__init__(detail)
        self.reasons = reasons


class CapacityError(VerismoError):
    """The caller or the gateway is over a limit; the same request may succeed later.

    Args:
        retry_after_s: when a retry makes sense, seconds.
        policies: names in `RateLimit-Policy` of the quotas that are used up.
    """

    openai_type = "rate_limit_error"

    def __init__(
        self, detail: str, *, retry_after_s: int | None = None, policies: tuple[str, ...] = ()
    ) -> None:
        super().__init__(detail, retry_after_s=retry_after_s)
        self.policies = policies


class RateLimited(CapacityError):
    """The tenant or the key sent more requests or tokens than its rate allows."""

    code = "rate_limited"
    problem_type = QUOTA_EXCEEDED
    status = 429
    title = "Rate limit reached"
    next_step = "Wait for `Retry-After` seconds; the `RateLimit` header shows what is left."


class BudgetExhausted(CapacityError):
    """The tenant's budget for the period is spent or reserved."""

    code = "budget_exhausted"
    problem_type = QUOTA_EXCEEDED
    status = 429
    title = "Budget exhausted"
    next_step = "Wait for the next period or raise `budget_usd_per_day` of the tenant."


class RouteThrottled(CapacityError):
    """The route spends far more than it usually does and is throttled for a while."""

    code = "route_throttled"
    problem_type = REDUCED_CAPACITY
    status = 429
    title = "Route throttled"
    next_step = "Retry after `Retry-After` seconds; operators: `verismo decisions`, `budget raise`."


class RunLimit(CapacityError):
    """The agent's run has as many calls and steps as one graph can hold, or is nested too deep."""

    code = "run_limit"
    status = 429
    title = "Run too large"
    next_step = "End the agent's run and begin another; docs/agents.md names the limits."


class ProofPending(CapacityError):
    """The record is durable and not yet under a checkpoint of the public log."""

    code = "proof_pending"
    status = 409
    title = "Proof not there yet"
    next_step = "Ask again after `Retry-After` seconds; operators: docs/runbooks/ledger-delay.md."


class Overloaded(CapacityError):
    """The gateway has as many requests in flight as it may have."""

    code = "overloaded"
    status = 503
    title = "Gateway overloaded"
    next_step = "Retry after `Retry-After` seconds; operators: `limits.in_flight_max`, `--workers`."


class DecidedElsewhere(CapacityError):
    """Another control process holds the right to decide, or this one ends."""

    code = "decided_elsewhere"
    status = 503
    title = "Another process decides"
    next_step = "Ask the control process that the error names, or this one again in a few seconds."


class UpstreamError(VerismoError):
    """The provider behind the gateway failed.

    Args:
        detail: what failed, without the provider's content and without credentials.
        retryable: whether trying another deployment may help.
        retry_after_s: when a retry makes sense, seconds.
    """

    openai_type = "upstream_error"
    code = "upstream_broken"
    status = 502
    title = "Upstream failed"
    next_step = "Retry; operators: `verismo doctor` connects to each provider."

    def __init__(
        self, detail: str, *, retryable: bool = True, retry_after_s: int | None = None
    ) -> None:
        super().__init__(detail, retry_after_s=retry_after_s)
        self.retryable = retryable


class UpstreamUnreachable(UpstreamError):
    """No connection could be made: nothing was sent."""

    code = "upstream_unreachable"
    title = "Upstream not reachable"


class UpstreamBroken(UpstreamError):
    """The connection broke or the answer was not the protocol that was asked for."""

    code = "upstream_broken"
    title = "Upstream answer broken"


class UpstreamFailed(UpstreamError):
    """The provider answered with an error that is not one of the protocol that was asked for.

    Args:
        status: the provider's, 400 to 599; the answer has it too.
    """

    code = "upstream_failed"
    title = "Upstream answered with an error"
    next_step = "Mend what the error names, or retry; operators: the provider's log."

    def __init__(self, detail: str, *, status: int) -> None:
        super().__init__(detail, retryable=False)
        self.status = status


class UpstreamTooLarge(UpstreamError):
    """The answer is over `limits.response_bytes_max`."""

    code = "upstream_too_large"
    title = "Upstream answer too large"
    next_step = "Ask for less, or raise `limits.response_bytes_max`."


class ResultTooLarge(UpstreamTooLarge):
    """The answer of an MCP server is over `limits.mcp_result_bytes_max`."""

    code = "result_too_large"
    title = "Tool result too large"
    next_step = "Ask the tool for less, or raise `limits.mcp_result_bytes_max`."


class UpstreamTimeout(UpstreamError):
    """A deadline passed: connect, first byte or total."""

    code = "upstream_timeout"
    status = 504
    title = "Upstream timed out"


class NoDeployment(UpstreamError):
    """Every deployment of the operation is broken, tripped or not allowed."""

    code = "no_deployment"
    status = 503
    title = "No deployment available"
    next_step = "Retry after `Retry-After` seconds; operators: look at the breaker metrics."


class IntegrityError(VerismoError):
    """The answer could not be sealed or recorded, so it is not served (fail closed)."""

    code = "attestation_unavailable"
    status = 503
    title = "Attestation unavailable"
    next_step = (
        "Nothing was served unsigned. Retry after `Retry-After` seconds; "
        "operators: docs/runbooks/attestation-failure.md."
    )


class OperatorError(VerismoError):
    """For the operator at the command line: printed as `error:` and `next:`, exit code 2."""

    code = "operator_error"
    title = "Operator error"
    next_step = "Run `verismo doctor`."

    def __init__(self, detail: str, *, next_step: str | None = None) -> None:
        super().__init__(detail)
        self.advice = next_step if next_step is not None else self.next_step


class ConfigError(OperatorError):
    """The configuration cannot be used; the detail names file, line and nearest known key."""

    code = "config_error"
    title = "Configuration error"
    next_step = "Mend the named line and run `verismo config check`."


class StateError(OperatorError):
    """A data folder, key file or database cannot be used as it is."""

    code = "state_error"
    title = "State error"
