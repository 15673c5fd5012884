"""Rollouts as metrics: what was recorded, by whichever process; nothing that cannot be read."""

from contextlib import closing

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tests.support.adaptdb import CANARY_SETTINGS, OTHER, ROUTE, AdaptFolder

from verismo.adapters.adapt_file import FILE_NAME
from verismo.wiring.canarygauges import ENDED_MS_MAX, CanaryGauges

pytestmark = pytest.mark.slow
"""Each test makes a data folder with keys."""


@pytest.fixture
def folder(tmp_path):
    with closing(AdaptFolder(tmp_path)) as folder:
        yield folder


async def shown(folder, later_ms=0):
    gauges = CanaryGauges(folder.data, lambda: folder.now_ms + later_ms)
    text = "".join([*await gauges.expose(), "# EOF\n"])
    await gauges.close()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_a_rollout_is_shown_with_its_score_and_what_it_is_made_of(folder):
    folder.act("start")
    for _ in range(4):
        folder.shell.show_canary(ROUTE)
        folder.step()
    found = await shown(folder)
    route = ("", "chat", "new")
    assert 0.85 <= found["verismo_canary_score_ratio", *route] <= 1
    assert found["verismo_canary_threshold_ratio", *route] == 0.85
    assert found["verismo_canary_holds", *route] == 0
    parts = sum(
        found["verismo_canary_metric_score_ratio", *route, name]
        * found["verismo_canary_metric_weight_ratio", *route, name]
        for name in ("p95", "error", "cost")
    )
    assert found["verismo_canary_score_ratio", *route] <= parts + 1e-6
    assert found["verismo_canary_traffic_ratio", *route] in {
        ppm / 1_000_000 for ppm in CANARY_SETTINGS.ladder_ppm
    }


async def test_what_has_no_data_yet_has_no_score(folder):
    folder.act("start")
    found = await shown(folder)
    assert ("verismo_canary_score_ratio", "", "chat", "new") not in found
    assert found["verismo_canary_metric_weight_ratio", "", "chat", "new", "p95"] == 0.5


async def test_a_rollback_is_shown_for_an_hour(folder):
    folder.act("start", OTHER)
    folder.act("rollback", OTHER)
    key = ("verismo_canary_verdict", "T1", "embed", "large", "ROLLBACK")
    assert (await shown(folder))[key] == 1
    assert key in await shown(folder, ENDED_MS_MAX)
    assert await shown(folder, ENDED_MS_MAX + 1) == {}


async def test_records_that_cannot_be_read_are_no_number(folder):
    folder.act("start")
    folder.file.close()
    (folder.data / FILE_NAME).write_bytes(b"no database" * 1_000)
    assert await shown(folder) == {}
