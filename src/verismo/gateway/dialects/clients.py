"""The client side: how refusals are spelled for clients, and how GraphQL clients name a document.

One JSON object satisfies RFC 9457 readers and OpenAI's clients at once; GraphQL clients get
GraphQL's own shape. A GraphQL request is by id (persisted documents, Apollo, Relay) or by text;
the text's id is the hash of its exact bytes, so that white space matters.

Source: RFC 9457; GraphQL over HTTP, draft, with its appendix on persisted documents; Apollo's
automatic persisted queries, protocol version 1.
"""

import hashlib
import json
import re
from urllib.parse import parse_qsl

import msgspec

from verismo.gateway.dialects.graphql import GRAPHQL_MEDIA
from verismo.gateway.jsonbody import JsonBody, JsonValue, parse_object
from verismo.model.errors import (
    CapacityError,
    DuplicateMember,
    MalformedRequest,
    MethodNotAllowed,
    OperationUnregistered,
    OperatorError,
    PolicyRefusal,
    VerismoError,
)

PROBLEM_MEDIA = "application/problem+json"
GRAPHQL_ERROR_MEDIA = GRAPHQL_MEDIA

DOCUMENT_ID_CHARACTERS_MAX = 256
QUERY_PARAMETERS_MAX = 64
"""A GraphQL GET has at most seven; the rest is room for what proxies add."""

APOLLO_NOT_FOUND = "PERSISTED_QUERY_NOT_FOUND"
APOLLO_NOT_SUPPORTED = "PERSISTED_QUERY_NOT_SUPPORTED"

_is_sha256 = re.compile(r"[0-9a-f]{64}").fullmatch
_is_document_id = re.compile(r"sha256:[0-9a-f]{64}|x-[!-~]+|[!-9;-~]+").fullmatch
"""A hash, an own scheme, or a custom id: visible ASCII without a colon."""


class _OpenAiError(msgspec.Struct):
    message: str
    type: str
    param: None
    code: str


class _Problem(
    msgspec.Struct, omit_defaults=True, rename={"violated_policies": "violated-policies"}
):
    type: str
    title: str
    status: int
    detail: str
    instance: str
    next_step: str
    code: str
    error: _OpenAiError
    reasons: tuple[str, ...] = ()
    retry_after_s: int | None = None
    violated_policies: tuple[str, ...] = ()


class _Extensions(
    msgspec.Struct, omit_defaults=True, rename={"violated_policies": "violated-policies"}
):
    code: str
    next_step: str
    type: str
    status: int
    instance: str
    reasons: tuple[str, ...] = ()
    retry_after_s: int | None = None
    violated_policies: tuple[str, ...] = ()


class _GraphqlError(msgspec.Struct):
    message: str
    extensions: _Extensions


class _GraphqlErrors(msgspec.Struct):
    errors: list[_GraphqlError]


class GraphqlRequest(msgspec.Struct, frozen=True):
    """What a GraphQL client asked to run.

    Args:
        document_id: what the client named, or `sha256:` + 64 hex digits of `text`.
        text: the document if the client sent it, else empty.
        operation_name: which operation of the document; empty if it did not say.
        body: the members as a JSON object; for GET built from the query string, with the exact
            text of `variables` and `extensions`.
        by_id: whether the client named the document without sending it.
        apq_registration: whether the client sent text and hash for the server to remember, which
            Verismo never does.
    """

    document_id: str
    text: str
    operation_name: str
    body: JsonBody
    by_id: bool
    apq_registration: bool


def problem_body(error: VerismoError, instance: str, docs_base: str) -> bytes:
    """Return the body of a refusal, to be sent as `PROBLEM_MEDIA` with the error's status.

    Args:
        error: what happened.
        instance: identifies this one occurrence: the request's id as a URI or path.
        docs_base: URL of the page that explains the codes, each under its own anchor.

    Source: RFC 9457, section 3; OpenAI API reference, errors.
    """
    detail, next_step = _clean(error.detail), _next_step(error)
    message = f"{detail.rstrip('.')}. {next_step}"
    problem = _Problem(
        type=error.problem_type or f"{docs_base}#{error.code}",
        title=error.title,
        status=error.status,
        detail=detail,
        instance=instance,
        next_step=next_step,
        code=error.code,
        error=_OpenAiError(message, error.openai_type, None, error.code),
        reasons=error.reasons if isinstance(error, PolicyRefusal) else (),
        retry_after_s=error.retry_after_s,
        violated_policies=error.policies if isinstance(error, CapacityError) else (),
    )
    return msgspec.json.encode(problem)


def graphql_error_body(
    error: VerismoError, instance: str, docs_base: str, *, apq_registration: bool = False
) -> bytes:
    """Return the body of a refusal for a GraphQL client, to be sent as `GRAPHQL_ERROR_MEDIA`.

    Args:
        error: what happened.
        instance: identifies this one occurrence: the request's id as a URI or path.
        docs_base: URL of the page that explains the codes.
        apq_registration: whether the request tried to register a document; tells Apollo's clients
            to stop trying instead of sending the text again.

    Source: GraphQL specification, 7.1.2 "Errors".
    """
    code = error.code.upper()
    if isinstance(error, OperationUnregistered):
        code = APOLLO_NOT_SUPPORTED if apq_registration else APOLLO_NOT_FOUND
    extensions = _Extensions(
        code=code,
        next_step=_next_step(error),
        type=error.problem_type or f"{docs_base}#{error.code}",
        status=error.status,
        instance=instance,
        reasons=error.reasons if isinstance(error, PolicyRefusal) else (),
        retry_after_s=error.retry_after_s,
        violated_policies=error.policies if isinstance(error, CapacityError) else (),
    )
    return msgspec.json.encode(_GraphqlErrors([_GraphqlError(_clean(error.detail), extensions)]))


