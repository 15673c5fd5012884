"""What witnesses have said against the ledger of a data folder: `witness-contradictions.json`.

It is there as long as a witness contradicts. Once a quorum has, it stays until `ledger adopt`, and
no integrator signs beside it.
"""

from pathlib import Path

import msgspec

from verismo.adapters.checkpoint_file import replace_file
from verismo.model.errors import StateError
from verismo.ports.witness import Contradictions

FILE_NAME = "witness-contradictions.json"


class ContradictionsFile:
    """A `ports.witness.ContradictionStore`; one writer at a time, any number of readers.

    Args:
        data: the data folder.
    """

    def __init__(self, data: Path) -> None:
        self._path = data / FILE_NAME

    def contradictions(self) -> Contradictions:
        """Return what was said; see `ports.witness.ContradictionStore`."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Contradictions)
        except FileNotFoundError:
            return Contradictions()
        except OSError as error:
            raise _unusable(self._path, error.strerror or "") from error
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise _unusable(self._path, str(error)) from error

    def keep(self, contradictions: Contradictions) -> None:
        """Replace it; see `ports.witness.ContradictionStore`."""
        try:
            if contradictions == Contradictions():
                self._path.unlink(missing_ok=True)
            else:
                replace_file(self._path, msgspec.json.encode(contradictions))
        except OSError as error:
            raise _unusable(self._path, error.strerror or "") from error


def _unusable(path: Path, words: str) -> StateError:
    return StateError(
        f"{path} cannot be read or written: {words}",
        next_step="Nothing is signed until it can be: it may say that a quorum of witnesses knows "
        "another ledger; docs/runbooks/witness-split-view.md.",
    )
