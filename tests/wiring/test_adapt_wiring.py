"""The controllers in a control process: acts over HTTP, what they leave, keys, other processes."""

import json
import sqlite3
import time
from contextlib import closing

import httpx2
import pytest
from jsonschema import Draft202012Validator
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tests.support.rolloutsite import CONFIG, write_site

from verismo.adapters.adapt_file import FILE_NAME, AdaptFile
from verismo.adapters.decisions_sqlite import SqliteDecisions
from verismo.adapters.keyring_files import KeyRingFiles
from verismo.adapters.windows_sqlite import FILE_NAME as WINDOWS_FILE
from verismo.adapters.windows_sqlite import SqliteWindows
from verismo.attest.controlrecord import check_follows, open_record
from verismo.attest.steeringdoc import open_steering
from verismo.config.load import load_config
from verismo.control.acts import AdaptDesk
from verismo.control.api import ControlDesk, control_app
from verismo.control.rotation import RingHistory
from verismo.model import canonical
from verismo.model.apikey import RANDOM_BYTES, key_sha256, new_api_key
from verismo.model.plan import plan_digest
from verismo.model.steering import Steering, steering_digest
from verismo.ports.admins import AdminKey
from verismo.ports.windows import Interval
from verismo.wiring.adapt import DAY_MS, AdaptLoop
from verismo.wiring.firststart import prepare_data
from verismo.wiring.keys import open_rotation
from verismo.wiring.state import open_state

pytestmark = pytest.mark.slow
"""Each test makes a data folder with keys."""

SUBJECT = {"operation": "chat", "baseline": "old", "candidate": "new"}
ROLES = ("viewer", "operator", "admin")
LEASE_MS = 5_000


class Site:
    """A data folder with a control process's loop and API, and a clock that a test owns."""

    def __init__(self, folder, text=CONFIG):
        self.config = load_config(write_site(folder, text), {})
        prepare_data(self.config.data, self.config.keys)
        self.now_ms = time.time_ns() // 1_000_000
        self.ticks_ms = 0
        self.loop = self.process()
        self.keys = {}

    def process(self):
        return AdaptLoop(self.config, lambda: self.now_ms, lambda: self.ticks_ms)

    async def elapse(self, duration_s):
        """Let the loop go round while both clocks go on."""
        for _ in range(0, duration_s, 5):
            self.now_ms += 5_000
            self.ticks_ms += 5_000
            await self.loop.round()

    def client(self, state, loop=None):
        for number, role in enumerate(ROLES):
            key = new_api_key(bytes([number + 1]) * RANDOM_BYTES, "va")
            self.keys[role] = key.text
            state.admins.add_admin_key(
                AdminKey(key.id, f"{role}-1", role, key_sha256(key), self.now_ms)
            )
        loop = loop or self.loop
        desk = ControlDesk(
            admins=state.admins,
            directory=state.directory,
            plan=lambda: self.config.plan,
            expositions=None,
            unready=list,
            now_ms=lambda: self.now_ms,
            adapt=AdaptDesk(loop.take, loop.decisions, loop.steering),
        )
        return httpx2.AsyncClient(
            transport=httpx2.ASGITransport(control_app(desk)), base_url="http://control"
        )

    def auth(self, role):
        return {"authorization": f"Bearer {self.keys[role]}"}

    def ring(self):
        return RingHistory(KeyRingFiles(self.config.data)).read()[-1].ring.keys

    def steering(self):
        row = self.loop.steering.newest()
        return None if row is None else open_steering(row.statement, row.jws, self.ring())


@pytest.fixture
async def site(tmp_path):
    made = Site(tmp_path)
    yield made
    await made.loop.close()


@pytest.fixture
async def client(site):
    with open_state(site.config.data) as state:
        async with site.client(state) as opened:
            yield opened


def start(**fields):
    return {
        "controller": "canary",
        "verb": "start",
        "subject": SUBJECT,
        "reason": "the new model is cheaper",
        **fields,
    }


async def post(site, client, body, role="operator"):
    return await client.post("/v1/acts", json=body, headers=site.auth(role))


