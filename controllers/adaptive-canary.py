"""Compares two gateways and answers PROMOTE, HOLD or ROLLBACK: `verismo canary compare`."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))
try:
    from verismo.cli import canarycompare, main  # noqa: F401 - whether everything is there
except ImportError:
    if Path(sys.prefix) == ROOT / ".venv" or not (ROOT / ".venv/bin/python").exists():
        sys.exit(2 * bool(sys.stderr.write("set it up once with: make environment-run\n")))
    os.execv(ROOT / ".venv/bin/python", [str(ROOT / ".venv/bin/python"), *sys.argv])
main.main("canary", "compare")
