"""The evidence of the controllers: everything in it is checked from its own bytes."""

import json
import re
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from verismo.adapt.budgetreport import DEFINITIONS, MILLION, Report
from verismo.attest.keyring import check_history, read_keyring
from verismo.control.decisionaudit import AuditDesk, DecisionAudit
from verismo.control.rules import RULES
from verismo.model import canonical
from verismo.ports.decisions import DecisionRow

EVIDENCE = Path(__file__).parents[2] / "evidence"
ADAPT = EVIDENCE / "v0.3.5" / "adapt"
DECISIONS = ADAPT / "canary-decisions.json"
# A private JWK's member, PEM, and the forms in which Verismo gives keys and webhooks out.
SECRET = re.compile(r'"d":|PRIVATE KEY|hooks\.slack\.com|\bv[ka]_[a-z0-9]+_\w{16,}|Bearer \w')


class Archive:
    """The records of the file, as an audit reads them."""

    def __init__(self, document):
        self.records = [
            DecisionRow(
                n=one["n"],
                rule=one["rule"],
                subject=text(one["subject"]),
                verdict=one["verdict"],
                statement=canonical.encode(one["statement"]),
                jws=one["jws"].encode("ascii"),
                written_ms=one["written_ms"],
            )
            for one in document["records"]
        ]
        self.kept = {digest: canonical.encode(one) for digest, one in document["kept"].items()}

    def rows(self, after, limit):
        return [row for row in self.records if row.n > after][:limit]

    def newest(self, rules, subject):
        found = [row for row in self.records if row.rule in rules and row.subject == subject]
        return found[-1] if found else None

    def subjects(self, rules):
        return sorted({row.subject for row in self.records if row.rule in rules})

    def first_since(self, since_ms):
        return next((row.n for row in self.records if row.written_ms >= since_ms), 0)

    def last(self):
        return self.records[-1].n

    def blob(self, digest):
        return self.kept.get(digest)

    def named(self, n):
        row = next(row for row in self.records if row.n == n)
        statement = json.loads(row.statement)
        wanted = (statement.get(one) for one in ("before", "inputs", "settings", "decision"))
        return frozenset(one for one in wanted if one)

    def named_last(self):
        return max(row.n for row in self.records if self.named(row.n))


def text(value):
    """Return the canonical JSON of a value as text."""
    return canonical.encode(value).decode("ascii")


@pytest.fixture
def document():
    return json.loads(DECISIONS.read_bytes())


def audited(document):
    """Audit what the file holds; returns what was looked at and what is wrong."""
    history = read_keyring(json.dumps(document["keyring"]).encode())
    check_history(None, history)
    archive = Archive(document)
    desk = AuditDesk(archive, history[-1].ring.keys, RULES, now_ms=archive.records[-1].written_ms)
    audit = DecisionAudit(desk)
    found = [fault for _, faults in audit.walk() for fault in faults]
    return audit.counts, [(fault.n, fault.kind) for fault in found]


def test_every_signature_verifies_and_every_decision_comes_out_of_its_own_bytes(document):
    counts, faults = audited(document)
    assert faults == []
    assert (
        counts.records
        == len(document["records"])
        == counts.decisions + len([one for one in document["records"] if one["rule"] == "outcome"])
    )
    assert counts.computed == counts.decisions > 0
    assert counts.needed == {}


@pytest.mark.parametrize(
    ("alter", "kind"),
    [
        (lambda one, kept: one["statement"].update(verdict="PROMOTE"), "seal"),
        (lambda one, kept: one.update(verdict="PROMOTE"), "row"),
        (lambda one, kept: one.update(jws=one["jws"][:-4] + "AAAA"), "seal"),
        (lambda one, kept: kept[one["statement"]["inputs"]]["candidate"].update(errors=1), "bytes"),
    ],
    ids=["verdict", "listing", "signature", "window"],
)
def test_an_altered_record_is_named(document, alter, kind):
    held = next(one for one in document["records"] if one["verdict"] == "HOLD")
    alter(held, document["kept"])
    _, faults = audited(document)
    assert (held["n"], kind) in faults


def test_a_record_that_was_taken_out_is_missed(document):
    del document["records"][3]
    _, faults = audited(document)
    assert (4, "missing") in faults


def test_what_is_listed_for_readers_is_what_was_signed(document):
    for one in document["records"]:
        statement = one["statement"]
        assert one["subject"] == statement["subject"]
        if statement["kind"] == "decision":
            decision = document["kept"][statement["decision"]]
            assert {name: one[name] for name in ("reasons", "action", "metrics")} == {
                name: decision[name] for name in ("reasons", "action", "metrics")
            }


def test_the_rollout_was_held_then_rolled_back_and_its_score_has_the_stated_parameters(document):
    canary = [one for one in document["records"] if one["rule"] == "canary"]
    assert Counter(one["verdict"] for one in canary)["HOLD"] >= 1
    assert canary[-1]["verdict"] == "ROLLBACK"
    settings = {one["statement"]["settings"] for one in canary}
    assert settings == {canonical.digest(canonical.encode(document["score"]))}
    assert sum(document["score"]["weights"].values()) == MILLION


def test_what_was_simulated_is_named(document):
    assert document["simulated"].keys() == {"providers", "callers", "slack", "windows"}
    assert document["made_by"].startswith("verismo demo --scenario regression --once")


def test_the_budget_report_has_the_format_and_says_that_its_spend_is_generated():
    file = json.loads((ADAPT / "budget-autotune-report.json").read_bytes())
    command = file.pop("made_by")
    assert "budgets_v2.py --simulate --tenant TENANT_001 --window 120 --report" in command
    assert file.keys() == set(Report.__struct_fields__)
    report = msgspec.convert(file, Report)
    assert (report.tenant, report.window_s) == ("TENANT_001", 120)
    assert report.data.kind == "generated"
    assert report.data.detail.startswith("made up by ")
    assert report.definitions == DEFINITIONS


def test_the_totals_of_the_budget_report_are_those_of_its_routes():
    file = json.loads((ADAPT / "budget-autotune-report.json").read_bytes())
    routes = file["routes"]
    assert file["throttle_events"] == sum(len(route["throttle_events"]) for route in routes)
    shares = [route["hours_throttled"] * MILLION // route["hours"] for route in routes]
    assert file["false_positive_mean_ppm"] == sum(shares) // len(shares)
    planted = [breach for route in routes for breach in route["breaches"]]
    for result in file["breaches"]:
        own = [one for one in planted if one["multiple"] == result["multiple"]]
        caught = [one["throttled_ms"] for one in own if one["throttled_ms"] is not None]
        assert result["planted"] == len(own)
        assert result["throttled_within_window"] == sum(
            at_ms <= file["window_s"] * 1_000 for at_ms in caught
        )


@pytest.mark.parametrize(
    "path",
    [path for path in EVIDENCE.rglob("*") if path.is_file()],
    ids=lambda path: str(path.relative_to(EVIDENCE)),
)
def test_no_evidence_holds_a_private_key_or_another_secret(path):
    assert path.suffix not in {".key", ".pem", ".url", ".db"}
    assert SECRET.findall(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "words",
    [
        '{"kty":"OKP","d":"AAAA"}',
        "-----BEGIN PRIVATE KEY-----",
        "https://hooks.slack.com/x",
        "va_suzxstpd3u_" + "0" * 32,
    ],
)
def test_a_secret_is_seen(words):
    assert SECRET.search(words)
