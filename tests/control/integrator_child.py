"""A process that integrates until it kills itself: arguments folder, write to die at, mode.

Its source has 130 answers more in each run, the same ones whoever asks.
"""

import os
import signal
import sys
from pathlib import Path
from typing import cast

from tests.support.ledger import NOW_MS, Place
from tests.support.ledgerfaults import Faults, Mode, faulty_desk

STEP_MS = 60_000
"""More than the lease: whoever had it is dead."""


def main(folder: Path, at: int, mode: Mode) -> None:
    place = Place(folder)
    runs = folder / "runs"
    number = int(runs.read_text()) + 1 if runs.exists() else 1
    runs.write_text(str(number))
    faults = Faults(at, mode, lambda: os.kill(os.getpid(), signal.SIGKILL))
    integrator = place.integrator(faulty_desk(place, faults), holder=f"run {number}")
    for half in range(2):
        place.source.lists.clear()
        place.source.add(130 * number - 65 * (1 - half))
        integrator.step(NOW_MS + number * STEP_MS + 2_000 * half)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), cast("Mode", sys.argv[3]))
