"""The shapes of an OCSF 1.9 event of class API Activity (6003), as far as Verismo fills them.

Optional attributes are left out where there is nothing to say. Every shape encodes to canonical
JSON, so one record always gives the same bytes.

Source: OCSF 1.9, event class `api_activity`, profiles `ai_operation` and `record_integrity`.
"""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

SCHEMA_VERSION = "1.9.0-dev"
"""The state of the schema that the tests validate every event against."""
PROFILES = ("ai_operation", "record_integrity")
CATEGORY_UID = 6
CLASS_UID = 6003

Activity = Literal[1, 2, 3, 4, 99]
"""Create, Read, Update, Delete, Other."""
Severity = Literal[1, 2, 3, 4]
"""Informational, Low, Medium, High."""
Status = Literal[0, 1, 2]
"""Unknown, Success, Failure."""

SHA_256: Literal[3] = 3
ASSISTANT: Literal[2] = 2


class Product(msgspec.Struct, frozen=True):
    """Who logs: `product`."""

    name: str = "Verismo"
    vendor_name: str = "Verismo"


class Metadata(msgspec.Struct, frozen=True):
    """About the event: `metadata`.

    Args:
        uid: the answer's prov_id; what readers dedupe by.
        sequence: the index of the leaf in its log.
        log_name: origin of the log that holds the leaf.
        log_version: revision of the mapping from records to events.
        event_code: kind of record.
        tenant_uid: opaque handle of the tenant.
    """

    uid: str
    sequence: int
    log_name: str
    log_version: str
    event_code: str
    tenant_uid: str | UnsetType = UNSET
    product: Product = Product()
    profiles: tuple[str, ...] = PROFILES
    version: str = SCHEMA_VERSION


class User(msgspec.Struct, frozen=True):
    """Who asked: the tenant, by its opaque handle."""

    uid: str


class Actor(msgspec.Struct, frozen=True):
    """Who acted: a tenant, or a signer slot of the gateway itself."""

    user: User | UnsetType = UNSET
    app_name: str | UnsetType = UNSET
    app_uid: str | UnsetType = UNSET


class ApiRequest(msgspec.Struct, frozen=True):
    """`api.request`."""

    uid: str


class ApiResponse(msgspec.Struct, frozen=True):
    """`api.response`: the HTTP status, and the stable code of what went wrong."""

    code: int
    error: str | UnsetType = UNSET


class Service(msgspec.Struct, frozen=True):
    """The gateway, by its issuer's name."""

    name: str


class Api(msgspec.Struct, frozen=True):
    """What was called: the operation's id."""

    operation: str
    request: ApiRequest
    service: Service | UnsetType = UNSET
    response: ApiResponse | UnsetType = UNSET


class Endpoint(msgspec.Struct, frozen=True):
    """`src_endpoint` and `dst_endpoint`. No address: statements hold none."""

    uid: str | UnsetType = UNSET
    svc_name: str | UnsetType = UNSET


class Url(msgspec.Struct, frozen=True):
    """The path as it was sent; the query is known by its commitment alone."""

    path: str


class HttpRequest(msgspec.Struct, frozen=True):
    """`http_request`."""

    http_method: str
    url: Url
    length: int


class HttpResponse(msgspec.Struct, frozen=True):
    """`http_response`."""

    code: int
    length: int
    content_type: str | UnsetType = UNSET


class AiModel(msgspec.Struct, frozen=True):
    """Profile `ai_operation`: provider and model as the statement names them."""

    ai_provider: str
    name: str


class MessageContext(msgspec.Struct, frozen=True):
    """Profile `ai_operation`: token counts, never a text."""

    service: Service
    ai_role: str = "Assistant"
    ai_role_id: Literal[2] = ASSISTANT
    prompt_tokens: int | UnsetType = UNSET
    completion_tokens: int | UnsetType = UNSET
    total_tokens: int | UnsetType = UNSET


class Fingerprint(msgspec.Struct, frozen=True):
    """A SHA-256 in lower-case hex."""

    value: str
    algorithm: str = "SHA-256"
    algorithm_id: Literal[3] = SHA_256


class Attestation(msgspec.Struct, frozen=True):
    """Profile `record_integrity`.

    Args:
        uid: the leaf, `<origin>#<index>`.
        chain_uid: the origin of the log.
        authority_uid: the issuer of the statement.
        fingerprint: over the canonical JSON of the event without this member.
    """

    uid: str
    chain_uid: str
    authority_uid: str | UnsetType = UNSET
    fingerprint: Fingerprint | UnsetType = UNSET


