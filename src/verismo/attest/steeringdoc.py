"""The steering as it is stored: signed by the control plane, and opened by every gateway.

A gateway that is shown a document which is refused here keeps the one that it has.

Source: ADR-031; docs/adapt-loop.md.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import msgspec

from verismo.attest import jws
from verismo.attest.keyentry import KeyEntry
from verismo.attest.planseal import SealRefused, check_seal, check_time, seal
from verismo.model import canonical
from verismo.model.steering import STEERING_VERSION, Rollout, Steering, Throttle
from verismo.model.units import Ppm

STATEMENT_BYTES_MAX = 4_194_304
"""About 25,000 routes, rolled out and throttled at once; each worker reads it whole."""
ALL_PPM = Ppm(1_000_000)


class SteeringRefused(ValueError):
    """The document must not be followed, and why. Keep what is in force."""


class _Versioned(msgspec.Struct, frozen=True):
    v: int


def sign_steering(
    steering: Steering, kid: str, sign: Callable[[bytes], bytes]
) -> tuple[bytes, bytes]:
    """Return the statement and its detached JWS, both as they are stored.

    Args:
        steering: the next version.
        kid: thumbprint of a key of the role `plan` that is in force at its `iat`.
        sign: Ed25519 over a message, 64 bytes.

    Raises:
        SteeringRefused: no gateway would follow it; a mistake of the controller's.
    """
    check_steering(steering)
    statement = canonical.encode(steering)
    return statement, seal(statement, kid, jws.TYPE_STEERING, sign).encode("ascii")


def open_steering(statement: bytes, signature: bytes, keys: Sequence[KeyEntry]) -> Steering:
    """Verify a document and return what it says.

    Args:
        statement: as stored.
        signature: the detached JWS, ASCII.
        keys: of the newest version of the key ring that is believed.

    Raises:
        SteeringRefused: a bad signature, a key of another role or not in force at its `iat`, a
            format that is not known here, or a document that contradicts itself.
    """
    if len(statement) > STATEMENT_BYTES_MAX:
        raise SteeringRefused(f"the steering is longer than {STATEMENT_BYTES_MAX} bytes")
    try:
        entry = check_seal(statement, signature.decode("ascii"), jws.TYPE_STEERING, keys)
        # What a later format holds is not known: its number is read first, to say just that.
        found = msgspec.json.decode(statement, type=_Versioned).v
        if found != STEERING_VERSION:
            raise SteeringRefused(f"steering format {found} is not known here; update the gateway")
        steering = canonical.decode(statement, Steering)
        check_time(entry, steering.iat)
    except (SealRefused, canonical.NotCanonical, msgspec.MsgspecError, UnicodeError) as error:
        raise SteeringRefused(f"the steering cannot be believed: {error}") from error
    check_steering(steering)
    return steering


def check_later(steering: Steering, after: int, base: str, iss: str) -> None:
    """Refuse a document that an opened one may not take the place of.

    Args:
        steering: as `open_steering` returned it.
        after: the version in force, 0 for none.
        base: digest of the plan of this gateway's configuration, hex.
        iss: this gateway's issuer.

    Raises:
        SteeringRefused: it is not later, of another configuration or of another issuer.
    """
    if steering.version <= after:
        raise SteeringRefused(f"version {steering.version} is not later than {after}")
    if steering.iss != iss:
        raise SteeringRefused(f"the steering is of {steering.iss[:128]!r}, not of {iss!r}")
    if steering.base != base:
        raise SteeringRefused("the steering is of another configuration than this gateway's")


def check_steering(steering: Steering) -> None:
    """Refuse a document that contradicts itself.

    Raises:
        SteeringRefused: says how.
    """
    if steering.v != STEERING_VERSION or steering.version < 1 or steering.iat < 0:
        raise SteeringRefused("its format, version or time is none")
    if not canonical.is_digest(steering.base):
        raise SteeringRefused("its configuration is not named by a digest")
    _check_order([(one.operation, one.tenant) for one in steering.rollouts], "rollouts")
    _check_order([(one.tenant, one.operation) for one in steering.throttles], "throttles")
    for rollout in steering.rollouts:
        _check_rollout(rollout)
    for throttle in steering.throttles:
        _check_throttle(throttle)


def _check_order(routes: Sequence[tuple[str, str]], what: str) -> None:
    if any(right <= left for left, right in pairwise(routes)):
        raise SteeringRefused(f"its {what} are not in order, or one route stands twice")


def _check_rollout(one: Rollout) -> None:
    if not one.operation or not one.baseline or not one.candidate:
        raise SteeringRefused("a rollout without operation, baseline or candidate")
    if one.baseline == one.candidate:
        raise SteeringRefused(f"the rollout of {one.operation} has one deployment for both arms")
    if not 0 <= one.weight_ppm <= ALL_PPM:
        raise SteeringRefused(f"the rollout of {one.operation} has the weight {one.weight_ppm}")


def _check_throttle(one: Throttle) -> None:
    if not one.tenant or not one.operation:
        raise SteeringRefused("a throttle without tenant or operation")
    if one.usd_micros_per_minute < 0 or one.until_ms < 0:
        raise SteeringRefused(f"the throttle of {one.tenant} on {one.operation} is negative")
