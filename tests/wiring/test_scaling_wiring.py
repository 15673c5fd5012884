"""Scaling from windows to the API server through the whole loop, and what is shown of it."""

import json
import time

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from verismo.adapt.scalingevents import read_events, verify_gap
from verismo.adapters.adapt_file import FILE_NAME, AdaptFile
from verismo.adapters.decisions_sqlite import SqliteDecisions
from verismo.adapters.windows_sqlite import FILE_NAME as WINDOWS
from verismo.adapters.windows_sqlite import SqliteWindows
from verismo.attest.controlrecord import read_record
from verismo.config.load import load_config
from verismo.ports.windows import DeploymentLoad, Interval
from verismo.simulate.cluster import Cluster
from verismo.simulate.kubernetes import running_cluster
from verismo.wiring.adapt import AdaptLoop
from verismo.wiring.firststart import prepare_data
from verismo.wiring.scaling import ScalingGauges, read_standings

pytestmark = pytest.mark.slow
"""Each test makes a data folder with keys and decides many times."""

CONFIG = """\
[tenants]
[providers.up]
kind = "openai"
base_url = "http://127.0.0.1:9/v1"
[deployments.chat]
provider = "up"
model = "m"
region = "eu"
[scaling.reader]
deployment = "chat"
target = "prod/reader"
slots = 10
replicas_min = 2
replicas_max = 40
late_ms = 2000
mode = "MODE"
token_file = "token"
ca_file = ""
"""


class Setting:
    """A data folder, a simulated cluster, and the clock that both go by."""

    def __init__(self, folder, url, cluster, mode):
        (folder / "verismo.toml").write_text(
            CONFIG.replace("MODE", mode) + f'api_url = "{url}"\nreplicas_from = "scale"\n'
        )
        (folder / "policy").mkdir()
        (folder / "policy" / "main.rego").write_text("package verismo\n")
        (folder / "token").write_text("token")
        self.config = load_config(folder / "verismo.toml", {})
        prepare_data(self.config.data, self.config.keys)
        self.cluster = cluster
        now_ms = time.time_ns() // 1_000_000
        self.now_ms = now_ms + 10_000 - now_ms % 10_000
        self.windows = SqliteWindows(self.config.data / WINDOWS)
        self.loop = AdaptLoop(self.config, lambda: self.now_ms)

    async def pass_10_s(self, in_flight):
        """Let the worker write an interval, and the controllers decide after it."""
        load = DeploymentLoad("chat", in_flight * 10_000, in_flight, 0)
        end_ms = self.now_ms + 10_000
        self.windows.write(Interval("s0", self.now_ms, end_ms, loads=(load,)))
        self.now_ms = end_ms
        await self.loop.round()

    def records(self):
        file = AdaptFile(self.config.data / FILE_NAME, read_only=True)
        rows = SqliteDecisions(file).rows(0, 10_000)
        file.close()
        return [read_record(row.statement) for row in rows]


@pytest.fixture(params=["strict"])
async def setting(tmp_path, request):
    held = []
    cluster = Cluster("token", lambda: held[0].now_ms / 1_000 if held else time.time())
    cluster.deploy("prod", "reader", 3)
    with running_cluster(cluster) as url:
        held.append(Setting(tmp_path, url, cluster, request.param))
        yield held[0]
        await held[0].loop.close()
        held[0].windows.close()


async def test_replicas_follow_the_load_one_action_in_a_gap(setting):
    for tick in range(60):
        await setting.pass_10_s(40 + 4 * tick)
    events = json.dumps(setting.cluster.events("prod")).encode()
    changes = read_events(events)
    assert len(changes) >= 3
    assert verify_gap(changes, 120_000).verdict == "kept"
    assert setting.cluster.replicas("prod", "reader") >= 28
    decided = [one for one in setting.records() if one.rule == "scaling" and not one.result]
    outcomes = [one.result for one in setting.records() if one.rule == "scaling" and one.result]
    assert len(decided) == 60
    assert outcomes == ["done"] * len(changes)


async def test_an_hpa_on_the_target_is_refused_and_recorded(setting):
    setting.cluster.autoscale("prod", "reader", "reader")
    for _ in range(15):
        await setting.pass_10_s(60)
    assert "autoscaler_present" in [one.result for one in setting.records()]
    assert setting.cluster.replicas("prod", "reader") == 3


async def test_an_api_server_that_is_away_changes_nothing(setting):
    setting.cluster.token = "another"
    for _ in range(15):
        await setting.pass_10_s(60)
    verdicts = {one.verdict for one in setting.records() if one.rule == "scaling"}
    assert verdicts == {"NODATA"}


@pytest.mark.parametrize("setting", ["gauge"], indirect=True)
async def test_a_gauge_is_shown_and_nothing_is_set(setting):
    for _ in range(15):
        await setting.pass_10_s(60)
    assert setting.cluster.replicas("prod", "reader") == 3
    assert "shown" in [one.result for one in setting.records()]
    assert all(method == "GET" for method, _ in setting.cluster.asked)
    [standing] = read_standings(setting.config)
    assert standing.decision.at_ms == setting.now_ms


async def test_metrics_show_what_is_decided_now_and_nothing_old(setting):
    gauges = ScalingGauges(setting.config, lambda: setting.now_ms)
    assert samples(await gauges.expose()) == {}
    for _ in range(2):
        await setting.pass_10_s(60)
    found = samples(await gauges.expose())
    assert found["verismo_desired_replicas"] == ({"target": "reader"}, 3.0)
    assert found["verismo_scaling_reason"][0]["reason"] == "gap_open_ms"
    assert found["verismo_scaling_gap_seconds"][1] == 115
    setting.now_ms += 40_001
    assert samples(await gauges.expose()) == {}
    await gauges.close()


def samples(lines):
    text = "".join([*lines, "# EOF\n"])
    return {
        sample.name: (sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
