"""A witness that kills itself around one write: arguments folder, file with a body, when."""

import os
import signal
import sys
from pathlib import Path

from tests.support.witness import NAME, NOW_S

from verismo.adapters.witness_key import WitnessKey
from verismo.adapters.witness_sqlite import SqliteWitness
from verismo.control.witness import Witness
from verismo.wiring.witness import KEY_FILE, MEMORY_FILE


class Dying(SqliteWitness):
    """Dies before its head is stored, or right after it."""

    when = ""

    def advance(self, known, head):
        if self.when == "after":
            super().advance(known, head)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("still alive")


def main(folder: Path, body: Path, when: str) -> None:
    store = Dying(folder / MEMORY_FILE)
    store.when = when
    witness = Witness(store, WitnessKey(folder / KEY_FILE), NAME, lambda: NOW_S)
    witness.add_checkpoint(body.read_bytes())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
