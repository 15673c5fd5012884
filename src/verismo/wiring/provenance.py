"""Composes what the command line reads of answers in a data folder: records and the key ring."""

from pathlib import Path

from verismo.adapters.journal_reader import SqliteJournalReader
from verismo.adapters.keyring_files import KeyRingFiles
from verismo.attest.keyentry import KeyRingRefused
from verismo.attest.keyring import read_version, write_keyring
from verismo.model.errors import OperatorError, StateError
from verismo.model.ids import ProvId
from verismo.ports.journal import Record
from verismo.wiring.vault import erased_tenants


class KeptAnswers:
    """The answers of a data folder, opened to read; close it after use.

    Args:
        data: the data folder.

    Raises:
        OperatorError: there is no such folder.
    """

    def __init__(self, data: Path) -> None:
        if not data.is_dir():
            raise OperatorError(
                f"{data} is no data folder",
                next_step="Name it by --data, or the configuration by --config.",
            )
        self._data = data
        self._reader = SqliteJournalReader(data)

    def close(self) -> None:
        """Close every file."""
        self._reader.close()

    def find(self, prov_id: ProvId) -> Record | None:
        """Return the record of an answer; None if there is none.

        Raises:
            OperatorError: its tenant was erased.
            StateError: a store cannot be read.
        """
        record = self._reader.find(prov_id)
        if record is None or record.kind != "answer":
            return None
        if record.tenant in erased_tenants(self._data):
            raise OperatorError(
                f"the tenant of {prov_id} was erased",
                next_step="Its records are not shown any more; their proofs still stand.",
            )
        return record

    def keyring(self) -> bytes:
        """Return the whole key ring, as the gateway publishes it.

        Raises:
            StateError: it cannot be read.
        """
        versions = KeyRingFiles(self._data).versions()
        try:
            history = [read_version(one.statement, one.jws.decode("ascii")) for one in versions]
        except KeyRingRefused as error:
            raise StateError(
                f"the key ring cannot be read: {error}", next_step="Restore keyring/ from a backup."
            ) from error
        return write_keyring(history)
