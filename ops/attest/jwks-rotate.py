"""Rotates the token key and writes the key set: `verismo keys rotate`, from a checkout."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))
try:
    from verismo.cli import keys, main  # noqa: F401 - whether everything that it needs is there
except ImportError:
    if Path(sys.prefix) == ROOT / ".venv" or not (ROOT / ".venv/bin/python").exists():
        sys.exit(2 * bool(sys.stderr.write("set it up once with: make environment-run\n")))
    os.execv(ROOT / ".venv/bin/python", [str(ROOT / ".venv/bin/python"), *sys.argv])
demo = ROOT / "var" / "demo" / "verismo.toml"
is_named = any(word.startswith(("-c", "--config")) for word in sys.argv[1:])
if Path.cwd() == ROOT and not is_named and not Path("verismo.toml").exists():
    sys.stderr.write(f"no verismo.toml here: the keys are those of {demo}, made by `make run`\n")
    sys.argv += ["--config", str(demo)]
main.main("keys", "rotate")
