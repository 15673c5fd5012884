"""Every leaf gives one event of the published schema, and always the same bytes."""

import hashlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET
from tests.attest.ocsf_schema import Schema
from tests.support import siem

from verismo.attest import ocsf
from verismo.attest.controlrecord import ControlRecord
from verismo.attest.keyring import KeyEntry, KeyRing
from verismo.attest.statement import StatedPolicy, StatedRequest
from verismo.model import canonical
from verismo.model.decision import Subject
from verismo.model.steering import Rollout, Steering


def event_of(record, index=7, kind=0):
    return json.loads(ocsf.siem_event(siem.logged(record, index, kind)).data)


def refused(http_status, decision="allow", **attrs):
    return siem.answer(siem.refused(1, http_status, decision), siem.graph(1, **attrs))


def cut(code):
    return siem.answer(siem.cut_stream(1), siem.graph(1, end=code, status=200))


RECORDS = {
    "answer": siem.answer(siem.stated(1), siem.graph(1, status=200)),
    "refusal": refused(403, "deny", code="policy_refused", status=403),
    "provider error": refused(504, code="upstream_timeout", status=504),
    "cut stream": cut("upstream_broken"),
    "client gone": cut("client_gone"),
    "void": siem.gap(siem.void(9, 4, 6)),
    "listing": siem.answer(
        siem.stated(1, req=StatedRequest("GET", "/v1/models", "a" * 64, 0), model=UNSET)
    ),
    "graphql": siem.answer(
        siem.stated(1, req=StatedRequest("POST", "/graphql", "a" * 64, 9, doc="sha256:" + "f" * 64))
    ),
    "unreadable": msgspec.structs.replace(siem.answer(siem.stated(1)), statement=b"{}"),
}


@pytest.fixture(scope="module")
def schema(published):
    return Schema(published / "ocsf-schema")


@pytest.mark.parametrize("name", RECORDS)
def test_every_event_is_valid_by_the_published_schema(schema, name):
    assert schema.problems(event_of(RECORDS[name])) == []


DECISION = ControlRecord(
    *(1, "https://gateway.example", siem.START_MS, 7, "0" * 64, "decision", "budget", 1),
    subject=Subject(tenant="TENANT_001", operation="support.answer"),
    verdict="NOOP",
    **dict.fromkeys(("before", "inputs", "settings", "decision"), "a" * 64),
    steering=3,
)
OUTCOME = ControlRecord(
    *(1, "https://gateway.example", siem.START_MS, 8, "b" * 64, "outcome", "scaling", 1),
    subject=Subject(target="chat"),
    of="a" * 64,
    result="the cluster took 3",
)
STEERING = Steering(
    *(1, 2, "b" * 64, "https://gateway.example", siem.START_MS),
    rollouts=(Rollout("support.answer", "", "small", "large", 50_000),),
)


def signed(document):
    """Return a leaf of the control plane with its record."""
    kind = 4 if isinstance(document, Steering) else 2
    leaf = msgspec.structs.replace(siem.logged(RECORDS["void"], 12, kind), prov_id="")
    return msgspec.structs.replace(leaf, statement=canonical.encode(document))


def sent(logged):
    return json.loads(ocsf.siem_event(logged).data)


def test_decision_tells_who_decided_what_about_what(schema):
    event = sent(signed(DECISION))
    assert schema.problems(event) == []
    assert event["metadata"]["uid"] == f"{siem.LOG}#12"
    assert "tenant_uid" not in event["metadata"]
    assert event["unmapped"]["control"] == {
        "number": 7,
        "kind": "decision",
        "controller": "budget",
        "action": "NOOP",
        "subject": {"operation": "support.answer"},
        "steering": 3,
    }
    assert event["message"] == "Decision 7: budget NOOP support.answer"
    assert (event["api"]["operation"], event["actor"]["app_uid"]) == ("budget NOOP", "budget")
    assert (event["time"], event["activity_name"]) == (siem.START_MS, "Decide")
    assert (event["status"], event["severity"]) == ("Success", "Informational")
    assert "TENANT_001" not in json.dumps(event)


