"""The nightly job: its script runs from a checkout, and the next night finds what it left."""

import re
import subprocess
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from verismo.adapters.journal_reader import SqliteJournalReader
from verismo.config.load import load_config
from verismo.control.rollups import Rollups
from verismo.model.retention import MS_PER_DAY, day_of
from verismo.wiring.rollups import clock_ms, open_desk, open_vaulted, restore_from

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "nightly-ledger"
WORKFLOW = ROOT / ".github" / "workflows" / "nightly-ledger.yml"

pytestmark = pytest.mark.skipif(
    not (ROOT / ".venv" / "bin" / "verismo").exists(), reason="not installed: .venv"
)


def first_night(folder: Path) -> str:
    night = subprocess.run(
        [SCRIPT, folder], capture_output=True, text=True, timeout=90, check=False
    )
    assert night.returncode == 0, night.stdout + night.stderr
    return night.stdout


@pytest.mark.slow
def test_first_night_serves_and_audits_and_the_second_rolls_it_up_and_restores_it(tmp_path):
    told = first_night(tmp_path / "nightly")
    assert "everything fits together" in told
    assert "first night" in told
    assert "first night" in first_night(tmp_path / "nightly"), "run again on the same day"
    config = load_config(tmp_path / "nightly" / "verismo.toml")
    # The second night, as its clock would say.
    now_ms = clock_ms() + MS_PER_DAY
    vaulted = open_vaulted(config.archive)
    with open_desk(config, now_ms) as desk:
        made = Rollups(desk, vaulted).step(now_ms)
    assert [day for _, day in made] == [day_of(now_ms) - timedelta(days=1)]
    found = restore_from(vaulted.archive, tmp_path / "restored", config.data)
    with closing(SqliteJournalReader(config.data)) as real:
        wanted = list(real.scan("s0", 0, 100))
    with closing(SqliteJournalReader(tmp_path / "restored")) as reader:
        back = list(reader.scan("s0", 0, 100))
    assert back
    assert back == wanted[: len(back)]
    assert [one.sealed_files for one in found.logs] == [0]


def test_workflow_runs_the_script_and_keeps_no_key_in_its_artifact():
    text = WORKFLOW.read_text(encoding="utf-8")
    assert "run: scripts/nightly-ledger var/nightly" in text
    kept = re.search(r"actions/upload-artifact.*", text, re.DOTALL)[0]
    paths = re.findall(r"^ +(var/\S+)$", kept, re.MULTILINE)
    assert paths == ["var/nightly/var/rollups", "var/nightly/var/archive"]


def test_script_refuses_to_go_on_after_a_failure():
    assert "set -eu" in SCRIPT.read_text(encoding="utf-8")
