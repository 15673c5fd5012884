"""The public listener as a plain ASGI application: routes, limits, CORS, and the outermost error
handler. No framework stands between the server and the pipeline.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from verismo import __version__
from verismo.attest.headers import EXPOSED
from verismo.gateway.dialects.clients import PROBLEM_MEDIA, problem_body
from verismo.gateway.doors import (
    AGENTS_PREFIX,
    HTTP_PREFIX,
    RUNS_PREFIX,
    Door,
    GraphqlDoor,
    ModelDoor,
    OperationDoor,
    Refusal,
)
from verismo.gateway.logfiles import LOG_PREFIX
from verismo.gateway.mcpdoor import MCP_PREFIX, McpDoor, with_trace
from verismo.gateway.pages import VERIFY_PAGE_PATH, VerifyPage
from verismo.gateway.pipeline import Pipeline
from verismo.gateway.proofs import LedgerReads
from verismo.gateway.receive import (
    ClientGone,
    Head,
    Network,
    Receive,
    Scope,
    Send,
    body_at_hand,
    new_request_id,
    read_head,
    receive_request,
)
from verismo.gateway.records import PROV_PREFIX, VERIFY_BYTES_MAX, Records
from verismo.gateway.reply import Headers, unsigned_refusal
from verismo.gateway.spans import TRACES_PATH, SpanIntake
from verismo.model.errors import (
    IntegrityError,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    VerismoError,
)
from verismo.model.limits import Limits
from verismo.model.traffic import Reply, Request
from verismo.ports.telemetry import Telemetry

JWKS_PATH = "/.well-known/attest/jwks.json"
KEYRING_PATH = "/.well-known/attest/keyring.json"
VERIFY_PATH = "/v1/attest/verify"
PATH_CHARS_MAX = 512
"""A path is signed, and a statement has at most 2 KB; no path of ours is longer."""
READ_BYTES_MAX = 4_096
"""Body of a request that needs none."""
_NAMING = (HTTP_PREFIX, AGENTS_PREFIX, RUNS_PREFIX, MCP_PREFIX)
"""Starts of paths whose end names an operation."""
_MODELS_PATHS = ("/v1/models", "/models")
_NS_PER_MS = 1_000_000
_EXPOSED = ", ".join(EXPOSED).encode("ascii")
# The star covers what SDKs add of their own (x-stainless-*); it never covers `authorization`.
_ALLOWED_HEADERS = b"authorization, content-type, attest-nonce, traceparent, x-request-id, *"
_PREFLIGHT_AGE_S = b"600"

log = logging.getLogger("verismo.gateway")


class Listener(msgspec.Struct, frozen=True):
    """What the public listener is told about its surroundings.

    Args:
        limits: named limits.
        trusted_proxies: networks whose `x-forwarded-for` is believed.
        cors_origins: origins that browsers may call from; `*` for any.
        docs_base: where error types are documented.
    """

    limits: Limits
    trusted_proxies: Sequence[Network] = ()
    cors_origins: frozenset[str] = frozenset()
    docs_base: str = ""


class Beside(msgspec.Struct, frozen=True):
    """What the listener answers beside operations and records.

    Args:
        ledger: reads of the public log, None if there is none.
        spans: takes what agents report, None if nothing is taken.
        page: the verifier's page, None if it is not served.
    """

    ledger: LedgerReads | None = None
    spans: SpanIntake | None = None
    page: VerifyPage | None = None

    def answer(self, request: Request) -> Reply | None:
        """Answer a read of the ledger or of the page, None for any other path.

        Raises:
            VerismoError: as `LedgerReads.answer` and `VerifyPage.answer` do.
        """
        if self.page is not None and request.path == VERIFY_PAGE_PATH:
            return self.page.answer(request)
        return None if self.ledger is None else self.ledger.answer(request)


class Application:
    """The ASGI application of one worker.

    Args:
        pipeline: answers operations.
        records: answers reads.
        telemetry: counts what is refused before identification.
        listener: limits and surroundings.
        unready: returns why the worker is not ready, empty if it is.
        beside: answers everything else.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        records: Records,
        telemetry: Telemetry,
        listener: Listener,
        unready: Callable[[], list[str]],
        beside: Beside | None = None,
    ) -> None:
        self._beside = beside or Beside()
        self._pipeline = pipeline
        self._records = records
        self._telemetry = telemetry
        self._listener = listener
        self._unready = unready
        self._in_flight = 0
        base = listener.docs_base
        self._plain = OperationDoor(base)
        self._seals = OperationDoor(base, "agent", RUNS_PREFIX)
        self._mcp = McpDoor(base, listener.cors_origins)
        self._named: Mapping[str, Door] = {
            HTTP_PREFIX: self._plain,
            AGENTS_PREFIX: OperationDoor(base, "agent", AGENTS_PREFIX),
            RUNS_PREFIX: self._seals,
            MCP_PREFIX: self._mcp,
        }
        self._models = ModelDoor("chat", base)
        graphql = GraphqlDoor(base)
        embeddings = ModelDoor("embedding", base)
        # OpenAI clients put their path behind a base URL that people give with or without /v1.
        self._doors: dict[tuple[str, str], Door] = {
            ("POST", "/v1/chat/completions"): self._models,
            ("POST", "/chat/completions"): self._models,
            ("POST", "/v1/embeddings"): embeddings,
            ("POST", "/embeddings"): embeddings,
            ("POST", "/graphql"): graphql,
            ("GET", "/graphql"): graphql,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI request; the outermost place of the data plane."""
        if scope["type"] != "http":
            raise NotImplementedError("only HTTP is served here")
        self._in_flight += 1
        self._telemetry.in_flight(self._in_flight)
        try:
            reply = await self._answer(scope, receive)
            await self._send(scope, send, reply)
        except ClientGone:
            return
        except asyncio.CancelledError:
            # The server cancels a request whose client left; its record is already on the way.
            return
        except IntegrityError:
            # The end of a stream could not be sealed: break the connection off without an end.
            raise
        except Exception as error:
            # Outermost handler: a mistake of ours must not serve anything unsigned or hang.
            self._telemetry.unidentified(VerismoError.code)
            log.exception("internal error", extra={"fields": {"error": type(error).__name__}})
            raise
        finally:
            self._in_flight -= 1
            self._telemetry.in_flight(self._in_flight)

    async def _answer(self, scope: Scope, receive: Receive) -> Reply:
        listener = self._listener
        door: Door = self._plain
        head: Head | None = None
        try:
            now_ms = time.time_ns() // _NS_PER_MS
            head = read_head(scope, listener.limits, listener.trusted_proxies, now_ms)
            if len(head.path) > PATH_CHARS_MAX:
                raise NotFound("no such path")
            found = self._find_door(head.method, head.path)
            spans = self._beside.spans
            if spans is not None and (head.method, head.path) == ("POST", TRACES_PATH):
                self._refuse_overload()
                return await spans.answer(head, body_at_hand(scope), receive)
            if found is None:
                return await self._read(head, receive)
            door = found
            self._refuse_overload()
            visit = self._pipeline.identify(head.headers, now_ms)
            limit = listener.limits.request_bytes_max
            body = body_at_hand(scope)
            request = await receive_request(head, body, receive, listener.limits, limit)
            if door is self._mcp:
                request = with_trace(request)
            if head.path in _MODELS_PATHS:
                return await self._pipeline.list_models(request, visit, door)
            if door is self._seals:
                return await self._pipeline.seal_run(request, visit, door)
            return await self._pipeline.handle(request, visit, door)
        except VerismoError as error:
            # Refusals after identification come back as signed replies, not as exceptions.
            path = scope["raw_path"].decode("latin-1")
            identifier = head.request_id if head is not None else new_request_id()
            return self._unsigned(error, door, identifier, path)

    def _find_door(self, method: str, path: str) -> Door | None:
        """Return the door of a path that runs an operation, or None for a read."""
        door = self._doors.get((method, path))
        if door is not None:
            return door
        if method == "POST" and path.startswith(_NAMING):
            return next(named for prefix, named in self._named.items() if path.startswith(prefix))
        return self._models if path in _MODELS_PATHS and method == "GET" else None

    def _refuse_overload(self) -> None:
        """Only work is refused: health and keys are answered however busy the worker is."""
        if self._in_flight > self._listener.limits.in_flight_max:
            raise Overloaded("too many requests in flight", retry_after_s=1)

    async def _read(self, head: Head, receive: Receive) -> Reply:
        """Answer what runs no operation."""
        limits = self._listener.limits
        if head.path == VERIFY_PATH:
            self._refuse_overload()
            request = await receive_request(head, None, receive, limits, VERIFY_BYTES_MAX)
        else:
            request = await receive_request(head, None, receive, limits, READ_BYTES_MAX)
        if request.method == "OPTIONS":
            reply = Reply(status=204, headers=[])
        else:
            reply = self._look_up(request)
        reply.headers.append((b"x-request-id", request.request_id.encode("latin-1")))
        return reply

    def _look_up(self, request: Request) -> Reply:
        method, path = request.method, request.path
        found = self._beside.answer(request)
        if found is not None:
            return found
        if path.startswith(PROV_PREFIX):
            _require(method, "GET")
            return self._records.provenance(request)
        if path == JWKS_PATH:
            _require(method, "GET")
            return self._records.jwks(request)
        if path == KEYRING_PATH:
            _require(method, "GET")
            return self._records.keyring()
        if path == VERIFY_PATH:
            _require(method, "POST")
            return self._records.verify(request)
        if path == "/healthz":
            return _status(200, {"status": "alive"})
        if path == "/readyz":
            reasons = self._unready()
            state = {"status": "unready" if reasons else "ready", "reasons": reasons}
            return _status(503 if reasons else 200, state)
        if path == "/":
            return _status(200, {"name": "verismo", "version": __version__, "jwks": JWKS_PATH})
        if self._is_known(path):
            raise MethodNotAllowed(f"{method} is not for this path")
        raise NotFound("no such path")

    def _is_known(self, path: str) -> bool:
        """Say whether a path that was not answered takes another method."""
        if path == TRACES_PATH:
            return self._beside.spans is not None
        known = (*_MODELS_PATHS, *(path for _, path in self._doors))
        return path in known or path.startswith((MCP_PREFIX, AGENTS_PREFIX, RUNS_PREFIX))

    def _unsigned(self, error: VerismoError, door: Door, identifier: str, path: str) -> Reply:
        self._telemetry.unidentified(error.code)
        instance = f"urn:verismo:request:{identifier}"
        refusal = door.refuse(error, instance)
        if isinstance(error, MethodNotAllowed | NotFound):
            body = problem_body(error, instance, self._listener.docs_base)
            refusal = Refusal(error.status, PROBLEM_MEDIA, body)
        reply = unsigned_refusal(identifier, error, refusal.media, refusal.body)
        if isinstance(error, MethodNotAllowed):
            reply.headers.append((b"allow", self._allowed(path).encode("ascii")))
        return reply

    def refuse_unread(self, error: VerismoError) -> Reply:
        """Count and spell the refusal of octets that never became a request."""
        return self._unsigned(error, self._plain, new_request_id(), "")

    def _allowed(self, path: str) -> str:
        """Return the methods of a path that answers, for `Allow` (RFC 9110, 15.5.6)."""
        methods = {method for method, known in self._doors if known == path}
        if path.startswith(_NAMING) or path in (VERIFY_PATH, TRACES_PATH):
            methods.add("POST")
        if path.startswith(LOG_PREFIX) or path == VERIFY_PAGE_PATH:
            methods = {"GET", "HEAD"}
        return ", ".join(sorted(methods or {"GET"}))

    async def _send(self, scope: Scope, send: Send, reply: Reply) -> None:
        headers = reply.headers
        origin = _origin(scope)
        if origin:
            headers = headers + self._cors(origin, headers)
        if reply.events is None:
            if reply.status not in (204, 304):
                headers.append((b"content-length", str(len(reply.body)).encode("ascii")))
            await send({"type": "http.response.start", "status": reply.status, "headers": headers})
            await send({"type": "http.response.body", "body": reply.body})
            return
        # The first block waits for nothing. From here on closing the events ends the stream on the
        # record, also if the client leaves while the head is being sent. A client that does not
        # read holds us in `send`; the server breaks it off, and this task is cancelled.
        first = await anext(reply.events)
        try:
            await send({"type": "http.response.start", "status": reply.status, "headers": headers})
            await send({"type": "http.response.body", "body": first, "more_body": True})
            async for block in reply.events:
                await send({"type": "http.response.body", "body": block, "more_body": True})
        finally:
            await reply.events.aclose()
        await send({"type": "http.response.body", "body": b""})

    def _cors(self, origin: bytes, headers: Headers) -> Headers:
        if any(name == b"access-control-allow-origin" for name, _ in headers):
            return []  # the key set is open to every origin already
        allowed = self._listener.cors_origins
        if "*" not in allowed and origin.decode("latin-1") not in allowed:
            return [(b"vary", b"origin")]
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _EXPOSED),
            (b"access-control-allow-headers", _ALLOWED_HEADERS),
            (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
            (b"access-control-max-age", _PREFLIGHT_AGE_S),
            (b"vary", b"origin"),
        ]


def _origin(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"origin":
            return bytes(value)
    return b""


def _require(method: str, wanted: str) -> None:
    if method != wanted:
        raise MethodNotAllowed(f"this path takes {wanted}")


def _status(status: int, value: Mapping[str, str | list[str]]) -> Reply:
    return Reply(
        status=status,
        headers=[(b"content-type", b"application/json"), (b"cache-control", b"no-store")],
        body=msgspec.json.encode(value),
    )
