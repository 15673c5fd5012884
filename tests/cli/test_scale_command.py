"""`verismo scale`: what was decided, the manifest, and the proof of the gap from event logs."""

import json

import jsonschema
import msgspec
import pytest
import yaml
from click.testing import CliRunner
from tests.adapt.test_hpamanifest import MANIFEST

from verismo.adapt.demand import ScalingObservation
from verismo.adapt.scaling import decide, start
from verismo.adapters.adapt_file import FILE_NAME, AdaptFile
from verismo.adapters.decisions_sqlite import SqliteDecisions
from verismo.attest.controlrecord import NO_RECORD, ControlRecord
from verismo.cli.scale import scale
from verismo.config.load import load_config
from verismo.model import canonical
from verismo.model.decision import decision_digest, encode_decision
from verismo.model.errors import OperatorError
from verismo.ports.decisions import DecisionRow
from verismo.simulate.cluster import Cluster

T0 = 1_790_000_000_000
CONFIG = """\
[tenants]
[providers.up]
kind = "openai"
base_url = "http://127.0.0.1:9/v1"
[deployments.chat]
provider = "up"
model = "m"
region = "eu"
[deployments.other]
provider = "up"
model = "m"
region = "eu"
[scaling.reader]
deployment = "chat"
target = "prod/reader"
slots = 16
replicas_min = 2
replicas_max = 40
late_ms = 2000
[scaling.strict]
deployment = "other"
target = "prod/strict"
mode = "strict"
slots = 1
replicas_min = 2
replicas_max = 4
late_ms = 2000
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "verismo.toml").write_text(CONFIG)
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "main.rego").write_text("package verismo\n")
    return tmp_path


@pytest.fixture
def run(folder):
    def run(*arguments, **options):
        words = [*arguments]
        if arguments[0] in ("show", "manifest"):
            words += ["-c", str(folder / "verismo.toml")]
        return CliRunner().invoke(scale, words, **options)

    return run


def record(folder, decision, seen=None):
    """Keep a decision as the control process does, without its signature."""
    (folder / "var").mkdir(exist_ok=True)
    file = AdaptFile(folder / "var" / FILE_NAME)
    token = file.acquire("test", T0, 5_000)
    digest = decision_digest(decision)
    empty, inputs = canonical.digest(b"{}"), canonical.encode(seen)
    record = ControlRecord(
        *(1, "verismo", T0, 1, NO_RECORD, "decision", "scaling", decision.version),
        subject=decision.subject,
        verdict=decision.verdict,
        before=empty,
        inputs=canonical.digest(inputs),
        settings=empty,
        decision=digest,
    )
    subject = canonical.encode(decision.subject).decode()
    row = DecisionRow(1, "scaling", subject, decision.verdict, canonical.encode(record), b"jws", T0)
    blobs = {digest: encode_decision(decision), empty: b"{}", record.inputs: inputs}
    SqliteDecisions(file).append(token, row, blobs)
    file.close()


def decided(folder, seen, **state):
    settings = load_config(folder / "verismo.toml", {}).scaling[0].settings
    before = msgspec.structs.replace(start(settings), **state)
    return decide(before, seen, settings, T0 + 10_000)


def test_show_says_what_was_decided_and_what_was_not(folder, run):
    record(folder, decided(folder, ScalingObservation(T0, T0 + 10_000, 40_000, 0, 5, 0, 3)))
    found = json.loads(run("show", "--json").stdout)
    assert [one["target"] for one in found] == ["reader", "strict"]
    assert (found[0]["verdict"], found[0]["replicas"], found[0]["desired"]) == ("NOOP", 3, 3)
    assert found[0]["reasons"] == ["gap_open_ms=125000", "wish_above_band=4"], "codes for scripts"
    assert found[1]["verdict"] is None
    lines = run("show").stdout.splitlines()
    assert lines[0].split()[-4:] == ["REPLICAS", "GAP", "LEFT", "AT"]
    assert lines[1].split()[:7] == ["reader", "prod/reader", "gauge", "stay", "3", "125", "s"]
    assert "undecided" in lines[2]
    assert lines[3:] == [
        "reader: 125 s of the gap since the last action are left; the load asks for 4 replicas",
        "strict: nothing was decided yet; the control process of `verismo serve` does it",
    ]


@pytest.mark.parametrize(
    ("seen", "shown", "why"),
    [
        (None, "stay: no data", "there is no sample of the load; the replicas stay as they are"),
        (
            ScalingObservation(T0, T0 + 10_000, 400_000, 0, 5, 0, 1),
            "scale up 1 -> 2",
            "the replicas are outside of the configured bounds",
        ),
    ],
)
def test_show_gives_people_words_and_no_codes(folder, run, seen, shown, why):
    made = decided(folder, seen, wait_ms=0)
    record(folder, made)
    told = run("show").stdout
    assert f"reader: {why}\n" in told
    assert shown in " ".join(told.split())
    for code in (made.verdict, *made.reasons):
        assert code not in told


def test_show_names_the_numbers_that_are_missing(folder, run):
    seen = ScalingObservation(T0, T0 + 10_000, 40_000, None, 5, 0, None)
    record(folder, decided(folder, seen), seen)
    assert json.loads(run("show", "--json").stdout)[0]["missing"] == ["queued_milli", "replicas"]
    told = run("show").stdout
    assert (
        "reader: a number of the sample is missing; the replicas stay as they are; "
        "missing: requests in the queue, replicas\n"
    ) in told


def test_show_without_targets_says_where_they_are_written(folder, run):
    text = CONFIG.partition("[scaling.reader]")[0]
    (folder / "verismo.toml").write_text(text)
    assert "[scaling.NAME]" in run("show").stdout


def test_manifest_is_the_hpa_of_the_metric(run):
    done = run("manifest", "reader")
    found = yaml.safe_load(done.stdout)
    jsonschema.validate(found, MANIFEST)
    metric = found["spec"]["metrics"][0]["external"]["metric"]
    assert metric["name"] == "verismo_desired_replicas"
    assert metric["selector"] == {"matchLabels": {"target": "reader"}}


@pytest.mark.parametrize(("name", "said"), [("strict", "is strict"), ("nobody", "reader, strict")])
def test_manifest_is_refused_where_no_hpa_may_be(run, name, said):
    done = run("manifest", name)
    assert isinstance(done.exception, OperatorError)
    assert said in done.exception.detail


def events(*steps):
    """Return the log of a simulated cluster, `(seconds passed, replicas)` each."""
    at = [1_790_000_000.0]
    cluster = Cluster("t", lambda: at[0])
    cluster.deploy("prod", "reader", 3)
    for passed_s, replicas in steps:
        at[0] += passed_s
        body = json.dumps({"spec": {"replicas": replicas}}).encode()
        cluster.patch("prod", "reader", body)
    return json.dumps(cluster.events(None))


@pytest.mark.parametrize(
    ("steps", "code", "said"),
    [
        (((0, 5), (125, 4), (200, 6)), 0, "kept: 3 changes of 1 targets, gap 120 s"),
        (((0, 5), (60, 4)), 1, "breach: prod/Deployment/reader/reader-5d9c7b6f4: from 3 to 5"),
        (((0, 5), (120, 4)), 1, "whole seconds do not tell"),
        ((), 1, "no_actions"),
    ],
)
def test_a_log_proves_the_gap_or_says_what_speaks_against_it(run, steps, code, said):
    done = run("verify-events", "-", input=events(*steps))
    assert done.exit_code == code, done.output
    assert said in done.stdout


def test_changes_of_two_replica_sets_are_no_proof_and_both_are_named(run):
    log = json.loads(events((0, 5), (60, 7)))
    one = log["items"][-1]
    one["message"] = one["message"].replace("5d9c7b6f4", "6f")
    done = run("verify-events", "-", input=json.dumps(log))
    assert done.exit_code == 1
    assert "unproven: 2 changes of 1 targets" in done.stdout
    assert "rolling_update: prod/Deployment/reader/reader-5d9c7b6f4: from 3 to 5" in done.stdout
    assert "then prod/Deployment/reader/reader-6f from 5 to 7" in done.stdout


def test_the_proof_is_json_for_scripts(run, tmp_path):
    file = tmp_path / "events.json"
    file.write_text(events((0, 5), (60, 4)))
    done = run("verify-events", "--json", str(file))
    found = json.loads(done.stdout)
    assert (done.exit_code, found["verdict"]) == (1, "breached")
    assert found["findings"][0]["gap_us_max"] == 60_999_999
    assert run("verify-events", "--gap-s", "59", str(file)).exit_code == 0


def test_what_is_no_log_is_refused(run):
    done = run("verify-events", "-", input="kubectl: command not found")
    assert isinstance(done.exception, OperatorError)
    assert "kubectl get events" in done.exception.advice


def test_a_cluster_is_simulated_for_one_deployment(run):
    assert run("simulate-cluster", "--token", "t", "reader").exit_code == 2
