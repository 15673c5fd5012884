"""OCSF events of leaves that are no request's: the key ring, what the control plane signs, and
records that are lost or cannot be read.

No tenant is named: a signed record of the control plane has a tenant's id, which no event may tell,
and its handle follows from a secret, without which an event must be made again as it was. Reasons
are not signed. `verismo decisions` has both.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import UNSET

from verismo.attest import ocsf_event as shape
from verismo.attest.controlrecord import STEERING, ControlRecord
from verismo.attest.keyring import KeyRing
from verismo.attest.ocsf_frame import (
    FAILURE,
    HIGH,
    INFORMATIONAL,
    KIND_NAMES,
    LOW,
    MEDIUM,
    OTHER,
    SUCCESS,
    UNKNOWN,
    Logged,
    attested,
    frame,
    judged,
)
from verismo.attest.steeringdoc import SteeringRefused
from verismo.model.steering import STEERING_VERSION, Steering

_SEVERITY_BY_VERDICT: Final[Mapping[str, shape.Severity]] = {
    "THROTTLE": LOW,
    "REVERT_STATIC": MEDIUM,
    "ROLLBACK": MEDIUM,
}
LOST = "lost"
"""Kind of the event of a leaf whose record is lost, whatever its own kind is."""


def keyring_event(logged: Logged, ring: KeyRing) -> shape.ApiActivity:
    """Return the event of a version of the key ring."""
    activity: tuple[shape.Activity, str] = (1, "Create") if ring.version == 1 else (3, "Update")
    revoked = sum(key.revoked_ms != 0 for key in ring.keys)
    event = frame(logged, logged.prov_id, ring.iat, activity)
    return msgspec.structs.replace(
        event,
        **judged(SUCCESS, INFORMATIONAL),
        message=f"Key ring version {ring.version}: {len(ring.keys)} keys, {revoked} revoked.",
    )


def decision_event(logged: Logged, record: ControlRecord) -> shape.ApiActivity:
    """Return the event of a record of the control plane: a decision, or what came of one.

    Raises:
        RecordRefused: of a version that is not known here.
    """
    is_decision = record.kind == "decision"
    action = record.verdict if is_decision else record.result
    event = frame(logged, "", record.iat, (OTHER, "Decide" if is_decision else "Act"))
    about = record.subject
    named = (about.operation, about.baseline, about.candidate, about.target)
    subject = shape.About(*(one or UNSET for one in named))
    words = " ".join(one for one in (record.rule, action, *named) if one)
    # What a controller says of its own act is a text.
    is_told = is_decision or record.rule == STEERING
    status: shape.Status = SUCCESS if is_told else UNKNOWN
    return msgspec.structs.replace(
        event,
        **judged(status, _SEVERITY_BY_VERDICT.get(record.verdict, INFORMATIONAL)),
        message=f"{'Decision' if is_decision else 'Outcome'} {record.n}: {words}",
        actor=shape.Actor(app_name="verismo", app_uid=record.rule),
        api=msgspec.structs.replace(event.api, operation=f"{record.rule} {action}"),
        src_endpoint=shape.Endpoint(svc_name=record.iss),
        attestation_list=attested(logged, record.iss),
        unmapped=msgspec.structs.replace(
            event.unmapped,
            control=shape.Control(
                number=record.n,
                kind=record.kind,
                controller=record.rule,
                action=action,
                subject=subject,
                steering=record.steering,
                overrides=(record.of or UNSET) if is_decision else UNSET,
            ),
        ),
    )


def steering_event(logged: Logged, steering: Steering) -> shape.ApiActivity:
    """Return the event of a version of the steering.

    Raises:
        SteeringRefused: of a format that is not known here.
    """
    if steering.v != STEERING_VERSION:
        raise SteeringRefused(f"steering format {steering.v} is not known here; update Verismo")
    version, rollouts, throttles = steering.version, len(steering.rollouts), len(steering.throttles)
    activity: tuple[shape.Activity, str] = (1, "Create") if version == 1 else (3, "Update")
    event = frame(logged, "", steering.iat, activity)
    return msgspec.structs.replace(
        event,
        **judged(SUCCESS, INFORMATIONAL),
        message=f"Steering version {version}: {rollouts} rollouts, {throttles} throttles.",
        api=msgspec.structs.replace(event.api, operation=STEERING),
        src_endpoint=shape.Endpoint(svc_name=steering.iss),
        attestation_list=attested(logged, steering.iss),
        unmapped=msgspec.structs.replace(
            event.unmapped,
            steered=shape.Steered(version, steering.base, rollouts, throttles),
        ),
    )


def unreadable_event(logged: Logged, problem: str) -> shape.ApiActivity:
    """Return the event of a leaf whose record cannot be read."""
    event = frame(logged, logged.prov_id, logged.written_ms, (OTHER, "Record"))
    return msgspec.structs.replace(
        event,
        **judged(UNKNOWN, HIGH),
        message=f"The log took a record of kind {KIND_NAMES[logged.kind]}.",
        status_detail=f"The record cannot be read: {problem}",
    )


def lost_event(logged: Logged) -> shape.ApiActivity:
    """Return the event of a leaf whose record a restore has lost: its hash is all that is left."""
    event = frame(logged, "", logged.written_ms, (OTHER, "Record Lost"))
    return msgspec.structs.replace(
        event,
        **judged(FAILURE, HIGH),
        message=f"The record of leaf {logged.index}, of kind {KIND_NAMES[logged.kind]}, is lost.",
        status_detail="A restore went on from the published log without it.",
        metadata=msgspec.structs.replace(event.metadata, event_code=LOST),
        api=msgspec.structs.replace(event.api, operation=LOST),
        raw_data_hash=UNSET,
        raw_data_size=UNSET,
        unmapped=shape.Evidence(leaf_kind=logged.kind, entry=logged.entry.hex()),
    )
