"""The control API: what operators read and change, on a listener of its own.

Every path but the health checks and the description needs an admin key; `openapi.json` beside this
file describes exactly these routes. Nothing here is reachable on the public listener.
"""

import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from verismo.control.acts import (
    ROWS_MAX,
    ROWS_USUAL,
    AdaptDesk,
    DecisionView,
    NewAct,
    act_of,
    list_decisions,
    newest_decision,
    role_needed,
    steering_view,
)
from verismo.control.apikeys import (
    ApiKeyRow,
    CreatedApiKey,
    NewApiKey,
    new_record,
    shown,
)
from verismo.control.audit import record_change, record_refusal
from verismo.control.exposition import OPENMETRICS_MEDIA, merge_expositions
from verismo.control.guard import Actor, authorize, check_role
from verismo.control.problem import RoleTooLow, problem_response
from verismo.control.requestbody import read_body
from verismo.model.apikey import RANDOM_BYTES, new_api_key
from verismo.model.decision import Subject
from verismo.model.errors import (
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    VerismoError,
)
from verismo.model.ids import KeyId, TenantId
from verismo.model.operation import Operation
from verismo.model.plan import Plan, plan_digest
from verismo.model.tenant import Tenant
from verismo.ports.admins import AdminRole, Admins
from verismo.ports.directory import Directory, Observation

LIST_MAX: Final = 1_000
"""Observations in one answer; there may be 10,000 for each tenant."""
NUMBER_CHARS_MAX: Final = 15
"""Below 2**53, as every number that is signed."""


