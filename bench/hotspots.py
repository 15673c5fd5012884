"""Where a worker's time goes under load: a flame graph and the functions that cost most.

py-spy samples the worker from outside while 16 connections load it; the table is of the event
loop's thread, and what the other threads use (the journal's writer) is one number. Written to
var/bench: `flame-SCENARIO.svg` for a browser and `stacks-SCENARIO.txt`, one stack a line with its
samples.
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

from harness import results
from harness.attested import SMALL_OPERATION, STREAM_OPERATION
from harness.gateways import SCENARIO_BYTES, Gateway, Site, site, starter
from harness.load import Load, Slice, measure, warm
from harness.machine import SCRATCH, describe, versions
from harness.processes import loop_and_other_cpu_s
from harness.table import Value

CONNECTIONS = 16
RATE_PER_S = 400
COLUMNS = {"function": "function", "own": "own %", "total": "with callees %"}


def main() -> None:
    parser = results.options(__doc__ or "")
    parser.add_argument("--scenario", choices=sorted(SCENARIO_BYTES), default="small")
    parser.add_argument("--top", type=int, default=40, help="how many functions")
    parser.add_argument("--native", action="store_true", help="look into C and Rust as well")
    asked = parser.parse_args()
    seconds = results.sized(asked, full=20, quick=5, brief=1)
    with results.run_folder() as folder, ExitStack() as stack:
        place = stack.enter_context(site(folder))
        machine = describe(place.chosen)
        gateway = stack.enter_context(starter("verismo", place))
        assert gateway.attested is not None
        gateway.attested.exchange(SMALL_OPERATION)
        gateway.attested.exchange(STREAM_OPERATION, stream=True)
        warm(gateway, asked.scenario, 200)
        pid = gateway.attested.worker_pid()
        before = loop_and_other_cpu_s(pid)
        unwatched = _loaded(gateway, place, asked.scenario, seconds)
        after = loop_and_other_cpu_s(pid)
        files = {
            "raw": SCRATCH / f"stacks-{asked.scenario}.txt",
            "flamegraph": SCRATCH / f"flame-{asked.scenario}.svg",
        }
        for kind, file in files.items():
            watching = _watch(pid, seconds, kind, file, asked.native)
            _loaded(gateway, place, asked.scenario, seconds + 1)
            _finish(watching)
    rows = _top(files["raw"].read_text(encoding="utf-8").splitlines(), asked.top)
    loop_us, other_us = (
        (late - early) / unwatched.requests * 1e6 for early, late in zip(before, after, strict=True)
    )
    facts = {
        "scenario": asked.scenario,
        "cpu_us": results.rounded(unwatched.cpu_us),
        "loop_cpu_us": results.rounded(loop_us),
        "other_threads_cpu_us": results.rounded(other_us),
        "failed": unwatched.failed,
        "files": [file.name for file in files.values()],
        "machine": machine,
        "versions": versions("wrk"),
    }
    results.publish(asked, COLUMNS, rows, facts)
    print(
        f"\nCPU a request: {unwatched.cpu_us:.0f} us in all processes, {loop_us:.0f} us in the "
        f"worker's event loop, {other_us:.0f} us in its other threads"
    )


def _loaded(gateway: Gateway, place: Site, scenario: str, seconds: int) -> Slice:
    load = Load(scenario, CONNECTIONS, seconds)
    return measure(gateway, load, place)


def _watch(pid: int, seconds: int, kind: str, file: Path, native: bool) -> subprocess.Popen[bytes]:
    """Start py-spy on a process, without stopping it more than a sample takes."""
    program = Path(sys.executable).with_name("py-spy")
    command = [str(program), "record", "--pid", str(pid), "--duration", str(seconds)]
    command += [
        "--rate",
        str(RATE_PER_S),
        "--format",
        kind,
        "--output",
        str(file),
        "--function",
        "--threads",
    ]
    if native:
        command.append("--native")
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def _finish(watching: subprocess.Popen[bytes]) -> None:
    _, said = watching.communicate(timeout=120)
    if watching.returncode:
        raise RuntimeError(f"py-spy: {said.decode(errors='replace').strip()[-400:]}")


def _top(stacks: Iterable[str], count: int) -> list[Mapping[str, Value]]:
    """Return the functions by their own share of the samples, and their share with callees.

    Args:
        stacks: lines `thread;outermost;...;innermost SAMPLES`.
        count: how many.
    """
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for line in stacks:
        stack, _, samples = line.rpartition(" ")
        thread, *frames = stack.split(";")
        if not thread.endswith("MainThread") or not frames:
            continue  # without frames it was sampled while it began or ended
        own[frames[-1]] += int(samples)
        total.update(dict.fromkeys(frames, int(samples)))
    everything = own.total()
    share = {name: (own[name] / everything, total[name] / everything) for name in total}
    best = sorted(share, key=lambda name: share[name], reverse=True)[:count]
    return [
        {
            "function": name,
            "own": round(100 * share[name][0], 1),
            "total": round(100 * share[name][1], 1),
        }
        for name in best
    ]


if __name__ == "__main__":
    main()
