"""Says how the controllers of a data folder stand, whether anything runs or not."""

from contextlib import closing

import msgspec

from verismo.adapters.adapt_file import FILE_NAME, AdaptFile
from verismo.adapters.decisions_sqlite import SqliteDecisions, SqliteSteering
from verismo.adapters.keyring_files import KeyRingFiles
from verismo.attest.steeringdoc import SteeringRefused, open_steering
from verismo.config.schema import Config
from verismo.control.rotation import RingHistory
from verismo.model.errors import StateError
from verismo.model.plan import plan_digest


class AdaptState(msgspec.Struct, frozen=True):
    """What gateways would follow if they started now.

    Args:
        record: number of the newest record, 0 for none.
        version: of the steering, 0 for none.
        is_ours: whether that belongs to this configuration; others do not follow it.
    """

    record: int
    version: int
    is_ours: bool


def read_adapt_state(config: Config) -> AdaptState:
    """Look at `adapt.db`, which need not be there.

    Args:
        config: the validated configuration.

    Raises:
        StateError: it cannot be read, or gateways would refuse its steering.
    """
    with closing(AdaptFile(config.data / FILE_NAME, read_only=True)) as file:
        tip, row = SqliteDecisions(file).tip(), SqliteSteering(file).newest()
    record = 0 if tip is None else tip.n
    if row is None:
        return AdaptState(record, 0, True)
    history = RingHistory(KeyRingFiles(config.data)).read()
    try:
        steering = open_steering(row.statement, row.jws, history[-1].ring.keys if history else ())
    except SteeringRefused as error:
        raise StateError(
            f"version {row.version} of the steering: {error}",
            next_step="The control process publishes a new version once it runs. If it does run: "
            "look for who writes adapt.db, and run `verismo audit`.",
        ) from error
    return AdaptState(record, row.version, steering.base == plan_digest(config.plan))
