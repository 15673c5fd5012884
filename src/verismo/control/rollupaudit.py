"""Checks the finished days on this machine: signature, succession, and every file that is named."""

from collections.abc import Iterator, Mapping
from datetime import date

from verismo.attest.keys import PublicKey
from verismo.attest.rollup import RollupRefused, RollupStatement, check_succession, open_rollup
from verismo.control import dayfiles
from verismo.control.treeaudit import Finding
from verismo.model import canonical
from verismo.model.errors import IntegrityError, StateError
from verismo.model.ledger import LogId
from verismo.ports.rollups import RollupStore


class RollupAudit:
    """Walks the finished days of one log.

    Args:
        rollups: where they are.
        keys: of the key ring, by kid.
        log: which log.
        origin: its name.
    """

    def __init__(
        self, rollups: RollupStore, keys: Mapping[str, PublicKey], log: LogId, origin: str
    ) -> None:
        self._rollups = rollups
        self._keys = keys
        self._log = log
        self._origin = origin
        self.heads: dict[str, tuple[int, bytes]] = {}
        """Size and root that each believed rollup states, by the rollup's name."""

    def findings(self) -> Iterator[Finding]:
        """Yield what is wrong, earliest day first.

        Raises:
            StateError: a file cannot be read.
        """
        earlier: bytes | None = None
        for day in self._rollups.days(self._log):
            where = f"rollups/{self._log.path}/{day}/"
            names = self._rollups.names(self._log, day)
            # Asked after the names: a day without an answer was whole when they were read.
            is_archived = self._rollups.proofs(self._log, day) is not None
            if dayfiles.ROLLUP not in names:
                yield self._found(f"{where}{dayfiles.ROLLUP} is not there")
                continue
            envelope = self._rollups.read(self._log, day, dayfiles.ROLLUP)
            try:
                statement = self._open(envelope, earlier, day)
            except RollupRefused as error:
                yield self._found(f"{where}{dayfiles.ROLLUP}: {error}")
                continue
            finally:
                earlier = envelope
            told = statement.predicate
            self.heads[f"the rollup of {day}"] = (told.size, bytes.fromhex(told.root))
            wanted = {one.name: one.digest.sha256 for one in statement.subject}
            for name in sorted(wanted.keys() - set(names)):
                if not is_archived or name in dayfiles.KEPT:
                    yield self._found(f"{where}{name} is not there")
            for name in names:
                yield from self._file(where, day, name, wanted)
            wanted[dayfiles.ROLLUP] = canonical.digest(envelope)
            yield from self._manifest(where, day, wanted)

    def _open(self, envelope: bytes, earlier: bytes | None, day: date) -> RollupStatement:
        statement = open_rollup(envelope, self._keys)
        told = statement.predicate
        if (told.origin, told.day) != (self._origin, day.isoformat()):
            raise RollupRefused(f"it is of {told.origin}, {told.day}")
        if earlier is not None:
            check_succession(earlier, statement)
        elif told.first:
            raise RollupRefused("the rollups before it are missing")
        return statement

    def _file(
        self, where: str, day: date, name: str, wanted: Mapping[str, str]
    ) -> Iterator[Finding]:
        if name in (dayfiles.ROLLUP, dayfiles.MANIFEST):
            return
        if name not in wanted:
            yield self._found(f"{where}{name} is no file that the rollup names")
            return
        try:
            content = self._rollups.read(self._log, day, name)
        except StateError:
            if self._rollups.proofs(self._log, day) is not None and name not in dayfiles.KEPT:
                return  # it went to the archive in this moment
            raise
        if canonical.digest(content) != wanted[name]:
            yield self._found(f"{where}{name} is not the file that the rollup names")

    def _manifest(self, where: str, day: date, wanted: Mapping[str, str]) -> Iterator[Finding]:
        if dayfiles.MANIFEST not in self._rollups.names(self._log, day):
            yield self._found(f"{where}{dayfiles.MANIFEST} is not there")
            return
        try:
            manifest = dayfiles.read_manifest(self._rollups.read(self._log, day, dayfiles.MANIFEST))
        except IntegrityError as error:
            yield self._found(f"{where}{dayfiles.MANIFEST}: {error.detail}")
            return
        listed = {one.name: one.sha256 for one in manifest.files}
        if (manifest.origin, manifest.day, listed) != (self._origin, day.isoformat(), wanted):
            yield self._found(f"{where}{dayfiles.MANIFEST} is not that of the rollup")

    def _found(self, detail: str) -> Finding:
        return Finding("rollup", self._origin, detail)