async def newest(site, client, **subject):
    return await client.get(
        "/v1/decisions/newest",
        params={"rule": ["canary", "canary-act", "canary-event"], **(subject or SUBJECT)},
        headers=site.auth("viewer"),
    )


async def test_an_act_starts_a_rollout_that_gateways_are_told_before_it_is_answered(site, client):
    answer = await post(site, client, start())
    assert answer.status_code == 201
    assert (answer.json()["n"], answer.json()["steering"]) == (1, 1)
    told = site.steering()
    assert (told.base, told.iss) == (plan_digest(site.config.plan), "https://gateway.example")
    [rollout] = told.rollouts
    assert (rollout.operation, rollout.baseline, rollout.candidate) == ("chat", "old", "new")
    assert rollout.weight_ppm > 0
    seen = await client.get("/v1/steering", headers=site.auth("viewer"))
    assert seen.json()["digest"] == steering_digest(told)
    assert seen.json()["steering"] == json.loads(canonical.encode(told))


async def test_the_record_says_who_did_it_and_why(site, client):
    await post(site, client, start())
    [row, _] = site.loop.decisions.rows(0, 10)
    record = open_record(row.statement, row.jws, site.ring())
    act = json.loads(site.loop.decisions.blob(record.inputs))
    assert (act["actor"], act["role"]) == ("operator-1", "operator")
    assert (act["reason"], act["channel"]) == ("the new model is cheaper", "api")
    assert act["at_ms"] == site.now_ms


async def test_an_override_names_the_newest_decision_and_needs_the_role_admin(site, client):
    await post(site, client, start())
    of = (await newest(site, client)).json()["digest"]
    site.now_ms += 1_000
    override = start(verb="promote", of=of, expires_ms=site.now_ms + DAY_MS)
    low = await post(site, client, override)
    assert (low.status_code, site.steering().version) == (403, 1)
    done = await post(site, client, override, "admin")
    assert (done.status_code, done.json()["steering"]) == (201, 2)
    stale = await post(site, client, {**override, "verb": "rollback"}, "admin")
    assert (stale.status_code, stale.json()["code"]) == (409, "decision_stale")
    assert "verismo decisions" in stale.json()["next_step"]
    assert site.steering().version == 2


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (start(reason="short"), 400),
        (start(of="not a digest"), 400),
        (start(expires_ms=-1), 400),
        (start(expires_ms=2**53), 400),
        (start(values={"größe": 1}), 400),
        (start(values={"limit_usd_micros": 0.5}), 400),
        (start(role="admin"), 400),
        (start(actor="somebody-else"), 400),
        (start(key="somebody-else"), 400),
        (start(channel="slack"), 400),
        (start(channel="flag"), 400),
        (start(at_ms=1), 400),
        (start(controller="weather"), 400),
        (start(controller="scaling"), 400),
        (start(verb="explode"), 400),
        (start(subject={"operation": "gone", "baseline": "old", "candidate": "new"}), 404),
        (start(verb="hold", of="a" * 64), 404),
    ],
)
async def test_an_act_that_makes_no_sense_is_refused_and_leaves_nothing(site, client, body, status):
    answer = await post(site, client, body, "admin")
    assert answer.status_code == status
    assert answer.json()["next_step"]
    assert site.loop.decisions.last() == 0


async def test_roles_are_asked_for(site, client):
    assert (await post(site, client, start(), "viewer")).status_code == 403
    for path in ("/v1/acts", "/v1/decisions", "/v1/decisions/newest", "/v1/steering"):
        method = "POST" if path == "/v1/acts" else "GET"
        assert (await client.request(method, path)).status_code == 401
    assert site.loop.decisions.last() == 0


@pytest.mark.parametrize("verb", ["promote", "hold", "rollback", "extend"])
async def test_an_operator_who_tries_an_admins_override_stands_in_the_audit_log(
    site, client, caplog, verb
):
    caplog.set_level("INFO", "verismo.audit")
    await post(site, client, start())
    of = (await newest(site, client)).json()["digest"]
    tried = start(verb=verb, of=of, expires_ms=site.now_ms + DAY_MS)
    refused = await post(site, client, tried)
    assert (refused.status_code, refused.json()["reasons"]) == (403, ["role"])
    [line] = [one for one in caplog.records if one.message == "refused"]
    assert line.fields["action"] == "POST /v1/acts"
    assert "admin" in line.fields["detail"]
    assert site.loop.decisions.last() == 2


