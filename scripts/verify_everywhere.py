"""Verifies the demonstration's answers in Python, Node and Chromium, and keeps the evidence.

    .venv/bin/python -m scripts.verify_everywhere [--out evidence/v0.3.5/attest]

The answers are one chat and one agent's run, as `verismo demo --once` gives them. Each is verified
by `verismo verify`, by `verify-js/cli.js` in Node and by the page `verify.html` opened from disk in
Chromium, all trusting the same key ring; verdicts and the outcome of each numbered check have to be
the same. Only then the evidence is written: `prov-dag.json` (the agent's signed graph), a detached
JWS and its statement for each answer in `signed-samples/`, and the public keys. It holds no content
and no secret. Node and Chromium have to be there: a verifier that is missing is an error.
"""

import argparse
import base64
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import sync_playwright
from scripts.browserprograms import chromium_path, node_path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "src" / "verismo" / "pages" / "verify.html"
NODE_COMMAND = ROOT / "verify-js" / "cli.js"
VERISMO = (sys.executable, "-m", "verismo")
LAUNCH_FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run"]
DEMO_S_MAX = 120
VERIFY_S_MAX = 60


@dataclass(frozen=True)
class Judgement:
    """What one verifier says of one answer.

    Args:
        verdict: such as VERIFIED.
        outcomes: of the checks, by number.
    """

    verdict: str
    outcomes: Mapping[int, str]

    def __str__(self) -> str:
        counts = [list(self.outcomes.values()).count(one) for one in ("pass", "skip", "fail")]
        return "{:<10} {:>2} passed, {} not made, {} failed".format(self.verdict, *counts)


def main() -> int:
    """Run it; returns the exit code: 0 all verified, 1 something is not, 2 a program is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("evidence/v0.3.5/attest"))
    out: Path = parser.parse_args().out
    node, chromium = node_path(), chromium_path()
    if node is None or chromium is None:
        missing = [name for name, path in (("node", node), ("chromium", chromium)) if path is None]
        sys.stderr.write(
            f"error: not installed: {', '.join(missing)}\n"
            "next:  `make test` brings Node; Debian: apt-get install chromium\n"
        )
        return 2
    with tempfile.TemporaryDirectory(prefix="verismo-everywhere-") as name:
        folder = Path(name)
        answers, ring = answer(folder)
        # Every one, whatever the first says.
        said = [judge(saved, ring, node, chromium) for saved in answers]
        if not all(said):
            sys.stderr.write("error: not verified everywhere; no evidence is written\n")
            return 1
        keep(out, answers, ring, folder)
    sys.stdout.write(f"evidence: {out}\n")
    return 0


def answer(folder: Path) -> tuple[list[Path], Path]:
    """Run the demonstration; returns the saved answers and the key ring."""
    data, saved, ring = folder / "demo", folder / "chat.json", folder / "keyring.json"
    run(*VERISMO, "demo", "--once", "--port", "0", "--data", str(data), "--save", str(saved))
    settings = ("-c", str(data / "verismo.toml"))
    run(*VERISMO, "keys", "ring", *settings, "--out", str(ring))
    run(*VERISMO, "keys", "jwks", *settings, "--out", str(folder / "jwks.json"))
    return [saved, saved.with_stem("chat-agent")], ring


def judge(saved: Path, ring: Path, node: str, chromium: str) -> bool:
    """Verify an answer three times, print what was said; returns whether all say VERIFIED."""
    said = {
        "Python": by_command((*VERISMO, "verify"), saved, ring),
        "Node": by_command((node, str(NODE_COMMAND)), saved, ring),
        "Chromium": by_page(saved, ring, chromium),
    }
    sys.stdout.write(f"{saved.stem}\n")
    for name, judgement in said.items():
        sys.stdout.write(f"  {name:<9} {judgement}\n")
    first = said["Python"]
    return first.verdict == "VERIFIED" and all(one == first for one in said.values())


def by_command(command: Sequence[str], saved: Path, ring: Path) -> Judgement:
    """Ask a command that prints the report as JSON."""
    options = ("--keyring", str(ring), "--json")
    done = subprocess.run(
        [*command, str(saved), *options], capture_output=True, text=True, timeout=VERIFY_S_MAX
    )
    report = json.loads(done.stdout)[0] if done.stdout.startswith("[") else json.loads(done.stdout)
    checks = {check["number"]: check["outcome"] for check in report["checks"]}
    return Judgement(report["verdict"], checks)


def by_page(saved: Path, ring: Path, chromium: str) -> Judgement:
    """Give the files to the page, opened from disk."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=LAUNCH_FLAGS)
        page = browser.new_page()
        page.goto(PAGE.as_uri())
        page.set_input_files("#files", [str(saved), str(ring)])
        card = page.locator(".verdict")
        card.wait_for()
        rows = page.locator("[data-check]").evaluate_all(
            "rows => rows.map((row) => [Number(row.dataset.check), row.dataset.outcome])"
        )
        verdict = str(card.get_attribute("data-verdict"))
        browser.close()
    return Judgement(verdict, dict(rows))


def keep(out: Path, answers: Sequence[Path], ring: Path, folder: Path) -> None:
    """Write the evidence: signatures, statements, the agent's graph and the public keys."""
    samples = out / "signed-samples"
    shutil.rmtree(samples, ignore_errors=True)
    samples.mkdir(parents=True)
    for saved in answers:
        exchange = json.loads(saved.read_bytes())
        headers = {name.lower(): value for name, value in exchange["response"]["headers"]}
        statement = base64.b64decode(headers["attest-statement"].strip(":"))
        (samples / f"{saved.stem}.jws").write_text(headers["attest-signature"] + "\n")
        (samples / f"{saved.stem}.statement.json").write_bytes(statement)
        record = {
            "prov_id": headers["attest-prov-id"],
            "statement": base64.urlsafe_b64encode(statement).decode().rstrip("="),
            "signature": headers["attest-signature"],
            "graph": json.loads(exchange["graph"]),
        }
    # The last answer is the agent's.
    (out / "prov-dag.json").write_text(json.dumps(record, separators=(",", ":")) + "\n")
    shutil.copy(ring, out / "keyring.json")
    shutil.copy(folder / "jwks.json", out / "jwks.json")


def run(*command: str) -> None:
    """Run a command to its end; what it says is shown only if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEMO_S_MAX)
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
        raise SystemExit(f"error: {' '.join(command[2:4])} ended with {done.returncode}")


if __name__ == "__main__":
    sys.exit(main())
