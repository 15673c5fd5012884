"""The example as a user takes it: its programs start, and a copy under another name works."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import verismo.examples.agentic_rag

ROOT = Path(__file__).parents[2]
PACKAGE = Path(verismo.examples.agentic_rag.__file__).parent

pytestmark = pytest.mark.slow


def run(*command: str, folder: Path) -> str:
    return subprocess.check_output((sys.executable, *command), cwd=folder, text=True, timeout=60)


@pytest.mark.parametrize(
    ("name", "option"), [("agent.py", "--gateway"), ("tools_server.py", "--root")]
)
def test_the_programs_of_the_checkout_say_what_they_take(name, option):
    assert option in run(f"examples/agentic_rag/{name}", "--help", folder=ROOT)


def test_a_copy_under_another_name_is_a_program_of_its_own(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "my_agent", ignore=shutil.ignore_patterns("__pycache__"))
    for module in ("service", "tools_server"):
        assert "--port" in run("-m", f"my_agent.{module}", "--help", folder=tmp_path)


def test_the_readme_names_every_file_of_the_package():
    readme = (ROOT / "examples/agentic_rag/README.md").read_text(encoding="utf-8")
    files = [path.name for path in PACKAGE.iterdir() if path.suffix in (".py", ".toml")]
    missing = [name for name in files if f"`{name}`" not in readme and name != "__init__.py"]
    assert missing == []