@pytest.mark.parametrize(
    ("verdict", "severity"), [("THROTTLE", "Low"), ("ROLLBACK", "Medium"), ("PROMOTE", None)]
)
def test_decision_that_takes_something_away_is_more_than_informational(verdict, severity):
    event = sent(signed(msgspec.structs.replace(DECISION, verdict=verdict, of="d" * 64)))
    assert event["severity"] == (severity or "Informational")
    assert event["unmapped"]["control"]["overrides"] == "d" * 64


@pytest.mark.parametrize(("rule", "status"), [("scaling", "Unknown"), ("steering", "Success")])
def test_outcome_tells_what_came_of_a_decision(schema, rule, status):
    event = sent(signed(msgspec.structs.replace(OUTCOME, rule=rule)))
    assert schema.problems(event) == []
    assert event["message"] == f"Outcome 8: {rule} the cluster took 3 chat"
    assert event["unmapped"]["control"]["subject"] == {"target": "chat"}
    assert "overrides" not in event["unmapped"]["control"]
    assert (event["activity_name"], event["status"]) == ("Act", status)


@pytest.mark.parametrize(("version", "activity"), [(1, "Create"), (2, "Update")])
def test_steering_tells_how_much_it_changes(schema, version, activity):
    event = sent(signed(msgspec.structs.replace(STEERING, version=version)))
    assert schema.problems(event) == []
    assert event["message"] == f"Steering version {version}: 1 rollouts, 0 throttles."
    assert event["unmapped"]["steered"]["rollouts"] == 1
    assert (event["activity_name"], event["time"]) == (activity, siem.START_MS)
    assert event["metadata"]["event_code"] == "plan"


@pytest.mark.parametrize("document", [DECISION, STEERING])
def test_control_record_of_another_version_is_not_guessed_at(document):
    event = sent(signed(msgspec.structs.replace(document, v=2)))
    assert "format 2" in event["status_detail"]
    assert (event["status"], event["severity"]) == ("Unknown", "High")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda e: e.pop("time"), "event.time is required"),
        (lambda e: e.pop("src_endpoint"), "event.src_endpoint is required"),
        (lambda e: e.update(activity_id=7), "activity_id is none of the enum"),
        (lambda e: e.update(status="Failed"), "status is not the caption of status_id"),
        (lambda e: e.update(time="now"), "event.time is not an integer"),
        (lambda e: e.update(prompt="text"), "event.prompt is not an attribute"),
        (lambda e: e["ai_model"].pop("ai_provider"), "event.ai_model.ai_provider is required"),
        (lambda e: e["message_context"].update(ai_role_id=8), "ai_role_id is none of the enum"),
        (lambda e: e["metadata"].update(profiles=["osint", "x"]), "a profile that this class"),
        (lambda e: e["attestation_list"][0].pop("fingerprint"), "needs one of"),
        (lambda e: e["actor"].clear(), "event.actor needs one of"),
    ],
)
def test_the_validator_sees_what_is_wrong(schema, change, problem):
    event = event_of(RECORDS["answer"])
    change(event)
    assert any(problem in found for found in schema.problems(event))


def test_uid_and_sequence_are_prov_id_and_leaf_index():
    sent = ocsf.siem_event(siem.logged(RECORDS["answer"], 41))
    metadata = json.loads(sent.data)["metadata"]
    assert (metadata["uid"], metadata["sequence"]) == (siem.prov_id(1), 41)
    assert (sent.uid, sent.index) == (siem.prov_id(1), 41)
    assert metadata["log_name"] == siem.LOG
    assert metadata["profiles"] == ["ai_operation", "record_integrity"]


@pytest.mark.parametrize("name", RECORDS)
def test_same_record_gives_the_same_canonical_line(name):
    once, again = (ocsf.siem_event(siem.logged(RECORDS[name], 3)).data for _ in range(2))
    assert once == again
    assert canonical.encode(json.loads(once)) == once
    assert b"\n" not in once


@pytest.mark.parametrize("name", RECORDS)
def test_fingerprint_is_over_the_event_without_it(name):
    event = event_of(RECORDS[name])
    claimed = event["attestation_list"][0].pop("fingerprint")
    assert claimed["value"] == hashlib.sha256(canonical.encode(event)).hexdigest()
    assert claimed["algorithm_id"] == 3


