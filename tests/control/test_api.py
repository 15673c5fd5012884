"""The control API over ASGI, with real stores: roles, keys, lists, refusals, the audit log."""

import json
import logging

import httpx2
import pytest
from jsonschema import Draft202012Validator

from verismo.adapters.admins_sqlite import SqliteAdmins
from verismo.adapters.directory_sqlite import SqliteDirectory
from verismo.adapters.state_sqlite import StateDatabase
from verismo.adapters.telemetry import TelemetrySettings, WorkerTelemetry
from verismo.control.api import LIST_MAX, ControlDesk, control_app
from verismo.model.apikey import key_matches, key_sha256, new_api_key, parse_api_key
from verismo.model.ids import DeploymentId, OperationId, ProviderId, TenantId
from verismo.model.operation import Deployment, Operation, Provider
from verismo.model.plan import Plan, plan_digest
from verismo.model.tenant import Tenant
from verismo.ports.admins import AdminKey
from verismo.ports.directory import Observation

NOW_MS = 1_800_000_000_000
ROLES = ("viewer", "operator", "admin")
READS = (
    "/metrics",
    "/v1/plan",
    "/v1/tenants",
    "/v1/operations",
    "/v1/observations",
    "/v1/apikeys",
)

PLAN = Plan(
    v=1,
    issuer="test",
    tenants={TenantId("T1"): Tenant(TenantId("T1"), "eu", ("support",), ("*",), "safelist")},
    providers={ProviderId("p"): Provider(ProviderId("p"), "openai", "http://127.0.0.1:1/v1")},
    deployments={DeploymentId("d"): Deployment(DeploymentId("d"), ProviderId("p"), "gpt-4o", "eu")},
    operations={
        OperationId("chat"): Operation(
            OperationId("chat"), "chat", "chat", "support", (DeploymentId("d"),)
        )
    },
)


class Clock:
    """A clock that the test owns."""

    def __init__(self):
        self.now_ms = NOW_MS

    def __call__(self):
        return self.now_ms


class World:
    """Everything around one control application."""

    def __init__(self, database, **settings):
        self.admins = SqliteAdmins(database)
        self.directory = SqliteDirectory(database)
        self.clock = Clock()
        self.reasons = []
        self.telemetry = WorkerTelemetry(TelemetrySettings("s0"), None)
        self.expositions = {"s0": self.telemetry.expose()}
        self.keys = {role: self.add_admin(index, role) for index, role in enumerate(ROLES)}
        self.app = control_app(
            ControlDesk(
                admins=self.admins,
                directory=self.directory,
                plan=lambda: PLAN,
                expositions=self._expositions,
                unready=lambda: self.reasons,
                now_ms=self.clock,
                docs_base="https://docs.example/errors",
                **settings,
            )
        )
        transport = httpx2.ASGITransport(self.app, raise_app_exceptions=False)
        self.http = httpx2.AsyncClient(transport=transport, base_url="http://control")

    async def _expositions(self):
        return self.expositions

    def add_admin(self, seed, role, **fields):
        text = new_api_key(bytes([seed + 1]) * 39, "va")
        self.admins.add_admin_key(
            AdminKey(text.id, f"the {role}", role, key_sha256(text), **fields)
        )
        return text

    async def get(self, path, role="viewer"):
        return await self.http.get(path, headers=self.bearer(role))

    async def post(self, path, role, body=None, **headers):
        headers = {**self.bearer(role), "content-type": "application/json", **headers}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.http.post(path, headers=headers, content=content)

    def bearer(self, role):
        return {"authorization": f"Bearer {self.keys[role].text}"}


@pytest.fixture
def database(tmp_path):
    with StateDatabase(tmp_path / "state.db") as database:
        yield database


@pytest.fixture
async def world(database):
    world = World(database)
    async with world.http:
        yield world


def check_problem(answer, status, code):
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["code"] == code
    assert body["type"] == f"https://docs.example/errors#{code}"
    assert body["title"]
    assert body["detail"]
    assert body["next_step"]
    return body


