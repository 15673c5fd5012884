"""People act on rollouts at the command line; what they see and may not do is what is recorded."""

import asyncio
import json
import shutil
import threading
from pathlib import Path

import pytest
import uvicorn
from tests.support.rolloutsite import CONFIG
from tests.wiring.test_adapt_wiring import LEASE_MS, Site

from verismo.config.load import load_config
from verismo.control.acts import AdaptDesk
from verismo.control.api import ControlDesk, control_app
from verismo.wiring.adapt import AdaptLoop
from verismo.wiring.state import open_state

pytestmark = pytest.mark.slow
"""Each test makes a data folder with keys and serves its control API."""

POLICY = Path(__file__).parents[2] / "policy"
TENANTS = CONFIG.replace(
    "[tenants]",
    """
[tenants.T1]
region = "eu"
purposes = ["support"]
models = ["*"]
enforcement = "safelist"
[tenants.T2]
region = "us"
purposes = ["support"]
models = ["*"]
enforcement = "safelist"
""",
)
ANOTHER = """
[deployments.other]
provider = "up"
model = "m3"
region = "eu"
"""
REASON = ("--reason", "the provider says that it is mended")


class Control:
    """A control API on a socket, and the command line before it."""

    def __init__(self, site, verismo, port):
        self.site, self._verismo = site, verismo
        self.url = f"http://127.0.0.1:{port}"

    def run(self, verb, *words, role="admin", operation="chat"):
        named = () if verb == "status" else ("--operation", operation)
        where = ("-c", self.site.config.path, "--url", self.url, "--key", self.site.keys[role])
        return self._verismo("canary", verb, *where, *named, *words)

    def status(self):
        return json.loads(self.run("status", "--json").out)


@pytest.fixture
def control(tmp_path, verismo, request):
    site = Site(tmp_path, getattr(request, "param", CONFIG))
    with open_state(site.config.data) as state:
        site.client(state)
        desk = ControlDesk(
            admins=state.admins,
            directory=state.directory,
            plan=lambda: site.config.plan,
            expositions=None,
            unready=list,
            now_ms=lambda: site.now_ms,
            adapt=AdaptDesk(
                lambda make: site.loop.take(make), site.loop.decisions, site.loop.steering
            ),
        )
        server = uvicorn.Server(
            uvicorn.Config(control_app(desk), host="127.0.0.1", port=0, log_config=None)
        )
        began, first = threading.Event(), site.loop

        async def serve():
            config = server.config
            config.load()
            server.lifespan = config.lifespan_class(config)
            await server.startup()
            began.set()
            await server.main_loop()
            await server.shutdown()
            for one in {first, site.loop}:
                await one.close()

        thread = threading.Thread(target=lambda: asyncio.run(serve()))
        thread.start()
        assert began.wait(20)
        yield Control(site, verismo, server.servers[0].sockets[0].getsockname()[1])
        server.should_exit = True
        thread.join(20)


def test_a_rollout_is_started_seen_overridden_and_stopped(control):
    assert "no rollout" in control.run("status").out
    started = control.run("start", *REASON, role="operator")
    assert started.code == 0, started.err
    assert "share 0 % -> 5 %" in started.out
    (one,) = control.status()
    assert (one["verdict"], one["subject"]["candidate"]) == ("CONTINUE", "new")
    assert one["digest"] in started.out
    promoted = control.run("promote", *REASON)
    assert "share 5 % -> 20 %" in promoted.out
    assert one["digest"] in promoted.err, "it shows what it overrides"
    assert control.run("hold", *REASON, "--for", "2h").out.startswith("HOLD")
    assert control.run("extend", *REASON, "--for", "1d").out.startswith("CONTINUE")
    assert "share 20 % -> 0 %" in control.run("rollback", *REASON).out
    assert control.run("stop", *REASON, role="operator").out.startswith("REVERT_STATIC")
    assert "a person stopped the rollout" in control.run("status").out


def test_a_rollout_that_the_configuration_does_not_know_is_shown_with_no_share(control):
    control.run("start", *REASON)
    site = control.site
    operation = site.config.path.parent / "operations" / "chat.toml"
    operation.write_text(operation.read_text().replace('candidates = ["new"]', ""))
    site.now_ms += 2 * LEASE_MS
    again = AdaptLoop(load_config(site.config.path, {}), lambda: site.now_ms)
    asyncio.run(again.round())
    asyncio.run(again.close())
    shown = control.run("status").out
    assert "0 %" in shown.splitlines()[1].split("  ")
    assert "the configuration does not know it, and nothing is split" in shown