async def test_decisions_are_listed_as_described(site, client):
    await post(site, client, start())
    found = (await client.get("/v1/decisions", headers=site.auth("viewer"))).json()
    assert [one["kind"] for one in found["items"]] == ["decision", "outcome"]
    assert found["items"][0]["action"]["kind"] == "weight_ppm"
    assert found["items"][0]["reasons"]
    assert found["items"][1]["result"] == "published"
    later = await client.get("/v1/decisions?after=1&limit=1", headers=site.auth("viewer"))
    assert [one["n"] for one in later.json()["items"]] == [2]
    for query in ("after=x", "limit=0", "limit=1001", "after=-1"):
        refused = await client.get(f"/v1/decisions?{query}", headers=site.auth("viewer"))
        assert refused.status_code == 400
    document = (await client.get("/openapi.json")).json()
    for name, value in (
        ("DecisionView", found["items"][0]),
        ("DecisionView", found["items"][1]),
        ("SteeringView", (await client.get("/v1/steering", headers=site.auth("viewer"))).json()),
    ):
        schema = {**document, "$ref": f"#/components/schemas/{name}"}
        Draft202012Validator(schema).validate(value)


async def test_what_was_never_decided_is_not_found(site, client):
    assert (await newest(site, client)).status_code == 404
    nameless = await client.get("/v1/decisions/newest", headers=site.auth("viewer"))
    assert nameless.status_code == 400
    none = (await client.get("/v1/steering", headers=site.auth("viewer"))).json()
    assert none == {"version": 0, "digest": "", "steering": None, "jws": ""}


async def test_where_controllers_are_off_there_is_nothing_to_ask(site):
    with open_state(site.config.data) as state:
        async with site.client(state):
            desk = ControlDesk(state.admins, None, None, None, None, lambda: site.now_ms)
            transport = httpx2.ASGITransport(control_app(desk))
            async with httpx2.AsyncClient(transport=transport, base_url="http://c") as off:
                for path in ("/v1/steering", "/v1/decisions"):
                    answer = await off.get(path, headers=site.auth("viewer"))
                    assert answer.status_code == 404
                    assert "[adapt]" in answer.json()["detail"]


async def test_a_second_process_refuses_acts_and_names_the_one_that_decides(site, client):
    await post(site, client, start())
    other = site.process()
    with open_state(site.config.data) as state:
        desk = ControlDesk(
            state.admins,
            None,
            None,
            None,
            None,
            lambda: site.now_ms,
            adapt=AdaptDesk(other.take, other.decisions, other.steering),
        )
        transport = httpx2.ASGITransport(control_app(desk))
        async with httpx2.AsyncClient(transport=transport, base_url="http://c") as second:
            refused = await post(site, second, start(verb="stop"), "admin")
            assert (refused.status_code, refused.json()["code"]) == (503, "decided_elsewhere")
            await site.loop.close()
            assert "decides" in refused.json()["detail"]
            of = (await newest(site, second)).json()["digest"]
            taken = await post(site, second, start(verb="stop", of=of), "admin")
            assert taken.status_code == 201
    await other.close()


async def test_an_act_after_the_end_is_refused(site, client):
    await site.loop.close()
    answer = await post(site, client, start())
    assert (answer.status_code, answer.json()["code"]) == (503, "decided_elsewhere")


async def test_the_next_plan_key_signs_once_the_first_one_is_revoked(site, client):
    await post(site, client, start())
    first = [one for one in site.ring() if one.role == "plan"]
    rotation = open_rotation(site.config.data, site.config.keys)
    rotation.revoke(first[0].kid, site.now_ms + 1, "stolen", site.now_ms + 1)
    site.now_ms += 10_000
    await site.loop.round()
    told = site.steering()
    assert told.version == 2
    rows = site.loop.decisions.rows(0, 10)
    previous = None
    for row in rows:
        record = open_record(row.statement, row.jws, site.ring(), witnessed_ms=0)
        check_follows(previous, record)
        previous = row.statement
    assert record.result == "published"


