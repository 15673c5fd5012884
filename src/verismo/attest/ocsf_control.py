"""OCSF events of leaves that are no request's: the key ring, and records that are lost."""

import msgspec
from msgspec import UNSET

from verismo.attest import ocsf_event as shape
from verismo.attest.keyring import KeyRing
from verismo.attest.ocsf_frame import (
    FAILURE,
    HIGH,
    INFORMATIONAL,
    KIND_NAMES,
    OTHER,
    SUCCESS,
    Logged,
    frame,
    judged,
)

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


def plain_event(
    logged: Logged, status: shape.Status, severity: shape.Severity, detail: str
) -> shape.ApiActivity:
    """Return the event of a leaf whose record is not mapped further, such as a plan."""
    name = KIND_NAMES[logged.kind]
    event = frame(logged, logged.prov_id, logged.written_ms, (OTHER, "Record"))
    return msgspec.structs.replace(
        event,
        **judged(status, severity),
        message=f"The log took a record of kind {name}.",
        status_detail=detail or UNSET,
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