def reconfigured(site, before, after):
    """Write the operation otherwise, and start the control process anew with it."""
    operation = site.config.path.parent / "operations" / "chat.toml"
    text = operation.read_text()
    assert before in text
    operation.write_text(text.replace(before, after))
    site.now_ms += 2 * LEASE_MS
    site.config = load_config(site.config.path, {})
    first = site.process()
    asyncio.run(first.round())
    asyncio.run(first.close())
    site.loop = site.process()


@pytest.mark.parametrize("named", [(), ("--baseline", "old", "--candidate", "new")])
@pytest.mark.parametrize(
    ("before", "after"),
    [("operations.chat", "operations.other"), ('candidates = ["new"]', "candidates = []")],
    ids=["operation", "candidate"],
)
def test_a_rollout_that_left_the_configuration_is_rolled_back_and_stopped(
    control, before, after, named
):
    control.run("start", *REASON)
    reconfigured(control.site, before, after)
    for verb, verdict in (("rollback", "ROLLBACK"), ("stop", "REVERT_STATIC")):
        found = control.run(verb, *REASON, *named)
        assert (found.code, found.out[: len(verdict)]) == (0, verdict), found.err


def test_a_configuration_of_another_gateway_keeps_nobody_from_a_rollback(control):
    control.run("start", *REASON)
    operation = control.site.config.path.parent / "operations" / "chat.toml"
    operation.write_text(operation.read_text().replace("operations.chat", "operations.other"))
    assert "share 5 % -> 0 %" in control.run("rollback", *REASON).out
    assert control.run("stop", *REASON).code == 0


@pytest.mark.parametrize("control", [CONFIG + ANOTHER], indirect=True)
def test_where_several_rollouts_may_be_meant_they_are_named(control):
    reconfigured(control.site, '["new"]', '["new", "other"]')
    for candidate in ("new", "other"):
        control.run("start", *REASON, "--candidate", candidate)
        assert control.run("rollback", *REASON).code == 0
    found = control.run("stop", *REASON)
    assert (found.code, "its rollouts: old -> new, old -> other" in found.err) == (2, True)
    for candidate in ("other", "new"):
        assert control.run("stop", *REASON, "--candidate", candidate).code == 0


def test_an_override_names_a_decision_that_no_longer_holds(control):
    control.run("start", *REASON)
    (seen,) = control.status()
    control.run("promote", *REASON)
    found = control.run("promote", *REASON, "--of", seen["digest"])
    assert found.code == 2
    assert "the newest decision about this rollout is" in found.err
    (now,) = control.status()
    assert now["action"]["after"] == 200_000


@pytest.mark.parametrize(
    ("verb", "words", "role", "told"),
    [
        ("promote", REASON, "operator", "role"),
        ("start", REASON, "viewer", "role"),
        ("promote", ("--reason", "because"), "admin", "10 to 1000 characters"),
        ("hold", (*REASON, "--for", "8d"), "admin", "within a week"),
        ("hold", (*REASON, "--for", "soon"), "admin", "not a duration"),
        ("hold", REASON, "admin", "--for"),
        ("rollback", (), "admin", "--reason"),
        ("promote", (*REASON, "--of", "the newest"), "admin", "not a digest"),
        ("start", REASON, "admin", "runs already"),
        ("promote", (*REASON, "--candidate", "old"), "admin", "no rollout of 'old'"),
    ],
)
def test_what_may_not_be_done_is_refused_with_what_would_be(control, verb, words, role, told):
    control.run("start", *REASON)
    found = control.run(verb, *words, role=role)
    assert found.code == 2
    assert told in found.err
    assert "openapi" not in found.err, "that is no next step for who types commands"
    (now,) = control.status()
    assert now["action"]["after"] == 50_000


