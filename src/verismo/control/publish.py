"""What gateways are told: the parts of all shells in one signed document, when it changes.

The document follows from recorded decisions alone. So a decision that was recorded and not
published before a crash is published by the next round, in this process or in another.

Source: ADR-031.
"""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from verismo.attest.keyentry import KeyEntry
from verismo.attest.steeringdoc import SteeringRefused, open_steering, sign_steering
from verismo.control.looks import Steered
from verismo.model.errors import StateError
from verismo.model.steering import STEERING_VERSION, Steering
from verismo.model.units import Milliseconds
from verismo.ports.signer import Signer, SigningFailed
from verismo.ports.steering import SteeringRow, SteeringStore


class SteeringIdentity(msgspec.Struct, frozen=True):
    """Whose steering it is.

    Args:
        issuer: the gateway's.
        base: digest of the configuration's plan, hex.
    """

    issuer: str
    base: str


class Publisher:
    """Publishes steering for whoever holds the lease; from one thread.

    Args:
        store: where versions are kept.
        signer: holder of a key of the role `plan`.
        keys: returns the keys of the newest ring; raises StateError if it cannot be read.
        identity: whose steering it is.
    """

    def __init__(
        self,
        store: SteeringStore,
        signer: Signer,
        keys: Callable[[], Sequence[KeyEntry]],
        identity: SteeringIdentity,
    ) -> None:
        self._store = store
        self._signer = signer
        self._keys = keys
        self._identity = identity
        self._read_version = 0
        self._in_force: Steering | None = None

    def version(self) -> int:
        """Return the newest version, 0 for none.

        Raises:
            StateError: it cannot be read.
        """
        return self._store.version()

    def publish(self, token: int, parts: Iterable[Steered], now_ms: int) -> int | None:
        """Publish the next version if gateways are to be told something else than they are.

        Args:
            token: of the lease.
            parts: of every shell.
            now_ms: Unix ms.

        Returns:
            Its number; None if the newest one says it already.

        Raises:
            LeaseElsewhere: another process decides now.
            StateError: it cannot be read, signed or stored; or two parts contradict each other.
        """
        told = merged(parts)
        row = self._store.newest()
        if row is not None and self._says(row, told):
            return None
        if row is None and told == Steered():
            return None
        steering = Steering(
            v=STEERING_VERSION,
            version=self._store.last() + 1,
            base=self._identity.base,
            iss=self._identity.issuer,
            iat=Milliseconds(now_ms),
            rollouts=told.rollouts,
            throttles=told.throttles,
        )
        try:
            statement, jws = sign_steering(steering, self._signer.kid, self._signer.sign)
        except (SteeringRefused, SigningFailed) as error:
            raise StateError(
                f"the next steering cannot be made: {error}",
                next_step="Gateways keep what they were told last; `verismo decisions` shows what "
                "was decided since.",
            ) from error
        # A crash before this: the next round makes it again. After it: the outcome is missing, and
        # the next round records that it was found.
        row = SteeringRow(steering.version, statement, jws, steering.iat)
        self._store.publish(token, row)
        return steering.version

    def _says(self, row: SteeringRow, told: Steered) -> bool:
        """Say whether gateways that follow a version are told this."""
        if row.version != self._read_version:
            self._read_version, self._in_force = row.version, self._opened(row)
        steering = self._in_force
        return (
            steering is not None
            and (steering.iss, steering.base) == (self._identity.issuer, self._identity.base)
            and (steering.rollouts, steering.throttles) == (told.rollouts, told.throttles)
        )

    def _opened(self, row: SteeringRow) -> Steering | None:
        """Return what a version says; None where gateways refuse it, so that a new one follows."""
        try:
            steering = open_steering(row.statement, row.jws, self._keys())
        except SteeringRefused:
            return None
        return steering if steering.version == row.version else None


def merged(parts: Iterable[Steered]) -> Steered:
    """Return all parts as one, in the order of the document."""
    found = list(parts)
    rollouts = [one for part in found for one in part.rollouts]
    throttles = [one for part in found for one in part.throttles]
    return Steered(
        tuple(sorted(rollouts, key=lambda one: (one.operation, one.tenant))),
        tuple(sorted(throttles, key=lambda one: (one.tenant, one.operation))),
    )
