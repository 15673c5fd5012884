"""From a ledger leaf to one OCSF event: the same bytes for the same record, on any machine.

Each leaf gives exactly one event, so that a reader can count: an answer, a void (recorded gap), a
version of the key ring, what the control plane has signed, a record that is lost. No content and no
salt is in a statement, so none is in an event. A change to this mapping needs a new
`ocsf_frame.MAPPING`: parity compares bytes.

Source: OCSF 1.9, class `api_activity`; RFC 8785; ADR-022.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from verismo.attest import ocsf_event as shape
from verismo.attest.controlrecord import RecordRefused, read_record
from verismo.attest.keyring import KeyRing
from verismo.attest.leaf import LeafType
from verismo.attest.ocsf_control import (
    decision_event,
    keyring_event,
    lost_event,
    steering_event,
    unreadable_event,
)
from verismo.attest.ocsf_frame import (
    FAILURE,
    HIGH,
    INFORMATIONAL,
    LOW,
    MEDIUM,
    OTHER,
    SUCCESS,
    Logged,
    attested,
    frame,
    judged,
    sha256,
    text,
)
from verismo.attest.provenance import GRAPH_BYTES_MAX, Graph
from verismo.attest.statement import (
    VERSION,
    Statement,
    StatementRefused,
    Void,
    read_statement,
)
from verismo.attest.steeringdoc import SteeringRefused
from verismo.model import canonical
from verismo.model.siem import SiemEvent
from verismo.model.steering import Steering

_ACTIVITY_NAMES: Final[Mapping[shape.Activity, str]] = {
    1: "Create",
    2: "Read",
    3: "Update",
    4: "Delete",
}
_METHODS: Final[Mapping[str, shape.Activity]] = {
    "GET": 2,
    "HEAD": 2,
    "OPTIONS": 2,
    "POST": 1,
    "PUT": 3,
    "PATCH": 3,
    "DELETE": 4,
}
GRAPHQL_PATH: Final = "/graphql"

_SEVERITY_BY_CODE: Final[Mapping[str, shape.Severity]] = {
    "policy_refused": MEDIUM,
    "no_deployment": MEDIUM,
    "overloaded": MEDIUM,
    "upstream_broken": MEDIUM,
    "upstream_timeout": MEDIUM,
    "upstream_too_large": MEDIUM,
    "upstream_unreachable": MEDIUM,
    "attestation_unavailable": HIGH,
    "gateway_lost": HIGH,
    "internal_error": HIGH,
}
"""Codes of `docs/errors.md` and of streams' ends. What a caller can mend or chose is low."""
_COMPLETE: Final = "complete"


def siem_event(logged: Logged) -> SiemEvent:
    """Return the event of a leaf; total: what cannot be read becomes an event that says so.

    Args:
        logged: the leaf and its record.

    Returns:
        The event with canonical bytes that depend on nothing but the record and its place.

    Source: decisions 6; OCSF 1.9.
    """
    event = _sealed(_event(logged))
    return SiemEvent(
        log=logged.log,
        uid=event.metadata.uid,
        index=logged.index,
        time_ms=event.time,
        kind=event.metadata.event_code,
        severity=event.severity_id,
        data=canonical.encode_trusted(event),
    )


def fingerprint(event: shape.ApiActivity) -> shape.Fingerprint:
    """Return the SHA-256 over an event's canonical JSON without its fingerprint.

    Source: OCSF 1.9, object `attestation`: all of the event but `fingerprint` and `signatures`.
    """
    [attestation] = event.attestation_list
    bare = msgspec.structs.replace(attestation, fingerprint=UNSET)
    return sha256(
        canonical.encode_trusted(msgspec.structs.replace(event, attestation_list=(bare,)))
    )


def _sealed(event: shape.ApiActivity) -> shape.ApiActivity:
    [attestation] = event.attestation_list
    sealed = msgspec.structs.replace(attestation, fingerprint=fingerprint(event))
    return msgspec.structs.replace(event, attestation_list=(sealed,))


def _event(logged: Logged) -> shape.ApiActivity:
    if logged.entry:
        return lost_event(logged)
    try:
        if logged.kind is LeafType.ANSWER:
            return _answer(logged, read_statement(logged.statement))
        if logged.kind is LeafType.VOID:
            return _void(logged, canonical.decode(logged.statement, Void))
        if logged.kind is LeafType.KEY_RING:
            return keyring_event(logged, canonical.decode(logged.statement, KeyRing))
        if logged.kind is LeafType.DECISION:
            return decision_event(logged, read_record(logged.statement))
        return steering_event(logged, canonical.decode(logged.statement, Steering))
    except (
        StatementRefused,
        RecordRefused,
        SteeringRefused,
        canonical.NotCanonical,
        RecursionError,
    ) as error:
        return unreadable_event(logged, str(error))


