"""Virtual environments of the programs that Verismo is compared with, each from its own lock."""

import hashlib
import subprocess
import sys
from pathlib import Path

from harness.machine import ROOT, SCRATCH


class NotInstalled(RuntimeError):
    """A program to compare with is not here and could not be installed; says why."""


def program_of(name: str, *, may_install: bool) -> Path:
    """Return the folder of an environment's programs, made from requirements/bench-NAME.txt.

    The environment lies under var/bench. Its bytecode is compiled, so that no request pays for it.

    Args:
        name: `litellm` or `smg`.
        may_install: whether to make it if it is missing or older than its lock.

    Raises:
        NotInstalled: it is missing, and must not or cannot be installed.
    """
    lock = ROOT / "requirements" / f"bench-{name}.txt"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    folder = SCRATCH / name
    mark = folder / ".verismo"
    if mark.exists() and mark.read_text(encoding="utf-8") == digest:
        return folder / "bin"
    if not may_install:
        raise NotInstalled(f"{name} is not installed; bench/gateway.py --peers {name} installs it")
    _install(name, lock, folder)
    mark.write_text(digest, encoding="utf-8")
    return folder / "bin"


def locked_version(name: str) -> str:
    """Return the version of a program that its lock pins."""
    lock = ROOT / "requirements" / f"bench-{name}.txt"
    for line in lock.read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}=="):
            return line.split()[0].partition("==")[2]
    raise NotInstalled(f"{lock} pins no {name}")


def _install(name: str, lock: Path, folder: Path) -> None:
    sys.stderr.write(f"installing {lock.relative_to(ROOT)} into {folder.relative_to(ROOT)}\n")
    python = str(folder / "bin" / "python")
    commands = [[sys.executable, "-m", "venv", "--clear", str(folder)]]
    uv = ROOT / ".venv" / "bin" / "uv"
    if uv.exists():
        sync = [str(uv), "pip", "sync", "-q", "--python", python, "--require-hashes"]
        commands.append([*sync, "--compile-bytecode", str(lock)])
    else:
        # pip compiles bytecode by default.
        commands.append([python, "-m", "pip", "install", "-q", "--require-hashes", "-r", str(lock)])
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotInstalled(f"{name} cannot be installed: {done.stderr.strip()[-400:]}")
