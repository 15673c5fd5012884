"""From a ledger leaf to one OCSF event: the same bytes for the same record, on any machine.

Each leaf gives exactly one event, so that a reader can count: an answer, a void (recorded gap), a
version of the key ring and whatever else the log holds. No content and no salt is in a statement,
so none is in an event. A change to this mapping needs a new `MAPPING`: parity compares bytes.

Source: OCSF 1.9, class `api_activity`; RFC 8785; ADR-022.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from verismo.attest import ocsf_event as shape
from verismo.attest.keyring import KeyRing
from verismo.attest.leaf import LeafType
from verismo.attest.provenance import GRAPH_BYTES_MAX, Graph
from verismo.attest.statement import (
    VERSION,
    Statement,
    StatementRefused,
    Void,
    read_statement,
)
from verismo.model import canonical
from verismo.model.siem import SiemEvent

MAPPING: Final = "1"
"""Revision of this mapping; stands in every event as `metadata.log_version`."""

_KIND_NAMES: Final = {
    LeafType.ANSWER: "answer",
    LeafType.DECISION: "decision",
    LeafType.KEY_RING: "keyring",
    LeafType.PLAN: "plan",
    LeafType.VOID: "void",
}

INFORMATIONAL: Final = 1
LOW: Final = 2
MEDIUM: Final = 3
HIGH: Final = 4
UNKNOWN: Final = 0
SUCCESS: Final = 1
FAILURE: Final = 2
OTHER: Final = 99
_ACTIVITY_NAMES: Final[Mapping[shape.Activity, str]] = {
    1: "Create",
    2: "Read",
    3: "Update",
    4: "Delete",
}
_SEVERITY_NAMES: Final = {1: "Informational", 2: "Low", 3: "Medium", 4: "High"}
_STATUS_NAMES: Final = {0: "Unknown", 1: "Success", 2: "Failure"}
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


class Logged(msgspec.Struct, frozen=True):
    """A leaf with the record that it commits to.

    Args:
        log: origin of the log.
        index: of the leaf.
        kind: the leaf's type.
        prov_id: of the record; empty if its kind has none.
        statement: the signed bytes.
        jws: the detached signature.
        graph: canonical JSON; empty if its kind has none.
        written_ms: when the journal took it, Unix ms; used only where nothing signed says when.
    """

    log: str
    index: int
    kind: LeafType
    prov_id: str
    statement: bytes
    jws: bytes
    graph: bytes = b""
    written_ms: int = 0


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
    return _sha256(
        canonical.encode_trusted(msgspec.structs.replace(event, attestation_list=(bare,)))
    )


def _sealed(event: shape.ApiActivity) -> shape.ApiActivity:
    [attestation] = event.attestation_list
    sealed = msgspec.structs.replace(attestation, fingerprint=fingerprint(event))
    return msgspec.structs.replace(event, attestation_list=(sealed,))


def _event(logged: Logged) -> shape.ApiActivity:
    try:
        if logged.kind is LeafType.ANSWER:
            return _answer(logged, read_statement(logged.statement))
        if logged.kind is LeafType.VOID:
            return _void(logged, canonical.decode(logged.statement, Void))
        if logged.kind is LeafType.KEY_RING:
            return _keyring(logged, canonical.decode(logged.statement, KeyRing))
    except (StatementRefused, canonical.NotCanonical) as error:
        return _plain(logged, UNKNOWN, HIGH, f"The record cannot be read: {error}")
    return _plain(logged, SUCCESS, INFORMATIONAL, "")


def _answer(logged: Logged, statement: Statement) -> shape.ApiActivity:
    code = _outcome_code(logged.graph)
    request, response = statement.req, statement.res
    is_success = response.fin and 200 <= response.status < 400
    severity: shape.Severity = INFORMATIONAL if is_success else _severity(statement, code)
    activity, name = _activity(statement)
    event = _frame(logged, statement.prov_id, statement.iat, (activity, name))
    return msgspec.structs.replace(
        event,
        **_judged(SUCCESS if is_success else FAILURE, severity),
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
        attestation_list=_attested(logged, statement.iss),
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
    event = _frame(logged, void.prov_id, void.iat, (OTHER, "Record Gap"))
    text = f"Sequence numbers {void.first} to {void.last} of {void.signer} were never served."
    return msgspec.structs.replace(
        event,
        **_judged(FAILURE, HIGH),
        message=text,
        actor=shape.Actor(app_name="verismo", app_uid=void.signer),
        src_endpoint=shape.Endpoint(uid=void.signer, svc_name=void.iss),
        attestation_list=_attested(logged, void.iss),
        status_detail="Their records could not be made durable, so nothing was answered.",
        unmapped=shape.Evidence(
            leaf_kind=logged.kind,
            signature=_text(logged.jws),
            signer=void.signer,
            gap=shape.Gap(first=void.first, last=void.last),
        ),
    )


def _keyring(logged: Logged, ring: KeyRing) -> shape.ApiActivity:
    activity: tuple[shape.Activity, str] = (1, "Create") if ring.version == 1 else (3, "Update")
    revoked = sum(key.revoked_ms != 0 for key in ring.keys)
    event = _frame(logged, logged.prov_id, ring.iat, activity)
    return msgspec.structs.replace(
        event,
        **_judged(SUCCESS, INFORMATIONAL),
        message=f"Key ring version {ring.version}: {len(ring.keys)} keys, {revoked} revoked.",
    )


def _plain(
    logged: Logged, status: shape.Status, severity: shape.Severity, detail: str
) -> shape.ApiActivity:
    """Return the event of a leaf whose record is not mapped further, such as a plan."""
    name = _KIND_NAMES[logged.kind]
    event = _frame(logged, logged.prov_id, logged.written_ms, (OTHER, "Record"))
    return msgspec.structs.replace(
        event,
        **_judged(status, severity),
        message=f"The log took a record of kind {name}.",
        status_detail=detail or UNSET,
    )


def _frame(
    logged: Logged, prov_id: str, time_ms: int, activity: tuple[shape.Activity, str]
) -> shape.ApiActivity:
    """Return what every event has; the parts that differ by kind are replaced."""
    kind = _KIND_NAMES[logged.kind]
    uid = prov_id or f"{logged.log}#{logged.index}"
    number, name = activity
    return shape.ApiActivity(
        activity_id=number,
        activity_name=name,
        type_uid=shape.CLASS_UID * 100 + number,
        type_name=f"API Activity: {name}",
        severity_id=INFORMATIONAL,
        severity=_SEVERITY_NAMES[INFORMATIONAL],
        status_id=UNKNOWN,
        status=_STATUS_NAMES[UNKNOWN],
        time=time_ms,
        message=kind,
        metadata=shape.Metadata(
            uid=uid,
            sequence=logged.index,
            log_name=logged.log,
            log_version=MAPPING,
            event_code=kind,
        ),
        actor=shape.Actor(app_name="verismo"),
        api=shape.Api(operation=kind, request=shape.ApiRequest(uid=uid)),
        src_endpoint=shape.Endpoint(svc_name="verismo"),
        attestation_list=_attested(logged, UNSET),
        raw_data_hash=_sha256(logged.statement),
        raw_data_size=len(logged.statement),
        unmapped=shape.Evidence(leaf_kind=logged.kind, signature=_text(logged.jws)),
    )


def _judged(status: shape.Status, severity: shape.Severity) -> dict[str, int | str]:
    return {
        "status_id": status,
        "status": _STATUS_NAMES[status],
        "severity_id": severity,
        "severity": _SEVERITY_NAMES[severity],
    }


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
        signature=_text(logged.jws),
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


def _attested(logged: Logged, authority: str | UnsetType) -> tuple[shape.Attestation, ...]:
    uid = f"{logged.log}#{logged.index}"
    return (shape.Attestation(uid=uid, chain_uid=logged.log, authority_uid=authority),)


def _sha256(data: bytes) -> shape.Fingerprint:
    return shape.Fingerprint(value=canonical.digest(data))


def _text(data: bytes) -> str:
    return data.decode("ascii", "backslashreplace")
