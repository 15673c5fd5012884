"""Steering: what the control plane changes of the plan while gateways run, versioned and signed.

The plan has two parts. What an operator writes is compiled from the configuration in each process
and changes with a restart; its digest is `base` here. What controllers and people change in between
is this value: one document, signed with a key of the role `plan`, stored by the one control process
that holds the lease, read by every gateway twice a second. A gateway without one sends everything
to the baselines and throttles nobody beyond the configuration.

Source: ADR-031.
"""

from typing import Final, Literal

import msgspec

from verismo.model import canonical
from verismo.model.ids import DeploymentId, OperationId, ProvId, TenantId, is_prov_id
from verismo.model.units import Milliseconds, Ppm, UsdMicros

STEERING_VERSION: Final = 1
"""Format; a gateway refuses one that it does not know and keeps what it has."""
_MILLION: Final = 1_000_000
_DRAWN_DIGITS: Final = 12
_DRAWN_BITS: Final = 4 * _DRAWN_DIGITS


class Rollout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the requests of a route are split between two deployments.

    Args:
        operation: whose requests.
        tenant: of the route; empty for every tenant of the operation.
        baseline: the deployment that serves now.
        candidate: the one that may take over.
        weight_ppm: share of the requests that the candidate is given, each drawn for itself.
    """

    operation: OperationId
    tenant: TenantId
    baseline: DeploymentId
    candidate: DeploymentId
    weight_ppm: Ppm


class Throttle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a route may spend; routes that are not throttled are not named.

    Args:
        tenant: of the route.
        operation: of the route.
        usd_micros_per_minute: what its token bucket is filled with, over all workers.
        until_ms: Unix ms; a guess at when the limit may be looser, for Retry-After.
    """

    tenant: TenantId
    operation: OperationId
    usd_micros_per_minute: UsdMicros
    until_ms: Milliseconds


class Steering(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One version of what gateways are told.

    Args:
        v: format version.
        version: counted from 1 without a gap; a gateway takes only later ones than it has.
        base: digest of the configuration's plan that it belongs to, hex.
        iss: the gateway's issuer.
        iat: Unix ms.
        rollouts: by operation and tenant, ascending; at most one for each route.
        throttles: by tenant and operation, ascending.
    """

    v: int
    version: int
    base: str
    iss: str
    iat: Milliseconds
    rollouts: tuple[Rollout, ...] = ()
    throttles: tuple[Throttle, ...] = ()


def steering_digest(steering: Steering) -> str:
    """Return the hex SHA-256 of its canonical encoding: the `plan` of statements under it."""
    return canonical.digest(canonical.encode(steering))


def drawn_arm(prov_id: ProvId, weight_ppm: int) -> Literal["baseline", "candidate"]:
    """Return the arm of a request: drawn by the last 48 random bits of its prov_id.

    Anyone who holds the answer and the weight can draw it again. The bits are the gateway's own, so
    no client can choose its arm.

    Args:
        prov_id: of the answer.
        weight_ppm: share of the candidate, 0 to 1,000,000.

    Raises:
        ValueError: not a prov_id.
    """
    if not is_prov_id(prov_id):
        raise ValueError("not a canonical UUIDv7")
    drawn = int(prov_id[-_DRAWN_DIGITS:], 16) * _MILLION >> _DRAWN_BITS
    return "candidate" if drawn < weight_ppm else "baseline"