def parse_graphql_request(method: str, query: str, body: bytes) -> GraphqlRequest:
    """Read a GraphQL request in any of its shapes.

    Whether a mutation came by GET is not known here: compare with the operation's type.

    Args:
        method: upper case; GET reads the query string, POST the body.
        query: raw query string, without the question mark; not looked at for POST.
        body: octets; empty for GET.

    Raises:
        MethodNotAllowed: neither GET nor POST.
        MalformedRequest: no document or two different ones, an id of an unknown form, a hash that
            is not the text's, or a member of the wrong type.
        DuplicateMember: a member or a parameter stands twice.

    Source: GraphQL over HTTP, draft, "GET", "POST" and the appendix on persisted documents.
    """
    if method == "GET":
        if body:
            raise MalformedRequest("a GET has no body; put the parameters into the query string")
        members = _parse_query_string(query)
    elif method == "POST":
        members = parse_object(body)
    else:
        raise MethodNotAllowed(f"GraphQL is asked by POST or GET, not by {method[:16]}")
    for name in ("variables", "extensions"):
        if not isinstance(members.members.get(name), dict | None):
            raise MalformedRequest(f"`{name}` must be an object")
    return _read_request(members)


def document_id_of(text: str) -> str:
    """Return a document's id: `sha256:` and the hash of its exact UTF-8 bytes in lower-case hex.

    Raises:
        MalformedRequest: the text holds half of a surrogate pair, which no UTF-8 can say.
    """
    try:
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    except UnicodeEncodeError as error:
        raise MalformedRequest("`query` is not valid Unicode") from error


def _read_request(body: JsonBody) -> GraphqlRequest:
    text = body.string("query")
    apollo_id = _apollo_id(body.members.get("extensions"))
    named = _named_id(body, apollo_id)
    if text is None:
        if not named:
            raise MalformedRequest("send `documentId` or, where it is allowed, `query`")
        text, document_id = "", named
    else:
        if not text:
            raise MalformedRequest("`query` is empty")
        document_id = document_id_of(text)
        if named and not apollo_id:
            raise MalformedRequest("send a document's id or its text, not both")
        if apollo_id and apollo_id != document_id:
            raise MalformedRequest("`sha256Hash` is not the hash of `query`")
    return GraphqlRequest(
        document_id=document_id,
        text=text,
        operation_name=body.string("operationName") or "",
        body=body,
        by_id=not text,
        apq_registration=bool(text and apollo_id),
    )


def _named_id(body: JsonBody, apollo_id: str) -> str:
    """Return the one id that the request names, or nothing if it names none."""
    ids = {apollo_id} if apollo_id else set()
    for name in ("documentId", "doc_id", "id"):
        value = body.string(name)
        if value is None:
            continue
        if len(value) > DOCUMENT_ID_CHARACTERS_MAX or not _is_document_id(value):
            raise MalformedRequest(
                f"`{name}` must be `sha256:` and 64 lower-case hex digits, or an id without a colon"
            )
        ids.add(value)
    if len(ids) > 1:
        raise MalformedRequest("the request names two different documents")
    return ids.pop() if ids else ""


def _apollo_id(extensions: JsonValue) -> str:
    """Return the id that Apollo's `persistedQuery` names, or nothing."""
    persisted = extensions.get("persistedQuery") if isinstance(extensions, dict) else None
    if persisted is None:
        return ""
    if not isinstance(persisted, dict):
        raise MalformedRequest("`extensions.persistedQuery` must be an object")
    version, digest = persisted.get("version"), persisted.get("sha256Hash")
    if version != 1 or isinstance(version, bool):
        raise MalformedRequest("`extensions.persistedQuery.version` must be 1")
    if not isinstance(digest, str) or not _is_sha256(digest):
        raise MalformedRequest("`sha256Hash` must be 64 lower-case hex digits")
    return f"sha256:{digest}"


def _parse_query_string(query: str) -> JsonBody:
    """Build the JSON object that a POST would have sent; unknown parameters are left out."""
    if not query.isascii():
        raise MalformedRequest("the query string is not percent-encoded")
    try:
        parameters = parse_qsl(
            query,
            keep_blank_values=True,
            errors="strict",
            max_num_fields=QUERY_PARAMETERS_MAX,
        )
    except ValueError as error:
        raise MalformedRequest(
            "the query string is not percent-encoded UTF-8 or has too many parts"
        ) from error
    members: dict[str, str] = {}
    for name, value in parameters:
        if name in members:
            raise DuplicateMember(f"the parameter {name[:64]!r} stands twice in the query string")
        members[name] = value
    texts = [
        f'"{name}":{json.dumps(members[name])}'
        for name in ("query", "documentId", "doc_id", "id", "operationName")
        if members.get(name)
    ]
    texts += [
        f'"{name}":{_json_parameter(name, members[name])}'
        for name in ("variables", "extensions")
        if members.get(name)
    ]
    return parse_object(("{" + ",".join(texts) + "}").encode())


def _json_parameter(name: str, text: str) -> str:
    """Return the text of a parameter that holds a JSON object, if it is one and nothing else."""
    try:
        parse_object(text.encode())
    except MalformedRequest as error:
        raise MalformedRequest(f"the parameter `{name}` is no JSON object") from error
    return text


def _next_step(error: VerismoError) -> str:
    return error.advice if isinstance(error, OperatorError) else error.next_step


def _clean(text: str) -> str:
    """Replace halves of surrogate pairs, which a client's JSON may hold and ours may not."""
    return text.encode("utf-8", "replace").decode()