def check_shape(world, answer, path, method="get"):
    """Compare a body with what the description promises."""
    document = json.loads(world.app.routes[0].endpoint.__self__._description)
    described = document["paths"][path][method]["responses"][str(answer.status_code)]
    if "$ref" in described:
        described = document["components"]["responses"][described["$ref"].rpartition("/")[2]]
    media = answer.headers["content-type"].partition(";")[0]
    schema = {**described["content"][media]["schema"], "components": document["components"]}
    Draft202012Validator(schema).validate(answer.json())


class TestHealth:
    async def test_liveness_and_readiness_need_no_key(self, world):
        alive, ready = await world.http.get("/healthz"), await world.http.get("/readyz")
        assert (alive.status_code, alive.json()) == (200, {"status": "alive"})
        assert (ready.status_code, ready.json()) == (200, {"status": "ready"})

    async def test_unreadiness_names_its_reasons(self, world):
        world.reasons.append("worker s1 is down")
        answer = await world.http.get("/readyz")
        assert answer.status_code == 503
        assert answer.json() == {"status": "unready", "reasons": ["worker s1 is down"]}
        check_shape(world, answer, "/readyz")


class TestKeys:
    @pytest.mark.parametrize("path", READS)
    async def test_every_read_needs_a_key(self, world, path):
        answer = await world.http.get(path)
        body = check_problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert "va_" in body["next_step"]
        check_shape(world, answer, path)

    @pytest.mark.parametrize("path", READS)
    async def test_a_viewer_may_read(self, world, path):
        answer = await world.get(path)
        assert answer.status_code == 200

    async def test_an_expired_key_is_refused_from_its_end_on(self, world):
        world.keys["brief"] = world.add_admin(40, "viewer", expires_ms=NOW_MS + 1)
        assert (await world.get("/v1/plan", "brief")).status_code == 200
        world.clock.now_ms += 1
        check_problem(await world.get("/v1/plan", "brief"), 401, "unauthenticated")

    async def test_a_revoked_key_is_refused_at_once(self, world):
        world.admins.revoke_admin_key(world.keys["viewer"].id, NOW_MS)
        check_problem(await world.get("/v1/plan"), 401, "unauthenticated")

    async def test_refusals_do_not_say_why(self, world):
        world.admins.revoke_admin_key(world.keys["viewer"].id, NOW_MS)
        unknown = new_api_key(b"\x77" * 39, "va")
        forged = world.keys["admin"].text[:-1] + "0"
        bodies = []
        for text in (world.keys["viewer"].text, unknown.text, forged, "va_x", ""):
            headers = {"authorization": f"Bearer {text}"}
            bodies.append((await world.http.get("/v1/plan", headers=headers)).content)
        assert len(set(bodies)) == 1

    async def test_a_tenants_key_opens_nothing_here(self, world):
        created = await world.post("/v1/apikeys", "admin", {"tenant": "T1"})
        headers = {"authorization": f"Bearer {created.json()['key']}"}
        check_problem(await world.http.get("/v1/plan", headers=headers), 401, "unauthenticated")

    async def test_basic_credentials_are_refused(self, world):
        headers = {"authorization": f"Basic {world.keys['admin'].text}"}
        check_problem(await world.http.get("/v1/plan", headers=headers), 401, "unauthenticated")

    async def test_octets_outside_ascii_are_refused(self, world):
        headers = [(b"authorization", b"Bearer va_\xff\xfe")]
        check_problem(await world.http.get("/v1/plan", headers=headers), 401, "unauthenticated")

    @pytest.mark.parametrize("role", ["viewer", "operator"])
    async def test_only_an_admin_creates_keys(self, world, role, caplog):
        with caplog.at_level(logging.INFO, "verismo.audit"):
            answer = await world.post("/v1/apikeys", role, {"tenant": "T1"})
        body = check_problem(answer, 403, "policy_refused")
        assert body["reasons"] == ["role"]
        assert "admin" in body["detail"]
        assert world.directory.api_keys() == []
        assert [record.fields["action"] for record in caplog.records] == ["POST /v1/apikeys"]
        check_shape(world, answer, "/v1/apikeys", "post")

    async def test_a_viewer_revokes_nothing(self, world):
        created = await world.post("/v1/apikeys", "admin", {"tenant": "T1"})
        path = f"/v1/apikeys/{created.json()['record']['id']}/revoke"
        check_problem(await world.post(path, "viewer"), 403, "policy_refused")
        assert world.directory.api_keys()[0].revoked_ms == 0