def test_event_names_the_statement_by_its_hash_and_carries_its_signature():
    record = RECORDS["answer"]
    event = event_of(record)
    assert event["raw_data_hash"]["value"] == hashlib.sha256(record.statement).hexdigest()
    assert event["raw_data_size"] == len(record.statement)
    assert event["unmapped"]["signature"] == record.jws.decode()


def test_model_and_tokens_are_in_the_ai_profile():
    event = event_of(RECORDS["answer"])
    assert event["ai_model"] == {"ai_provider": "openai", "name": "gpt-4o-mini"}
    context = event["message_context"]
    assert (context["prompt_tokens"], context["completion_tokens"]) == (12, 34)
    assert context["total_tokens"] == 46


def test_tenant_is_known_by_its_handle_alone():
    text = ocsf.siem_event(siem.logged(RECORDS["answer"], 1)).data
    event = json.loads(text)
    assert event["actor"]["user"]["uid"] == event["metadata"]["tenant_uid"] == "tn_4ZQ2"
    assert b"TENANT_001" not in text


def test_no_member_can_hold_a_prompt_an_answer_or_a_salt():
    names = {
        name
        for kind in vars(ocsf.shape).values()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
        for name in kind.__struct_fields__
    }
    assert not names & {"prompt_text", "response_text", "raw_data", "args", "data", "salt", "query"}


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (RECORDS["answer"], ("Success", "Informational", "200")),
        (RECORDS["refusal"], ("Failure", "Medium", "policy_refused")),
        (RECORDS["provider error"], ("Failure", "Medium", "upstream_timeout")),
        (RECORDS["cut stream"], ("Failure", "Medium", "upstream_broken")),
        (RECORDS["client gone"], ("Failure", "Low", "client_gone")),
        (cut("gateway_lost"), ("Failure", "High", "gateway_lost")),
        (refused(429, code="rate_limited"), ("Failure", "Low", "rate_limited")),
        (refused(404, "none", code="operation_unregistered"), ("Failure", "Low", None)),
        (refused(499, end="client_gone"), ("Failure", "Low", "client_gone")),
        (siem.answer(siem.refused(1, 503, "none")), ("Failure", "Medium", "503")),
        (siem.answer(siem.refused(1, 400, "none")), ("Failure", "Low", "400")),
        (siem.answer(siem.refused(1, 403, "deny")), ("Failure", "Medium", "403")),
        (siem.answer(siem.cut_stream(1)), ("Failure", "Medium", "200")),
        (siem.answer(siem.stated(1), siem.graph(1, end="complete")), ("Success", None, "200")),
    ],
)
def test_outcome_is_mapped_to_status_and_severity(record, expected):
    event = event_of(record)
    found = (event["status"], event["severity"], event["status_code"])
    assert [(f, e) for f, e in zip(found, expected, strict=True) if e not in (None, f)] == []


@pytest.mark.parametrize(
    ("method", "path", "activity"),
    [
        ("POST", "/v1/chat/completions", (1, "Create")),
        ("GET", "/v1/models", (2, "Read")),
        ("PUT", "/http/x", (3, "Update")),
        ("DELETE", "/http/x", (4, "Delete")),
        ("POST", "/graphql", (99, "Execute")),
        ("GET", "/graphql", (99, "Execute")),
        ("PURGE", "/http/x", (99, "Execute")),
    ],
)
def test_method_is_mapped_to_the_activity(method, path, activity):
    request = StatedRequest(method, path, "a" * 64, 1)
    event = event_of(siem.answer(siem.stated(1, req=request)))
    assert (event["activity_id"], event["activity_name"]) == activity


def test_void_says_which_numbers_are_missing():
    event = event_of(RECORDS["void"])
    assert event["unmapped"]["gap"] == {"first": 4, "last": 6}
    assert (event["status"], event["severity"]) == ("Failure", "High")
    assert event["metadata"]["event_code"] == "void"


