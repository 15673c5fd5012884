"""What every OCSF event of a leaf has, whatever the leaf stands for."""

from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from verismo.attest import ocsf_event as shape
from verismo.attest.leaf import LeafType
from verismo.model import canonical

MAPPING: Final = "2"
"""Revision of this mapping; stands in every event as `metadata.log_version`."""

KIND_NAMES: Final = {
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
_SEVERITY_NAMES: Final = {1: "Informational", 2: "Low", 3: "Medium", 4: "High"}
_STATUS_NAMES: Final = {0: "Unknown", 1: "Success", 2: "Failure"}


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
        entry: the leaf itself where its record is lost; else empty.
    """

    log: str
    index: int
    kind: LeafType
    prov_id: str
    statement: bytes
    jws: bytes
    graph: bytes = b""
    written_ms: int = 0
    entry: bytes = b""


def frame(
    logged: Logged, prov_id: str, time_ms: int, activity: tuple[shape.Activity, str]
) -> shape.ApiActivity:
    """Return what every event has; the parts that differ by kind are replaced.

    Args:
        logged: the leaf.
        prov_id: of its record; empty if there is none.
        time_ms: when it happened, Unix ms.
        activity: number and name.
    """
    kind = KIND_NAMES[logged.kind]
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
        attestation_list=attested(logged, UNSET),
        raw_data_hash=sha256(logged.statement),
        raw_data_size=len(logged.statement),
        unmapped=shape.Evidence(leaf_kind=logged.kind, signature=text(logged.jws)),
    )


def judged(status: shape.Status, severity: shape.Severity) -> dict[str, int | str]:
    """Return the members that say how something ended, and how bad that is."""
    return {
        "status_id": status,
        "status": _STATUS_NAMES[status],
        "severity_id": severity,
        "severity": _SEVERITY_NAMES[severity],
    }


def attested(logged: Logged, authority: str | UnsetType) -> tuple[shape.Attestation, ...]:
    """Return the leaf's place; its fingerprint is added last.

    Args:
        logged: the leaf.
        authority: issuer of the statement.
    """
    uid = f"{logged.log}#{logged.index}"
    return (shape.Attestation(uid=uid, chain_uid=logged.log, authority_uid=authority),)


def sha256(data: bytes) -> shape.Fingerprint:
    """Return the SHA-256 of some bytes."""
    return shape.Fingerprint(value=canonical.digest(data))


def text(data: bytes) -> str:
    """Return a detached signature as text, whatever it holds."""
    return data.decode("ascii", "backslashreplace")
