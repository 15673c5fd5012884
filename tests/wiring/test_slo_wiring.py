"""The error budgets of the control process: from windows.db to metrics, and back after bad days."""

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tests.cli.test_slo_command import CONFIG, OPERATION, SLO, write

from verismo.adapters.windows_sqlite import FILE_NAME
from verismo.config.load import load_config
from verismo.model.errors import StateError
from verismo.wiring.slo import SloLoop


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "verismo.toml").write_text(CONFIG + SLO)
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "main.rego").write_text("package verismo\n")
    (tmp_path / "operations").mkdir()
    (tmp_path / "operations" / "main.toml").write_text(OPERATION)
    (tmp_path / "var").mkdir()
    return tmp_path


async def shown(loop):
    text = "".join([*await loop.expose(), "# EOF\n"])
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_burns_of_the_past_are_shown_and_counters_begin_at_nothing(folder):
    write(folder, 10, errors=2)
    loop = SloLoop(load_config(folder / "verismo.toml", {}))
    assert await shown(loop) == {}
    await loop.round()
    found = await shown(loop)
    assert found["verismo_slo_burn_ratio", "support", "errors", "5m"] == 20
    assert found["verismo_slo_burn_ratio", "support", "latency", "5m"] == 0
    assert ("verismo_slo_burn_ratio", "support", "errors", "1h") not in found
    assert found["verismo_slo_requests_total", "support", "errors"] == 0
    assert found["verismo_slo_objective_ratio", "support", "errors"] == 0.99
    await loop.close()


async def test_windows_that_cannot_be_read_leave_no_burn_of_before(folder):
    write(folder, 10, errors=2)
    loop = SloLoop(load_config(folder / "verismo.toml", {}))
    await loop.round()
    await loop.close()
    for file in (folder / "var").glob(f"{FILE_NAME}*"):
        file.write_bytes(b"no database" * 1_000)
    with pytest.raises(StateError):
        await loop.round()
    found = await shown(loop)
    assert not any(key[0] == "verismo_slo_burn_ratio" for key in found)
    assert found["verismo_slo_requests_total", "support", "errors"] == 0
    await loop.close()