@pytest.mark.parametrize(
    "statement",
    [b"", b"{}", b"[" * 3_000, b'{"a":' * 3_000, b"\xff", canonical.encode(siem.void(1, 1, 1))],
)
@pytest.mark.parametrize("kind", [1, 2, 4, 5])
def test_record_that_cannot_be_read_still_gives_its_event(statement, kind):
    record = msgspec.structs.replace(siem.answer(siem.stated(1)), statement=statement)
    event = event_of(record, 5, kind)
    assert event["metadata"]["sequence"] == 5
    if kind != 5 or statement != canonical.encode(siem.void(1, 1, 1)):
        assert (event["status"], event["severity"]) == ("Unknown", "High")


def test_void_of_another_version_is_not_guessed_at():
    later = msgspec.structs.replace(siem.void(1, 1, 1), v=2)
    assert "version 2" in event_of(siem.gap(later))["status_detail"]


@pytest.mark.parametrize(("version", "activity"), [(1, "Create"), (2, "Update")])
def test_key_ring_versions_are_events_too(schema, version, activity):
    key = KeyEntry("k", "x", "Ed25519", "token", 1, 1, 0, 0, 5, "stolen", "")
    ring = KeyRing(v=1, version=version, prev="0" * 64, iat=siem.START_MS, keys=(key,))
    record = msgspec.structs.replace(
        RECORDS["void"], prov_id="", statement=canonical.encode(ring), graph=b""
    )
    event = event_of(record, 2, 3)
    assert schema.problems(event) == []
    assert (event["activity_name"], event["time"]) == (activity, siem.START_MS)
    assert event["message"] == f"Key ring version {version}: 1 keys, 1 revoked."


def test_lost_record_is_an_event_that_holds_its_leaf_and_no_hash_of_a_statement(schema):
    entry = b"\x01" + bytes(range(32))
    lost = msgspec.structs.replace(
        siem.logged(RECORDS["answer"], 9, 1), prov_id="", statement=b"", jws=b"", entry=entry
    )
    event = json.loads(ocsf.siem_event(lost).data)
    assert schema.problems(event) == []
    assert event["metadata"]["uid"] == f"{siem.LOG}#9"
    assert event["unmapped"] == {"entry": entry.hex(), "leaf_kind": 1}
    assert (event["status"], event["severity"]) == ("Failure", "High")
    assert event["metadata"]["event_code"] == event["api"]["operation"] == "lost"
    assert not {"raw_data_hash", "raw_data_size"} & set(event)
    assert event["message"] == "The record of leaf 9, of kind answer, is lost."


@pytest.mark.parametrize("graph", [b"{", b"\xff\xfe", b"[]", b'{"nodes":[],"prov_id":"","v":1}'])
def test_graph_that_cannot_be_read_says_nothing(graph):
    event = event_of(siem.answer(siem.stated(1), graph))
    assert event["status_code"] == "200"


def test_outcome_code_that_is_no_text_is_ignored():
    event = event_of(siem.answer(siem.stated(1), siem.graph(1, code=7)))
    assert event["status_code"] == "200"


@pytest.mark.slow
@given(
    path=st.text(max_size=60).filter(lambda text: text.isprintable()),
    op=st.text(max_size=40).filter(lambda text: text.isprintable()),
    status=st.integers(100, 599),
    decision=st.sampled_from(["allow", "deny", "none"]),
    tokens=st.integers(0, 2**53 - 1),
)
def test_any_statement_gives_one_canonical_line(path, op, status, decision, tokens):
    base = siem.stated(1)
    statement = msgspec.structs.replace(
        base,
        op=op,
        req=msgspec.structs.replace(base.req, path=path),
        res=msgspec.structs.replace(base.res, status=status),
        policy=StatedPolicy("d" * 64, decision),
        usage=msgspec.structs.replace(base.usage, input=tokens, output=tokens),
    )
    sent = ocsf.siem_event(siem.logged(siem.answer(statement), 0))
    event = json.loads(sent.data)
    # The encoder is the trusting one: the event must be in the signed domain by its types.
    canonical.check_domain(event)
    assert canonical.encode(event) == sent.data
    assert event["status"] == ("Success" if 200 <= status < 400 else "Failure")
    assert event["api"]["operation"] == op
