"""Makes a proof for `verismo verify` from a log's tiles, in a folder or at an address."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from verismo.attest.report import Report
from verismo.attest.tile import TileMissing, TileRefused
from verismo.attest.tileproof import Read, find_entry, prove_from_tiles
from verismo.attest.verify_ledger import signed_entry
from verismo.model.errors import OperatorError

SEARCHED_BUNDLES_MAX = 4_096
"""About a million entries, 35 MB; the search for an answer has to end."""


def proof_from(place: str, index: int | None, report: Report) -> bytes | None:
    """Return the proof file for a verified answer; None if it has no statement.

    Args:
        place: folder or URL that holds `checkpoint` and `tile/`.
        index: of the answer's entry; None searches the newest entries for it.
        report: of the answer.

    Raises:
        ProofRefused: the log does not hold the answer, or not yet.
        OperatorError: the log cannot be read whole.
    """
    entry = signed_entry(report)
    if entry is None:
        return None
    try:
        with _reader(place) as read:
            found = find_entry(read, entry, SEARCHED_BUNDLES_MAX) if index is None else index
            return prove_from_tiles(read, found).encode()
    except (TileMissing, TileRefused) as error:
        raise OperatorError(
            f"{place} is not a whole log: {error}",
            next_step="Name the folder or URL that holds `checkpoint` and all of `tile/`.",
        ) from error


@contextmanager
def _reader(place: str) -> Iterator[Read]:
    if place.startswith(("https://", "http://")):
        from verismo.cli.live import open_site  # noqa: PLC0415 - offline use loads no HTTP client

        with open_site(place) as read:
            yield read
        return
    folder = Path(place)
    if not folder.is_dir():
        raise OperatorError(
            f"there is no folder {place}",
            next_step="Name the folder or URL that holds `checkpoint` and `tile/`.",
        )
    yield lambda path: _read_file(folder / path)


def _read_file(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OperatorError(
            f"{path} cannot be read: {error.strerror}", next_step="Check the folder's rights."
        ) from error