def _answer(logged: Logged, statement: Statement) -> shape.ApiActivity:
    code = _outcome_code(logged.graph)
    request, response = statement.req, statement.res
    is_success = response.fin and 200 <= response.status < 400
    severity: shape.Severity = INFORMATIONAL if is_success else _severity(statement, code)
    activity, name = _activity(statement)
    event = frame(logged, statement.prov_id, statement.iat, (activity, name))
    return msgspec.structs.replace(
        event,
        **judged(SUCCESS if is_success else FAILURE, severity),
        message=f"{request.method} {request.path}: {response.status} for {statement.op}",
        metadata=msgspec.structs.replace(event.metadata, tenant_uid=statement.aud),
        actor=shape.Actor(user=shape.User(uid=statement.aud)),
        api=shape.Api(
            operation=statement.op,
            request=shape.ApiRequest(uid=statement.prov_id),
            service=shape.Service(name=statement.iss),
            response=shape.ApiResponse(code=response.status, error=code or UNSET),
        ),
        src_endpoint=shape.Endpoint(uid=statement.aud),
        dst_endpoint=shape.Endpoint(svc_name=statement.iss),
        attestation_list=attested(logged, statement.iss),
        status_code=code or str(response.status),
        status_detail=UNSET if is_success else _detail(statement, code),
        http_request=shape.HttpRequest(
            http_method=request.method, url=shape.Url(path=request.path), length=request.len
        ),
        http_response=shape.HttpResponse(
            code=response.status, length=response.len, content_type=response.media or UNSET
        ),
        ai_model=_model(statement),
        message_context=_context(statement),
        unmapped=_evidence(logged, statement),
    )


def _void(logged: Logged, void: Void) -> shape.ApiActivity:
    if void.v != VERSION:
        raise StatementRefused(f"version {void.v} is not known here; update Verismo")
    event = frame(logged, void.prov_id, void.iat, (OTHER, "Record Gap"))
    message = f"Sequence numbers {void.first} to {void.last} of {void.signer} were never served."
    return msgspec.structs.replace(
        event,
        **judged(FAILURE, HIGH),
        message=message,
        actor=shape.Actor(app_name="verismo", app_uid=void.signer),
        src_endpoint=shape.Endpoint(uid=void.signer, svc_name=void.iss),
        attestation_list=attested(logged, void.iss),
        status_detail="Their records could not be made durable, so nothing was answered.",
        unmapped=shape.Evidence(
            leaf_kind=logged.kind,
            signature=text(logged.jws),
            signer=void.signer,
            gap=shape.Gap(first=void.first, last=void.last),
        ),
    )


def _activity(statement: Statement) -> tuple[shape.Activity, str]:
    """An inference creates an answer; what a GraphQL document does is not in the statement."""
    number = _METHODS.get(statement.req.method, OTHER)
    is_graphql = statement.req.doc is not UNSET or statement.req.path == GRAPHQL_PATH
    if is_graphql or number == OTHER:
        return OTHER, "Execute"
    return number, _ACTIVITY_NAMES[number]


def _severity(statement: Statement, code: str) -> shape.Severity:
    if code in _SEVERITY_BY_CODE:
        return _SEVERITY_BY_CODE[code]
    if statement.policy.decision == "deny" or statement.res.status >= 500:
        return MEDIUM
    if not statement.res.fin and not code:
        return MEDIUM
    return LOW


def _detail(statement: Statement, code: str) -> str:
    if statement.policy.decision == "deny":
        return "Refused by policy."
    if not statement.res.fin:
        return f"The stream ended early: {code or 'no reason recorded'}."
    return f"Ended with {code or statement.res.status}."


def _outcome_code(graph: bytes) -> str:
    """Return the stable code in the graph's last node; empty for an answer or without a graph.

    The graph is committed to by the statement, so the code is as fixed as the statement is. It is
    not verified here: `verismo verify` does that.
    """
    if not graph or len(graph) > GRAPH_BYTES_MAX:
        return ""
    try:
        nodes = msgspec.json.decode(graph, type=Graph).nodes
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return ""
    if not nodes:
        return ""
    attrs = nodes[-1].attrs
    code = attrs.get("code") or attrs.get("end") or ""
    return code if isinstance(code, str) and code != _COMPLETE else ""


def _model(statement: Statement) -> shape.AiModel | UnsetType:
    model = statement.model
    if model is UNSET:
        return UNSET
    return shape.AiModel(ai_provider=model.provider, name=model.id)


def _context(statement: Statement) -> shape.MessageContext | UnsetType:
    usage = statement.usage
    if usage is UNSET:
        return UNSET
    return shape.MessageContext(
        service=shape.Service(name=statement.iss),
        prompt_tokens=usage.input,
        completion_tokens=usage.output,
        total_tokens=min(usage.input + usage.output, canonical.MAX_INTEGER),
    )


def _evidence(logged: Logged, statement: Statement) -> shape.Evidence:
    return shape.Evidence(
        leaf_kind=logged.kind,
        signature=text(logged.jws),
        signer=statement.seq.signer,
        seq=statement.seq.n,
        region=statement.region,
        policy_bundle=statement.policy.bundle,
        policy_decision=statement.policy.decision,
        plan=statement.plan,
        cache=statement.cache,
        cost_usd_micros=statement.cost_usd_micros,
        graph_root=statement.dag.root,
        graph_nodes=statement.dag.nodes,
        mode=statement.res.mode,
        fin=statement.res.fin,
        events=statement.res.events,
        document=statement.req.doc,
        request_commit=statement.req.commit,
        response_commit=statement.res.commit,
    )