class TestMetrics:
    async def test_the_metrics_are_of_every_worker(self, world):
        world.expositions["s1"] = b""
        answer = await world.get("/metrics")
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        assert 'verismo_worker_up{worker="s0"} 1\n' in answer.text
        assert 'verismo_worker_up{worker="s1"} 0\n' in answer.text
        assert answer.text.endswith("# EOF\n")

    async def test_metrics_may_be_open_while_the_rest_is_not(self, database):
        world = World(database, metrics_need_no_key=True)
        async with world.http:
            assert (await world.http.get("/metrics")).status_code == 200
            assert (await world.http.get("/v1/plan")).status_code == 401


class TestReading:
    async def test_the_plan_is_named_by_the_digest_of_statements(self, world):
        answer = await world.get("/v1/plan")
        assert answer.json()["digest"] == plan_digest(PLAN)
        assert answer.headers["cache-control"] == "no-store"
        check_shape(world, answer, "/v1/plan")

    async def test_tenants_and_operations_are_listed(self, world):
        for path in ("/v1/tenants", "/v1/operations"):
            answer = await world.get(path)
            assert answer.json()["total"] == 1
            check_shape(world, answer, path)

    async def test_observations_are_cut_to_the_limit_and_counted_whole(self, world):
        seen = [Observation(TenantId("T1"), "chat", f"m{i}", "", i + 1, NOW_MS) for i in range(5)]
        world.directory.observe(seen)
        answer = await world.get("/v1/observations?limit=2&tenant=T1")
        assert [item["name"] for item in answer.json()["items"]] == ["m4", "m3"]
        assert answer.json()["total"] == 5
        check_shape(world, answer, "/v1/observations")
        assert (await world.get("/v1/observations?tenant=T2")).json()["total"] == 0

    @pytest.mark.parametrize("limit", ["0", "-1", "x", "", str(LIST_MAX + 1), "²", "1" * 5000])
    async def test_a_limit_out_of_range_is_malformed(self, world, limit):
        answer = await world.get(f"/v1/observations?limit={limit}")
        check_problem(answer, 400, "malformed_request")

    async def test_no_list_shows_a_hash(self, world):
        await world.post("/v1/apikeys", "admin", {"tenant": "T1"})
        [record] = world.directory.api_keys()
        text = "".join([(await world.get(path)).text for path in READS])
        assert record.secret_sha256 not in text
        assert not any(key.secret_sha256 in text for key in world.admins.admin_keys())


