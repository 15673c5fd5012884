"""The machine a benchmark runs on: which core does what, and what the results say about it."""

import os
import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRATCH = ROOT / "var" / "bench"
"""Results, peers' environments and run folders; on the disk that a journal would be on."""


@dataclass(frozen=True)
class Cores:
    """Which core runs what.

    Args:
        gateway: the core of the gateway that is measured, and of all its processes.
        load: the core of the load generator and of the upstream mocks.
    """

    gateway: int
    load: int


def cores() -> Cores:
    """Return the first and the last core that this process may use; with one core, twice it."""
    usable = sorted(os.sched_getaffinity(0))
    return Cores(gateway=usable[0], load=usable[-1])


def pin_self_to_load() -> Cores:
    """Move this process, with the load that it makes itself, to the load's core."""
    chosen = cores()
    os.sched_setaffinity(0, {chosen.load})
    return chosen


def describe(chosen: Cores) -> dict[str, object]:
    """Return what a reader needs to know of the machine to judge the numbers."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "gateway_core": chosen.gateway,
        "load_core": chosen.load,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "load_average_1m_at_start": round(os.getloadavg()[0], 2),
        "memory_counted_as": "PSS of all processes of the gateway",
    }


def versions(*programs: str) -> dict[str, str]:
    """Return the versions of Verismo, Python, what the request path uses, and some programs.

    Args:
        programs: `nginx` or `wrk`.
    """
    found = {"python": platform.python_version(), "commit": _commit()}
    for name in ("verismo", "uvicorn", "httptools", "uvloop", "pyreqwest", "pynacl", "msgspec"):
        found[name] = version(name)
    for program in programs:
        found[program] = _version_of(program)
    return found


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return said.stdout.strip() or "unknown"


def _version_of(program: str) -> str:
    """`nginx -v` and `wrk -v` say it in their first line, wrk with an exit code of 1."""
    said = subprocess.run([program, "-v"], capture_output=True, text=True, check=False)
    words = (said.stdout + said.stderr).splitlines()[0].replace("nginx version:", "").split()
    return words[0] if program == "nginx" else words[1]