class ControlDesk(msgspec.Struct, frozen=True):
    """Everything that the control API works with.

    Args:
        admins: its keys.
        directory: API keys and observations; used from threads.
        plan: returns the plan in force.
        expositions: returns each worker's metrics, empty for one that is down.
        unready: returns why the gateway is not ready, empty if it is.
        now_ms: returns Unix ms.
        metrics_need_no_key: leave `/metrics` open; only for a listener on loopback.
        docs_base: URL of the page that explains the error codes; may be empty.
        adapt: the controllers; None where they are off.
    """

    admins: Admins
    directory: Directory
    plan: Callable[[], Plan]
    expositions: Callable[[], Awaitable[Mapping[str, bytes]]]
    unready: Callable[[], list[str]]
    now_ms: Callable[[], int]
    metrics_need_no_key: bool = False
    docs_base: str = ""
    adapt: AdaptDesk | None = None


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer of a health check."""

    status: str
    reasons: list[str] = []


class PlanView(msgspec.Struct, frozen=True):
    """The plan and its digest as statements name it. Plans hold no secrets."""

    digest: str
    plan: Plan


class Items(msgspec.Struct, frozen=True):
    """A list.

    Args:
        items: what was asked for.
        total: how many there are in all.
    """

    items: (
        list[Tenant]
        | list[Operation]
        | list[Observation]
        | list[ApiKeyRow]
        | tuple[DecisionView, ...]
    )
    total: int


def control_app(desk: ControlDesk) -> Starlette:
    """Return the ASGI application of the control listener.

    Args:
        desk: what it works with.
    """
    api = ControlApi(desk)
    app = Starlette(
        routes=[
            Route("/healthz", api.healthz),
            Route("/readyz", api.readyz),
            Route("/metrics", api.metrics),
            Route("/openapi.json", api.description),
            Route("/v1/plan", api.plan),
            Route("/v1/tenants", api.tenants),
            Route("/v1/operations", api.operations),
            Route("/v1/observations", api.observations),
            Route("/v1/steering", api.steering),
            Route("/v1/decisions", api.decisions),
            Route("/v1/decisions/newest", api.newest_decision),
            Route("/v1/acts", api.act, methods=["POST"]),
            Route("/v1/apikeys", api.list_apikeys, methods=["GET"]),
            Route("/v1/apikeys", api.create_apikey, methods=["POST"]),
            Route("/v1/apikeys/{key_id}/revoke", api.revoke_apikey, methods=["POST"]),
        ],
        exception_handlers={
            VerismoError: api.refused,
            HTTPException: api.unrouted,
            Exception: api.failed,
        },
    )
    # A path with a slash too many is a 404; a redirect would lead a POST and its key astray.
    app.router.redirect_slashes = False
    return app


class ControlApi:
    """The endpoints. Stores are used in threads: a write may wait 5 s for another process.

    Args:
        desk: what they work with.
    """

    def __init__(self, desk: ControlDesk) -> None:
        self._desk = desk
        self._description = resources.files("verismo.control").joinpath("openapi.json").read_bytes()

    async def healthz(self, _: Request) -> Response:
        """Say that the process runs."""
        return _json(Health("alive"))

    async def readyz(self, _: Request) -> Response:
        """Say whether the gateway can answer, and why not."""
        reasons = self._desk.unready()
        health = Health("unready" if reasons else "ready", reasons)
        return _json(health, 503 if reasons else 200)

    async def description(self, _: Request) -> Response:
        """Return the OpenAPI document."""
        return Response(self._description, media_type="application/json")

    async def metrics(self, request: Request) -> Response:
        """Return every worker's metrics as one OpenMetrics text."""
        if not self._desk.metrics_need_no_key:
            await self._authorize(request, "viewer")
        text = merge_expositions(await self._desk.expositions())
        return Response(text, headers={"content-type": OPENMETRICS_MEDIA})

    async def plan(self, request: Request) -> Response:
        """Return the plan in force."""
        await self._authorize(request, "viewer")
        plan = self._desk.plan()
        return _json(PlanView(plan_digest(plan), plan))

    async def tenants(self, request: Request) -> Response:
        """List the tenants."""
        await self._authorize(request, "viewer")
        found = list(self._desk.plan().tenants.values())
        return _json(Items(found, len(found)))

    async def operations(self, request: Request) -> Response:
        """List the registered operations."""
        await self._authorize(request, "viewer")
        found = list(self._desk.plan().operations.values())
        return _json(Items(found, len(found)))

    async def observations(self, request: Request) -> Response:
        """List what tenants in `observe` ran unregistered, most frequent first."""
        await self._authorize(request, "viewer")
        tenant = request.query_params.get("tenant")
        wanted = None if tenant is None else TenantId(tenant)
        limit = _limit(request.query_params.get("limit"))
        found = await run_in_threadpool(self._desk.directory.observations, wanted)
        return _json(Items(list(found[:limit]), len(found)))

    async def steering(self, request: Request) -> Response:
        """Return what gateways are told by the controllers."""
        await self._authorize(request, "viewer")
        return _json(await run_in_threadpool(steering_view, self._adapt().steering))

    async def decisions(self, request: Request) -> Response:
        """List records of decisions in order; the newest ones without `after`."""
        await self._authorize(request, "viewer")
        after = request.query_params.get("after")
        limit = request.query_params.get("limit")
        reader = self._adapt().decisions
        found = await run_in_threadpool(
            list_decisions,
            reader,
            None if after is None else _number(after, "after"),
            ROWS_USUAL if limit is None else _limit(limit, ROWS_MAX),
        )
        return _json(Items(found, await run_in_threadpool(reader.last)))

    async def newest_decision(self, request: Request) -> Response:
        """Return the newest decision about a subject: what an override has to name."""
        await self._authorize(request, "viewer")
        params = request.query_params
        subject = Subject(**{name: params.get(name, "") for name in Subject.__struct_fields__})
        rules = params.getlist("rule")
        reader = self._adapt().decisions
        return _json(await run_in_threadpool(newest_decision, reader, rules, subject))

    async def act(self, request: Request) -> Response:
        """Do what a person says; it is recorded and published when this answers."""
        actor = await self._authorize(request, "operator")
        asked = await read_body(request, NewAct)
        with self._audited(request):
            check_role(actor, role_needed(asked))
        decided = await self._adapt().take(act_of(asked, actor))
        action = f"{asked.controller}.{asked.verb}"
        record_change(actor, action, str(decided.n), verdict=decided.decision.verdict)
        return _json(decided, 201)

    async def list_apikeys(self, request: Request) -> Response:
        """List the tenants' keys, without their hashes."""
        await self._authorize(request, "viewer")
        tenant = request.query_params.get("tenant")
        now_ms = self._desk.now_ms()
        keys = await run_in_threadpool(self._desk.directory.api_keys)
        rows = [shown(key, now_ms) for key in keys if tenant is None or key.tenant == tenant]
        return _json(Items(rows, len(rows)))

    async def create_apikey(self, request: Request) -> Response:
        """Create a tenant's key and show it, once."""
        actor = await self._authorize(request, "admin")
        asked = await read_body(request, NewApiKey)
        text, now_ms = new_api_key(secrets.token_bytes(RANDOM_BYTES)), self._desk.now_ms()
        record = new_record(asked, self._desk.plan(), text, now_ms)
        await run_in_threadpool(self._desk.directory.add_api_key, record)
        record_change(actor, "apikey.create", record.id, tenant=record.tenant, key_role=record.role)
        return _json(CreatedApiKey(text.text, shown(record, now_ms)), 201)

    async def revoke_apikey(self, request: Request) -> Response:
        """Revoke a tenant's key; revoking it again changes nothing."""
        actor = await self._authorize(request, "operator")
        key_id, now_ms = KeyId(request.path_params["key_id"]), self._desk.now_ms()
        record = await run_in_threadpool(self._desk.directory.revoke_api_key, key_id, now_ms)
        record_change(actor, "apikey.revoke", record.id, tenant=record.tenant)
        return _json(shown(record, now_ms))

    async def refused(self, _: Request, error: Exception) -> Response:
        """Answer an error of ours."""
        if not isinstance(error, VerismoError):
            raise error
        return problem_response(error, self._desk.docs_base)

    async def unrouted(self, request: Request, error: Exception) -> Response:
        """Answer a path or method that is not served."""
        if not isinstance(error, HTTPException):
            raise error
        if error.status_code != 405:
            return problem_response(NotFound("no such path"), self._desk.docs_base)
        refusal = MethodNotAllowed(f"{request.method[:16]} is not for this path")
        response = problem_response(refusal, self._desk.docs_base)
        response.headers.update(error.headers or {})
        return response

    async def failed(self, _: Request, error: Exception) -> Response:
        """Answer a mistake of ours; Starlette raises it again, so the server logs it."""
        problem = VerismoError(f"the control API failed ({type(error).__name__})")
        return problem_response(problem, self._desk.docs_base)

    def _adapt(self) -> AdaptDesk:
        if self._desk.adapt is None:
            raise NotFound("the controllers are off: `[adapt] enabled`")
        return self._desk.adapt

    async def _authorize(self, request: Request, needed: AdminRole) -> Actor:
        with self._audited(request):
            return await run_in_threadpool(
                authorize,
                self._desk.admins,
                request.headers.get("authorization", ""),
                needed,
                self._desk.now_ms(),
            )

    @contextmanager
    def _audited(self, request: Request) -> Iterator[None]:
        """Write a refusal by role into the audit log."""
        try:
            yield
        except RoleTooLow as error:
            record_refusal(f"{request.method} {request.scope['route'].path}", error.detail)
            raise


def _json(value: msgspec.Struct, status: int = 200) -> Response:
    headers = {"content-type": "application/json", "cache-control": "no-store"}
    return Response(msgspec.json.encode(value), status, headers=headers)


def _limit(text: str | None, most: int = LIST_MAX) -> int:
    if text is None:
        return most
    found = _number(text, "limit")
    if not 1 <= found <= most:
        raise MalformedRequest(f"`limit` must be 1 to {most}")
    return found


def _number(text: str, name: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > NUMBER_CHARS_MAX:
        raise MalformedRequest(f"`{name}` must be a number")
    return int(text)
