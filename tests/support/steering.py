"""Publishes steering as the control process does, and what no gateway would follow."""

import time
from collections.abc import Sequence

import msgspec

from verismo.adapters.adapt_file import FILE_NAME, AdaptFile
from verismo.adapters.decisions_sqlite import SqliteSteering
from verismo.adapters.keyring_files import KeyRingFiles
from verismo.attest import jws
from verismo.attest.keys import Role
from verismo.attest.planseal import seal
from verismo.config.schema import Config
from verismo.control.looks import Steered
from verismo.control.publish import Publisher, SteeringIdentity
from verismo.control.rotation import RingHistory
from verismo.model import canonical
from verismo.model.plan import plan_digest
from verismo.model.steering import STEERING_VERSION, Rollout, Steering
from verismo.ports.steering import SteeringRow
from verismo.wiring.keys import open_signer

LEASE_MS = 600_000


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Steersman:
    """Tells gateways of a data folder what to do.

    Args:
        config: of the gateway.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._file = AdaptFile(config.data / FILE_NAME)
        self.store = SqliteSteering(self._file)
        self._token = self._file.acquire("test", now_ms(), LEASE_MS)
        self.base = plan_digest(config.plan)
        ring = RingHistory(KeyRingFiles(config.data))
        self._publisher = Publisher(
            self.store,
            open_signer(config.data, "plan", config.keys, now_ms()),
            lambda: ring.read()[-1].ring.keys,
            SteeringIdentity(config.plan.issuer, self.base),
        )

    def tell(self, *rollouts: Rollout) -> int:
        """Publish rollouts; returns the version, or that of the one that says so already."""
        told = [Steered(rollouts=tuple(rollouts))]
        return self._publisher.publish(self._token, told, now_ms()) or self.store.version()

    def steering(self, rollouts: Sequence[Rollout] = (), **more: object) -> Steering:
        """Return a document that a gateway would follow, but for what is said otherwise."""
        fields = {
            "v": STEERING_VERSION,
            "version": self.store.version() + 1,
            "base": self.base,
            "iss": self._config.plan.issuer,
            "iat": now_ms(),
            "rollouts": tuple(rollouts),
        }
        return Steering(**(fields | more))

    def put(self, steering: Steering, role: Role = "plan", *, forged: bool = False) -> int:
        """Store a document without asking whether anybody would follow it; returns its row.

        Args:
            steering: what it says.
            role: of the key that signs it.
            forged: whether it is changed after it was signed.
        """
        signer = open_signer(self._config.data, role, self._config.keys, now_ms())
        statement = canonical.encode(steering)
        seal_of = seal(statement, signer.kid, jws.TYPE_STEERING, signer.sign).encode()
        if forged:
            statement = canonical.encode(msgspec.structs.replace(steering, iat=steering.iat - 1))
        row = SteeringRow(self.store.version() + 1, statement, seal_of, now_ms())
        self.store.publish(self._token, row)
        return row.version

    def newest(self) -> Steering:
        """Return what was published last."""
        row = self.store.newest()
        assert row is not None
        return canonical.decode(row.statement, Steering)

    def close(self) -> None:
        """Give the lease up and close the file."""
        self._file.release(self._token)
        self._file.close()