class TestAClockThatIsSet:
    AHEAD = 3_600_000
    """By how much, ms."""

    @pytest.fixture
    def windows(self, site):
        with closing(SqliteWindows(site.config.data / WINDOWS_FILE)) as opened:
            yield opened

    @pytest.fixture
    async def back(self, site, client, windows):
        """A rollout of a clock that was ahead, with an interval from then, now set back."""
        await post(site, client, start())
        right_ms = site.now_ms
        site.now_ms += self.AHEAD
        await site.loop.round()
        dated_ms = site.now_ms // 10_000 * 10_000
        windows.write(Interval("s0", dated_ms, dated_ms + 10_000))
        site.now_ms = right_ms + 15_000
        return site

    def rules(self, site):
        return [row.rule for row in site.loop.decisions.rows(0, 99) if row.rule != "outcome"]

    async def test_leaves_nothing_of_the_time_ahead_once_it_went_on_for_a_minute(
        self, back, windows
    ):
        before = self.rules(back)
        await back.elapse(50)
        assert self.rules(back) == before
        assert len(windows.written(0, 2 * back.now_ms)) == 1
        await back.elapse(20)
        assert self.rules(back)[len(before)] == "canary-event"
        assert self.rules(back).count("canary-event") == 1
        assert windows.written(0, 2 * back.now_ms) == []
        text = "".join(await back.loop.expose())
        assert 'verismo_adapt_decisions_total{rule="canary-event",verdict="NODATA"} 1' in text

    async def test_back_for_one_round_and_right_again_changes_nothing(self, site, client, windows):
        site.now_ms += 2 * self.AHEAD  # The key is valid at the wrong time as well.
        await post(site, client, start())
        ended_ms = site.now_ms // 10_000 * 10_000
        for n in range(1, 361):
            windows.write(Interval("s0", ended_ms - n * 10_000, ended_ms - n * 10_000 + 10_000))
        await site.elapse(70)
        before = self.rules(site)
        site.now_ms -= self.AHEAD
        await site.loop.round()
        assert 'failures_total{reason="state"} 0\n' in "".join(await site.loop.expose())
        site.now_ms += self.AHEAD + 1_000
        site.ticks_ms += 1_000
        await site.loop.round()
        assert self.rules(site) == before
        assert len(windows.written(0, 2 * ended_ms)) == 360
        await site.elapse(70)
        assert "canary-event" not in self.rules(site)
        assert len(windows.written(0, 2 * ended_ms)) == 360

    async def test_behind_for_long_forgets_nothing_where_nothing_was_decided(self, site, windows):
        ended_ms = site.now_ms // 10_000 * 10_000
        for n in range(1, 361):
            windows.write(Interval("s0", ended_ms - n * 10_000, ended_ms - n * 10_000 + 10_000))
        site.now_ms -= self.AHEAD // 2
        await site.elapse(120)
        assert len(windows.written(0, 2 * ended_ms)) == 360

    async def test_lets_a_person_act_and_is_recorded_and_swept_all_the_same(
        self, back, client, windows
    ):
        found = (await newest(back, client)).json()
        until_ms = back.now_ms + 600_000
        held = start(verb="hold", of=found["digest"], expires_ms=until_ms)
        assert (await post(back, client, held, role="admin")).status_code == 201
        await back.elapse(70)
        assert self.rules(back).count("canary-event") == 1
        assert windows.written(0, 2 * back.now_ms) == []

    async def test_is_swept_by_a_process_that_was_started_since(self, back, windows):
        await back.loop.close()
        back.loop = back.process()
        await back.elapse(50)
        assert len(windows.written(0, 2 * back.now_ms)) == 1
        await back.elapse(20)
        assert windows.written(0, 2 * back.now_ms) == []
        assert "canary-event" in self.rules(back)

    async def test_takes_no_time_back_before_what_lies_ahead_is_forgotten(
        self, back, windows, caplog
    ):
        with closing(sqlite3.connect(back.config.data / WINDOWS_FILE)) as changed:
            changed.execute(
                "CREATE TRIGGER kept BEFORE DELETE ON interval "
                "BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
            )
            await back.elapse(80)
            assert "canary-event" not in self.rules(back)
            assert caplog.messages.count("the controllers failed") == 1
            assert "the controllers go on" not in caplog.messages
            changed.execute("DROP TRIGGER kept")
        await back.elapse(5)
        assert "canary-event" in self.rules(back)
        assert windows.written(0, 2 * back.now_ms) == []


