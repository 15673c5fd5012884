"""The largest checkpoint of each log that a quorum has cosigned, beside the published one.

`<root>/<region>/<yyyy>/cosigned`: it goes with the tiles wherever they are copied.
"""

from pathlib import Path

from verismo.adapters.checkpoint_file import CheckpointFile
from verismo.model.errors import StateError
from verismo.model.ledger import LogId

COSIGNED = "cosigned"


class FolderCosigned:
    """A `ports.witness.CosignedStore`; one writer at a time, any number of readers.

    Args:
        root: the folder above the regions, such as `<data>/log`.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def cosigned(self, log: LogId) -> bytes | None:
        """Return the note with its cosignatures, None for none."""
        return self._file(log).read()

    def discard(self, log: LogId) -> None:
        """Remove what no witness has signed; see `ports.witness.CosignedStore`."""
        path = self._root / log.path / COSIGNED
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StateError(
                f"the checkpoint {path} cannot be removed: {error.strerror}",
                next_step="Check the rights of its folder; it is tried again by itself.",
            ) from error

    def keep(self, log: LogId, note: bytes) -> None:
        """Replace it; see `ports.witness.CosignedStore`."""
        self._file(log).replace(note)

    def _file(self, log: LogId) -> CheckpointFile:
        folder = self._root / log.path
        return CheckpointFile(folder / COSIGNED, folder / ".lock")
