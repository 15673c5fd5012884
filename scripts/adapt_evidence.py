"""Runs the rollout of the demonstration and the budgets' simulation, and keeps what they recorded.

    .venv/bin/python scripts/adapt_evidence.py [--out evidence/v0.3.5/adapt]

`canary-decisions.json` is a real run of `verismo demo --scenario regression`: every record of its
`adapt.db` with its signature, the bytes that the records name, and the public keys. From it alone
decisions can be computed again. `budget-autotune-report.json` is what
`services/guard/budgets_v2.py` says of generated spend. Both files say in themselves what in them is
simulated or generated.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from verismo.adapters.adapt_file import AdaptFile
from verismo.adapters.decisions_sqlite import SqliteDecisions
from verismo.attest.controlrecord import read_record
from verismo.ports.decisions import DecisionRow

ROOT = Path(__file__).resolve().parents[1]
VERISMO = (sys.executable, "-m", "verismo")
DEMO = ("demo", "--scenario", "regression", "--once", "--port", "0")
BUDGET = ("services/guard/budgets_v2.py", "--simulate", "--tenant", "TENANT_001", "--window", "120")
RUN_S_MAX = 600
ROWS_MAX = 10_000
SIMULATED = {
    "providers": "two, without a model; `next` is half as slow again as `stable`",
    "callers": "120 calls a second, made by the demonstration",
    "slack": "the webhook that took the cards",
    "windows": "of 1 s, with looks of 2 s; a gateway has 10 s and 60 s",
}


def main() -> int:
    """Run both; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("evidence/v0.3.5/adapt"))
    out: Path = parser.parse_args().out
    with tempfile.TemporaryDirectory(prefix="verismo-adapt-") as name:
        folder = Path(name)
        run(*VERISMO, *DEMO, "--data", str(folder / "demo"))
        run(*VERISMO, "audit", "--data", str(folder / "demo" / "var"))
        rollout = rollout_of(folder)
        # Nowhere near a verismo.toml, so that the spend is that of the samples' tenant.
        guard = (sys.executable, str(ROOT / BUDGET[0]), *BUDGET[1:])
        run(*guard, "--report", "budget.json", at=folder)
        report = json.loads((folder / "budget.json").read_bytes())
    out.mkdir(parents=True, exist_ok=True)
    write(out / "canary-decisions.json", rollout)
    command = " ".join(("python", *BUDGET, "--report", "budget-autotune-report.json"))
    write(out / "budget-autotune-report.json", {"made_by": command, **report})
    sys.stdout.write(f"evidence: {out}\n")
    return 0


def rollout_of(folder: Path) -> dict[str, object]:
    """Return the records of the demonstration's folder, and all that is needed to check them."""
    ring = folder / "keyring.json"
    run(*VERISMO, "keys", "ring", "-c", str(folder / "demo" / "verismo.toml"), "--out", str(ring))
    with closing(AdaptFile(folder / "demo" / "var" / "adapt.db", read_only=True)) as file:
        store = SqliteDecisions(file)
        rows = store.rows(0, ROWS_MAX)
        digests = sorted({one for row in rows for one in read_record(row.statement).named})
        kept = {digest: json.loads(store.blob(digest) or b"null") for digest in digests}
    newest = next(row for row in reversed(rows) if row.rule == "canary")
    return {
        "format": "verismo.canary-decisions.v1",
        "made_by": " ".join(("verismo", *DEMO)),
        "real": "the gateway, its workers' windows, the controllers, records and signatures",
        "simulated": SIMULATED,
        "score": kept[read_record(newest.statement).settings],
        "records": [record_of(row, kept) for row in rows],
        "kept": kept,
        "keyring": json.loads(ring.read_bytes()),
    }


def record_of(row: DecisionRow, kept: dict[str, object]) -> dict[str, object]:
    """Return a record for readers; what is signed is the canonical JSON of `statement`."""
    statement = read_record(row.statement)
    found = kept.get(statement.decision)
    decision = found if isinstance(found, dict) else {}
    said = {name: decision[name] for name in ("reasons", "action", "metrics") if name in decision}
    return {
        "n": row.n,
        "rule": row.rule,
        "subject": json.loads(row.subject),
        "verdict": row.verdict,
        "written_ms": row.written_ms,
        **said,
        "statement": json.loads(row.statement),
        "jws": row.jws.decode("ascii"),
    }


def write(path: Path, document: dict[str, object]) -> None:
    """Write a document with one record, and one piece of kept bytes, on each line."""
    members = [f"{compact(name)}: {spread(value)}" for name, value in document.items()]
    path.write_text("{\n" + ",\n".join(members) + "\n}\n", encoding="utf-8")


def spread(value: object) -> str:
    """Return JSON with the members of an object or array on lines of their own."""
    if isinstance(value, dict):
        return "{\n" + ",\n".join(f" {compact(k)}: {compact(v)}" for k, v in value.items()) + "\n}"
    if isinstance(value, list):
        return "[\n" + ",\n".join(f" {compact(one)}" for one in value) + "\n]"
    return compact(value)


def compact(value: object) -> str:
    """Return canonical JSON: sorted, without spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def run(*command: str, at: Path | None = None) -> None:
    """Run a command to its end; what it says is shown only if it fails."""
    done = subprocess.run(command, cwd=at, capture_output=True, text=True, timeout=RUN_S_MAX)
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
        raise SystemExit(f"error: {' '.join(command[1:4])} ended with {done.returncode}")


if __name__ == "__main__":
    sys.exit(main())
