"""How the control API says no: RFC 9457 bodies with our stable code and the next step."""

import msgspec
from starlette.responses import Response

from verismo.model.errors import (
    CallerError,
    DecisionStale,
    OperatorError,
    PolicyRefusal,
    Unauthenticated,
    VerismoError,
)

PROBLEM_MEDIA = "application/problem+json"

_KEY_NEXT_STEP = (
    "Send `Authorization: Bearer va_...`; `verismo apikey admin create` makes such a key."
)
_ROLE_NEXT_STEP = "Use a key with that role; `verismo apikey admin create --role` makes one."
_REQUEST_NEXT_STEP = "GET /openapi.json describes every path and body of this API."


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of a refusal.

    Args:
        type: URI of the code's description.
        title: short and the same for every occurrence.
        status: HTTP status.
        code: stable.
        detail: this occurrence.
        next_step: what to do.
        reasons: for a refusal by role `("role",)`.
    """

    type: str
    title: str
    status: int
    code: str
    detail: str
    next_step: str
    reasons: tuple[str, ...] = ()


class RoleTooLow(PolicyRefusal):
    """The key is in force but its role may not do this.

    Args:
        detail: which role is needed.
    """

    title = "Role too low"
    next_step = _ROLE_NEXT_STEP

    def __init__(self, detail: str) -> None:
        super().__init__(detail, reasons=("role",))


def problem_response(error: VerismoError, docs_base: str = "") -> Response:
    """Return the answer for an error.

    Args:
        error: what happened.
        docs_base: URL of the page that explains the codes, each under its own anchor.

    Source: RFC 9457, section 3; RFC 6750, section 3 (`WWW-Authenticate`).
    """
    problem = Problem(
        type=f"{docs_base}#{error.code}",
        title=error.title,
        status=error.status,
        code=error.code,
        detail=error.detail,
        next_step=_next_step(error),
        reasons=error.reasons if isinstance(error, PolicyRefusal) else (),
    )
    response = Response(msgspec.json.encode(problem), error.status, media_type=PROBLEM_MEDIA)
    response.headers["cache-control"] = "no-store"
    if isinstance(error, Unauthenticated):
        response.headers["www-authenticate"] = 'Bearer realm="verismo control"'
    return response


def _next_step(error: VerismoError) -> str:
    """Return the next step as it is for this API; the errors' own speak of the public one."""
    if isinstance(error, Unauthenticated):
        return _KEY_NEXT_STEP
    if isinstance(error, OperatorError):
        return error.advice
    if isinstance(error, DecisionStale):
        return error.next_step
    return _REQUEST_NEXT_STEP if isinstance(error, CallerError) else error.next_step