@pytest.mark.parametrize("control", [TENANTS], indirect=True)
class TestTenants:
    def test_whose_rollout_there_is_is_said_to_who_names_another(self, control):
        control.run("start", *REASON, "--tenant", "T1")
        found = control.run("hold", *REASON, "--for", "2h")
        assert found.code == 2
        assert "no rollout of 'new' on 'chat' of all tenants; there is one of tenant 'T1'" in (
            found.err
        )
        assert "Add --tenant T1." in found.err
        assert control.run("hold", *REASON, "--for", "2h", "--tenant", "T1").code == 0
        refused = control.run("start", *REASON)
        assert "a rollout of 'new' for tenant 'T1' has these requests already" in refused.err

    def test_a_rollout_that_can_split_nothing_is_warned_of(self, control):
        shutil.copytree(POLICY, control.site.config.path.parent / "policy", dirs_exist_ok=True)
        (control.site.config.path.parent / "policy" / "main.rego").unlink()
        started = control.run("start", *REASON, "--tenant", "T2")
        assert started.code == 0
        assert "warning: no request of T2 will be split: Data of tenant T2" in started.err
        control.run("stop", *REASON, "--tenant", "T2")
        assert "warning" not in control.run("start", *REASON, "--tenant", "T1").err

    def test_a_tenant_that_is_not_known_here_keeps_nobody_from_a_start(self, control):
        path = control.site.config.path
        path.write_text(path.read_text().replace("tenants.T2", "tenants.T3"))
        started = control.run("start", *REASON, "--tenant", "T2")
        assert started.code == 0
        assert "not known here: tenant 'T2'" in started.err

    def test_a_policy_that_cannot_be_asked_keeps_nobody_from_a_start(self, control):
        started = control.run("start", *REASON, "--tenant", "T2")
        assert started.code == 0
        assert "whether the policy allows both is not known: " in started.err


@pytest.mark.parametrize(
    ("file", "before", "after", "told"),
    [
        ("operations/chat.toml", "operations.chat", "operations.other", "operation 'chat'"),
        ("verismo.toml", "deployments.new", "deployments.newer", "deployment 'new'"),
    ],
)
def test_a_start_succeeds_where_the_configuration_here_lacks_what_it_is_of(
    control, file, before, after, told
):
    path = control.site.config.path.parent
    chat = path / "operations" / "chat.toml"
    chat.write_text(chat.read_text().replace('["new"]', "[]"))
    (path / file).write_text((path / file).read_text().replace(before, after))
    started = control.run("start", *REASON, "--baseline", "old", "--candidate", "new")
    assert (started.code, "share 0 % -> 5 %" in started.out) == (0, True), started.err
    assert f"whether the policy allows both is not known: not known here: {told}" in started.err
    assert len(control.status()) == 1


def test_an_operation_or_a_key_that_is_not_there_is_said(control):
    assert "no operation" in control.run("start", *REASON, operation="caht").err
    control.site.keys["admin"] = "va_no_key"
    found = control.run("start", *REASON)
    assert (found.code, "admin key" in found.err) == (2, True)


@pytest.mark.parametrize("mistake", ["broken", "away"])
def test_a_mistake_in_the_configuration_keeps_nobody_from_a_rollback(control, mistake):
    control.run("start", *REASON)
    path = control.site.config.path
    if mistake == "away":
        path.unlink()
    else:
        path.write_text("listen = 1\n")
    shown = control.run("status")
    assert (shown.code, "old -> new" in shown.out) == (0, True), shown.err
    assert "without the configuration: " in shown.err
    assert str(path.name) in shown.err
    assert "share 5 % -> 0 %" in control.run("rollback", *REASON).out
    unnamed = control.run("start", *REASON, operation="other")
    assert (unnamed.code, "not known here" in unnamed.err) == (2, True)
    without = control._verismo(
        *("canary", "rollback", "-c", path, "--operation", "chat", *REASON),
        *("--key", control.site.keys["admin"]),
    )
    assert (without.code, "With --url it goes without." in without.err) == (2, True)


def test_without_a_control_process_it_says_so(control):
    control.url = "http://127.0.0.1:9"
    found = control.run("status")
    assert found.code == 2
    assert "no control process answers" in found.err
    assert "verismo serve" in found.err


def test_another_listener_than_the_control_listener_is_told_apart(control):
    control.url += "/somewhere/else"
    found = control.run("status")
    assert found.code == 2
    assert "answers 404, and not as the control API does" in found.err
    assert "Name the control listener with --url" in found.err


def test_a_control_port_that_the_system_chose_is_not_guessed(control, verismo):
    path = control.site.config.path
    path.write_text(path.read_text() + "\n[control]\nport = 0\n")
    found = verismo("canary", "status", "-c", path, "--key", "va_x")
    assert found.code == 2
    assert "lets the system choose the control port" in found.err
    assert "--url" in found.err
    assert control.run("status").code == 0


def test_a_rollout_that_was_not_looked_at_yet_is_not_exported(control, verismo, tmp_path):
    control.run("start", *REASON)
    found = verismo(
        *("canary", "export", "-c", control.site.config.path, "--operation", "chat"),
        *("--out", tmp_path / "f.json"),
    )
    assert found.code == 2
    assert "no such rollout that was looked at" in found.err