async def test_metrics_say_what_was_decided_and_how_old_the_last_round_is(site, client):
    await post(site, client, start())
    await site.loop.round()
    site.now_ms += 2_500
    text = "".join([*await site.loop.expose(), "# EOF\n"])
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    verdict = site.loop.decisions.rows(0, 1)[0].verdict
    assert found == {
        ("verismo_adapt_decisions_total", "canary-act", verdict): 1,
        ("verismo_adapt_steering_version",): 1,
        ("verismo_adapt_round_age_seconds",): 2.5,
        ("verismo_adapt_failures_total", "state"): 0,
    }


async def test_a_file_that_cannot_be_used_fails_rounds_and_ends_nothing(tmp_path, caplog):
    caplog.set_level("INFO", "verismo.adapt")
    site = Site(tmp_path)
    (site.config.data / FILE_NAME).write_bytes(b"no database" * 100)
    for _ in range(3):
        await site.loop.round()
    assert [one.message for one in caplog.records].count("the controllers failed") == 1
    assert 'verismo_adapt_failures_total{reason="state"} 3\n' in await site.loop.expose()
    (site.config.data / FILE_NAME).unlink()
    await site.loop.round()
    assert "the controllers go on" in [one.message for one in caplog.records]
    await site.loop.close()


async def test_old_observations_are_forgotten_and_the_newest_are_not(site, client):
    await post(site, client, start())
    of = (await newest(site, client)).json()["digest"]
    site.now_ms += 1_000
    await post(site, client, start(verb="stop", of=of), "admin")
    old, _, new, _ = (
        open_record(row.statement, row.jws, site.ring()) for row in site.loop.decisions.rows(0, 9)
    )
    file = AdaptFile(site.config.data / FILE_NAME)
    token = file.acquire("other", site.now_ms + LEASE_MS, LEASE_MS)
    assert SqliteDecisions(file).forget(token, site.now_ms + DAY_MS) > 0
    file.close()
    assert site.loop.decisions.blob(old.inputs) is None
    assert all(site.loop.decisions.blob(digest) for digest in new.named)
    assert len(site.loop.decisions.rows(0, 9)) == 4
    shown = (await client.get("/v1/decisions", headers=site.auth("viewer"))).json()["items"][0]
    assert (shown["action"], shown["reasons"]) == (None, [])


def test_steering_has_no_secrets():
    assert set(Steering.__struct_fields__) == {
        *("v", "version", "base", "iss", "iat", "rollouts", "throttles")
    }


async def test_nothing_is_decided_while_the_file_is_away_and_it_goes_on_once_it_is_back(
    site, client, caplog
):
    caplog.set_level("INFO", "verismo.adapt")
    await post(site, client, start())
    path = site.config.data / FILE_NAME
    path.rename(path.with_suffix(".old"))
    site.now_ms += 2_000
    refused = await post(site, client, start(verb="stop"))
    assert (refused.status_code, refused.json()["code"]) == (500, "state_error")
    assert "deleted, moved or replaced" in refused.json()["detail"]
    await site.loop.round()
    assert [one.message for one in caplog.records].count("the controllers failed") == 1
    assert not path.exists(), "no empty file takes its place"
    path.with_suffix(".old").rename(path)
    await site.loop.round()
    assert "the controllers go on" in [one.message for one in caplog.records]
    of = (await newest(site, client)).json()["digest"]
    assert (await post(site, client, start(verb="stop", of=of))).status_code == 201
