"""Doors: the client-facing protocols. Each reads an ask and knows how to spell a refusal."""

from typing import Protocol

import msgspec

from verismo.gateway.ask import Ask
from verismo.gateway.dialects.clients import (
    PROBLEM_MEDIA,
    graphql_error_body,
    parse_graphql_request,
    problem_body,
)
from verismo.gateway.jsonbody import parse_object
from verismo.model.errors import MalformedRequest, UnsupportedMediaType, VerismoError
from verismo.model.operation import OperationKind
from verismo.model.traffic import Request

GRAPHQL_MEDIA = "application/graphql-response+json"
HTTP_PREFIX = "/v1/operations/"
AGENTS_PREFIX = "/v1/agents/"
RUNS_PREFIX = "/v1/runs/"


class Refusal(msgspec.Struct, frozen=True):
    """A refusal as this door's clients understand it."""

    status: int
    media: str
    body: bytes


class Door(Protocol):
    """One client-facing protocol."""

    @property
    def kind(self) -> OperationKind:
        """The kind of operation that it runs."""
        ...

    def ask(self, request: Request) -> Ask:
        """Read what the client wants.

        Raises:
            CallerError: the request does not say it properly; names what is wrong.
        """
        ...

    def refuse(self, error: VerismoError, instance: str, ask: Ask | None = None) -> Refusal:
        """Spell a refusal.

        Args:
            error: why.
            instance: a URI reference for this one answer, such as its prov_id.
            ask: what was asked, if it could be read.
        """
        ...


class ModelDoor:
    """The OpenAI-compatible paths: the client names the operation, or its alias, in `model`.

    Args:
        kind: `chat` or `embedding`.
        docs_base: where error types are documented.
    """

    def __init__(self, kind: OperationKind, docs_base: str) -> None:
        self.kind = kind
        self._docs_base = docs_base

    def ask(self, request: Request) -> Ask:
        """Read `model` and `stream`; see `Door.ask`."""
        require_json(request)
        body = parse_object(request.body)
        name = body.string("model")
        if not name:
            raise MalformedRequest("`model` is missing: name a registered operation in it")
        stream = self.kind == "chat" and body.flag("stream")
        return Ask(kind=self.kind, name=name, body=body, stream=stream)

    def refuse(self, error: VerismoError, instance: str, ask: Ask | None = None) -> Refusal:
        """Spell a refusal for OpenAI clients and RFC 9457 at once."""
        return Refusal(error.status, PROBLEM_MEDIA, problem_body(error, instance, self._docs_base))


class GraphqlDoor:
    """GraphQL over HTTP with persisted documents."""

    kind: OperationKind = "graphql"

    def __init__(self, docs_base: str) -> None:
        self._docs_base = docs_base

    def ask(self, request: Request) -> Ask:
        """Read the document's id or text; see `Door.ask`."""
        if request.method == "POST":
            require_json(request)
        parsed = parse_graphql_request(
            request.method, request.query.decode("latin-1"), request.body
        )
        return Ask(
            kind="graphql",
            name=parsed.document_id,
            body=parsed.body,
            document=parsed.text,
            operation_name=parsed.operation_name,
            by_id=parsed.by_id,
            registers=parsed.apq_registration,
        )

    def refuse(self, error: VerismoError, instance: str, ask: Ask | None = None) -> Refusal:
        """Spell a refusal in GraphQL's error shape (decisions 20)."""
        registers = ask is not None and ask.registers
        body = graphql_error_body(error, instance, self._docs_base, apq_registration=registers)
        return Refusal(error.status, GRAPHQL_MEDIA, body)


class OperationDoor:
    """Operations that the path names: `POST <prefix><id>` with a JSON body.

    Args:
        docs_base: where error types are documented.
        kind: `http` or `agent`.
        prefix: of the path.
    """

    def __init__(
        self, docs_base: str, kind: OperationKind = "http", prefix: str = HTTP_PREFIX
    ) -> None:
        self.kind = kind
        self._docs_base = docs_base
        self._prefix = prefix

    def ask(self, request: Request) -> Ask:
        """Read the operation from the path; see `Door.ask`."""
        require_json(request)
        body = parse_object(request.body)
        stream = "text/event-stream" in request.headers.get("accept", "")
        name = request.path[len(self._prefix) :]
        return Ask(kind=self.kind, name=name, body=body, stream=stream)

    def refuse(self, error: VerismoError, instance: str, ask: Ask | None = None) -> Refusal:
        """Spell a refusal as RFC 9457."""
        return Refusal(error.status, PROBLEM_MEDIA, problem_body(error, instance, self._docs_base))


def require_json(request: Request) -> None:
    """Refuse a body that is not plain JSON by its own word.

    Raises:
        UnsupportedMediaType: another type, or compressed.
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json" and not (
        media.startswith("application/") and media.endswith("+json")
    ):
        raise UnsupportedMediaType(f"the body is {media[:64] or 'of no stated type'}, not JSON")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("the request body is compressed; send it as it is")