class Gap(msgspec.Struct, frozen=True):
    """Of a void record: the numbers that were given out and never served."""

    first: int
    last: int


class About(msgspec.Struct, frozen=True):
    """What a decision is about, but for its tenant, whose id is in no event."""

    operation: str | UnsetType = UNSET
    baseline: str | UnsetType = UNSET
    candidate: str | UnsetType = UNSET
    target: str | UnsetType = UNSET


class Control(msgspec.Struct, frozen=True):
    """Of a record of the control plane.

    Args:
        number: of the record.
        kind: a decision, or what came of one.
        controller: the rule that decided; `steering` where the outcome is about gateways.
        action: verdict of the decision, or result of the outcome.
        subject: what it is about.
        steering: version in force, 0 for none.
        overrides: digest of the decision that a person overrode by this one.
    """

    number: int
    kind: str
    controller: str
    action: str
    subject: About
    steering: int
    overrides: str | UnsetType = UNSET


class Steered(msgspec.Struct, frozen=True):
    """Of a version of the steering: how much it changes of the plan `base`."""

    version: int
    base: str
    rollouts: int
    throttles: int


class Evidence(msgspec.Struct, frozen=True):
    """What OCSF has no name for: `unmapped`.

    Args:
        leaf_kind: type byte of the ledger leaf.
        signature: the detached JWS over the statement; with the statement it proves the record.
        entry: of a record that is lost the leaf itself, hex: type byte and blinded hash.
        signer, seq: signer slot and gapless number.
        gap: of a void record.
        control: of a decision, or of what came of one.
        steered: of a version of the steering.
        region: where the record is kept.
        policy_bundle, policy_decision: what decided, and how.
        plan: digest of the configuration in force.
        cache: state of the answer cache.
        cost_usd_micros: millionths of a US dollar.
        graph_root, graph_nodes: the provenance graph.
        mode, fin, events: whether it was a stream, and whether it is complete.
        document: id of the registered GraphQL document.
        request_commit, response_commit: salted commitments; the salt is not here.
    """

    leaf_kind: int
    signature: str | UnsetType = UNSET
    entry: str | UnsetType = UNSET
    signer: str | UnsetType = UNSET
    seq: int | UnsetType = UNSET
    gap: Gap | UnsetType = UNSET
    control: Control | UnsetType = UNSET
    steered: Steered | UnsetType = UNSET
    region: str | UnsetType = UNSET
    policy_bundle: str | UnsetType = UNSET
    policy_decision: str | UnsetType = UNSET
    plan: str | UnsetType = UNSET
    cache: str | UnsetType = UNSET
    cost_usd_micros: int | UnsetType = UNSET
    graph_root: str | UnsetType = UNSET
    graph_nodes: int | UnsetType = UNSET
    mode: str | UnsetType = UNSET
    fin: bool | UnsetType = UNSET
    events: int | UnsetType = UNSET
    document: str | UnsetType = UNSET
    request_commit: str | UnsetType = UNSET
    response_commit: str | UnsetType = UNSET


class ApiActivity(msgspec.Struct, frozen=True):
    """One event. Attribute names are those of the schema.

    Args:
        raw_data_hash, raw_data_size: of the signed statement's bytes; not of one that is lost.
        time: Unix ms.
    """

    activity_id: Activity
    activity_name: str
    type_uid: int
    type_name: str
    severity_id: Severity
    severity: str
    status_id: Status
    status: str
    time: int
    message: str
    metadata: Metadata
    actor: Actor
    api: Api
    src_endpoint: Endpoint
    attestation_list: tuple[Attestation, ...]
    raw_data_hash: Fingerprint | UnsetType
    raw_data_size: int | UnsetType
    unmapped: Evidence
    dst_endpoint: Endpoint | UnsetType = UNSET
    status_code: str | UnsetType = UNSET
    status_detail: str | UnsetType = UNSET
    http_request: HttpRequest | UnsetType = UNSET
    http_response: HttpResponse | UnsetType = UNSET
    ai_model: AiModel | UnsetType = UNSET
    message_context: MessageContext | UnsetType = UNSET
    category_uid: int = CATEGORY_UID
    category_name: str = "Application Activity"
    class_uid: int = CLASS_UID
    class_name: str = "API Activity"
