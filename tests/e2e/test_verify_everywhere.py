"""The demonstration's answers, the agent's too, verified in Python, Node and Chromium in one go."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.verifyjs import needs_node

from verismo.attest.headers import ProofHeaders
from verismo.attest.keyentry import public_key
from verismo.attest.provenance import read_graph
from verismo.attest.report import Expectation
from verismo.attest.statement import read_statement
from verismo.attest.verify import Verifier
from verismo.attest.verify_ledger import trusted_ring
from verismo.model import base64url, canonical

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "evidence" / "v0.3.5" / "attest"


def verifier_of(folder):
    """Trust the ring that lies beside; `jwks.json` is rewritten by whoever rotates keys."""
    ring, _ = trusted_ring((folder / "keyring.json").read_bytes(), None)
    return Verifier({entry.kid: public_key(entry) for entry in ring.ring.keys})


def judged(verifier, statement, signature, graph=None):
    """Verify a statement and its signature without the bodies, which evidence does not hold."""
    proof = ProofHeaders(prov_id="", salt=b"", statement=statement, jws=signature)
    return verifier.answer(proof, None, None, Expectation(), graph)


def evidence_holds(folder):
    """Assert that the evidence in a folder proves what it says; returns how many samples it has."""
    verifier = verifier_of(folder)
    samples = sorted((folder / "signed-samples").glob("*.jws"))
    for sample in samples:
        statement = sample.with_suffix(".statement.json").read_bytes()
        proof = ProofHeaders(
            prov_id="", salt=b"", statement=statement, jws=sample.read_text().strip()
        )
        report = verifier.answer(proof, None, None, Expectation())
        assert report.verdict == "VERIFIED", sample.name
    record = json.loads((folder / "prov-dag.json").read_bytes())
    statement = base64url.decode(record["statement"])
    graph = canonical.encode(record["graph"])
    report = judged(verifier, statement, record["signature"], graph)
    assert report.verdict == "VERIFIED"
    assert {check.number: check.outcome for check in report.checks}[13] == "pass"
    kinds = [node.kind for node in read_graph(graph)[0].nodes]
    assert {"policy", "retrieval", "source", "tool", "model"} <= set(kinds)
    assert read_statement(statement).dag.nodes == len(kinds)
    return len(samples)


def test_the_evidence_in_the_repository_proves_what_it_says():
    assert evidence_holds(KEPT) == 2


def test_no_private_key_and_no_content_lies_in_the_evidence():
    files = [path for path in KEPT.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {
        *("jwks.json", "keyring.json", "prov-dag.json"),
        *("chat.jws", "chat.statement.json", "chat-agent.jws", "chat-agent.statement.json"),
    }
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert '"d":' not in text
        assert "PRIVATE" not in text
        assert "messages" not in text


def test_a_sample_with_another_statement_is_not_believed():
    sample, other = KEPT / "signed-samples" / "chat.jws", KEPT / "signed-samples" / "chat-agent.jws"
    statement = other.with_suffix(".statement.json").read_bytes()
    signature = sample.read_text(encoding="utf-8").strip()
    assert judged(verifier_of(KEPT), statement, signature).verdict == "INVALID"


@pytest.mark.slow
@pytest.mark.timeout(170)
@needs_node
@pytest.mark.external("chromium")
def test_one_command_verifies_the_agents_answer_in_three_verifiers(tmp_path):
    command = [sys.executable, "-m", "scripts.verify_everywhere", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=160)
    assert done.returncode == 0, done.stdout + done.stderr
    said = [line.split()[:2] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert said == [[name, "VERIFIED"] for name in ("Python", "Node", "Chromium")] * 2
    assert evidence_holds(tmp_path / "out") == 2