class TestCreating:
    async def test_the_new_key_works_and_is_shown_once(self, world):
        asked = {
            "tenant": "T1",
            "name": "ci",
            "purpose": "support",
            "role": "auditor",
            "expires_s": 60,
            "rate": {"requests_per_minute": 5},
        }
        answer = await world.post("/v1/apikeys", "admin", asked)
        assert answer.status_code == 201
        check_shape(world, answer, "/v1/apikeys", "post")
        key = parse_api_key(answer.json()["key"])
        [record] = world.directory.api_keys()
        assert key_matches(key, record.secret_sha256)
        assert (record.name, record.purpose, record.role) == ("ci", "support", "auditor")
        assert (record.created_ms, record.expires_ms) == (NOW_MS, NOW_MS + 60_000)
        assert record.rate.requests_per_minute == 5
        listed = await world.get("/v1/apikeys?tenant=T1")
        check_shape(world, listed, "/v1/apikeys")
        assert listed.json()["items"] == [answer.json()["record"]]
        assert key.text not in listed.text
        assert (await world.get("/v1/apikeys?tenant=T2")).json() == {"items": [], "total": 0}

    async def test_the_state_follows_expiry_and_revocation(self, world):
        created = await world.post("/v1/apikeys", "admin", {"tenant": "T1", "expires_s": 1})
        assert created.json()["record"]["state"] == "in force"
        world.clock.now_ms += 1_000
        listed = await world.get("/v1/apikeys")
        assert listed.json()["items"][0]["state"] == "expired"
        path = f"/v1/apikeys/{created.json()['record']['id']}/revoke"
        revoked = await world.post(path, "operator")
        assert revoked.json()["state"] == "revoked"
        check_shape(world, revoked, "/v1/apikeys/{key_id}/revoke", "post")

    async def test_revoking_again_keeps_the_first_time(self, world):
        created = await world.post("/v1/apikeys", "admin", {"tenant": "T1"})
        path = f"/v1/apikeys/{created.json()['record']['id']}/revoke"
        first = await world.post(path, "operator")
        world.clock.now_ms += 5
        assert (await world.post(path, "admin")).json() == first.json()

    async def test_revoking_an_unknown_key_is_not_found(self, world):
        check_problem(await world.post("/v1/apikeys/nobody/revoke", "admin"), 404, "not_found")

    async def test_each_change_is_audited_without_the_secret(self, world, caplog):
        with caplog.at_level(logging.INFO, "verismo.audit"):
            created = (await world.post("/v1/apikeys", "admin", {"tenant": "T1"})).json()
            await world.post(f"/v1/apikeys/{created['record']['id']}/revoke", "operator")
        assert [record.fields for record in caplog.records] == [
            {
                "who": world.keys["admin"].id,
                "name": "the admin",
                "role": "admin",
                "action": "apikey.create",
                "target": created["record"]["id"],
                "tenant": "T1",
                "key_role": "caller",
            },
            {
                "who": world.keys["operator"].id,
                "name": "the operator",
                "role": "operator",
                "action": "apikey.revoke",
                "target": created["record"]["id"],
                "tenant": "T1",
            },
        ]
        assert created["key"].rpartition("_")[2] not in repr([r.__dict__ for r in caplog.records])

    @pytest.mark.parametrize(
        ("body", "status", "code"),
        [
            ({"tenant": "T2"}, 404, "not_found"),
            ({"tenant": "T1", "purpose": "sales"}, 400, "malformed_request"),
            ({"tenant": "T1", "expires_s": -1}, 400, "malformed_request"),
            ({"tenant": "T1", "expires_s": 10**12}, 400, "malformed_request"),
            ({"tenant": "T1", "name": "x" * 129}, 400, "malformed_request"),
            ({"tenant": "T1", "rate": {"tokens_per_minute": -1}}, 400, "malformed_request"),
            ({"tenant": "T1", "role": "admin"}, 400, "malformed_request"),
            ({"tenant": "T1", "expires": 5}, 400, "malformed_request"),
            ({}, 400, "malformed_request"),
            ([], 400, "malformed_request"),
            (b"", 400, "malformed_request"),
            (b"{", 400, "malformed_request"),
            (b"\xff", 400, "malformed_request"),
            (b"[" * 60_000, 400, "malformed_request"),
            (b'{"tenant":"T1","tenant":"T1"}', 400, "duplicate_member"),
            (b" " * 70_000, 413, "body_too_large"),
        ],
    )
    async def test_a_bad_body_creates_nothing(self, world, body, status, code):
        answer = await world.post("/v1/apikeys", "admin", body)
        check_problem(answer, status, code)
        check_shape(world, answer, "/v1/apikeys", "post")
        assert world.directory.api_keys() == []

    async def test_a_body_that_is_not_declared_as_json_is_refused(self, world):
        answer = await world.post("/v1/apikeys", "admin", {}, **{"content-type": "text/plain"})
        check_problem(answer, 415, "unsupported_media_type")


class TestRouting:
    @pytest.mark.parametrize("path", ["/", "/v1", "/v1/plan/", "/v1/chat/completions", "/docs"])
    async def test_an_unknown_path_is_not_found(self, world, path):
        check_problem(await world.get(path), 404, "not_found")

    async def test_a_wrong_method_names_the_right_ones(self, world):
        answer = await world.http.delete("/v1/apikeys/x/revoke", headers=world.bearer("admin"))
        check_problem(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == "POST"

    async def test_a_mistake_of_ours_is_a_problem_without_details(self, world):
        world.expositions = None
        answer = await world.get("/metrics")
        body = check_problem(answer, 500, "internal_error")
        assert body["detail"] == "the control API failed (AttributeError)"

    async def test_a_broken_store_tells_the_operator_what_to_do(self, world, database):
        with database.writing() as connection:
            connection.exec_driver_sql("DROP TABLE api_key")
        body = check_problem(await world.get("/v1/apikeys"), 500, "state_error")
        assert body["next_step"].startswith(("Run", "Check"))
