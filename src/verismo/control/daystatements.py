"""The day's statements and captured content, encrypted for each tenant as they go by.

One file for each tenant and hour of writing, in further parts where there is much; what belongs to
no tenant, recorded gaps and key rings, lies under the gateway's own data key. Deleting a tenant's
key makes its files unreadable wherever they are, and no proof needs them.
"""

from collections.abc import Callable

import msgspec

from verismo.attest.leaf import LeafType
from verismo.attest.rollup import LOST_LEAF, Tally
from verismo.control.dayfiles import STATEMENTS, ArchivedRecord, pack_lines, record_line
from verismo.control.dayleaves import Leaf
from verismo.model.errors import IntegrityError
from verismo.model.ids import TenantId
from verismo.ports.journal import Record
from verismo.ports.vault import Vault

PART_BYTES = 8_388_608
"""Of one file before it is packed; a file is encrypted in memory."""
HELD_BYTES_MAX = 67_108_864
"""Of all tenants and hours together; then every file gets its next part."""
GATEWAY = TenantId("~gateway")
"""Whose key seals what belongs to no tenant; `~` stands in no tenant's name."""
GATEWAY_HANDLE = "gateway"
MS_PER_HOUR = 3_600_000

Add = Callable[[str, bytes], None]
"""Stores a file of the day under its name."""


class _Policy(msgspec.Struct, frozen=True):
    decision: str


class _Response(msgspec.Struct, frozen=True):
    status: int


class _Answer(msgspec.Struct, frozen=True):
    """What of an answer's statement is counted, and whose handle it carries."""

    aud: str
    policy: _Policy
    res: _Response


class _Held(msgspec.Struct):
    """Lines of one file that are not written yet."""

    handle: str
    lines: list[bytes]
    size: int = 0
    parts: int = 0


_Key = tuple[TenantId, int]
_decode = msgspec.json.Decoder(_Answer).decode


class StatementFiles:
    """Takes leaves in their order; `erased` says how many were not kept for an erasure.

    Args:
        vault: the tenants' data keys.
        prefix: what the names of the day begin with in the archive; the files are bound to it.
        add: stores a file.
    """

    def __init__(self, vault: Vault, prefix: str, add: Add) -> None:
        self._vault = vault
        self._prefix = prefix
        self._add = add
        self._held: dict[_Key, _Held] = {}
        self._size = 0
        self._erased: dict[TenantId, bool] = {}
        self.erased = 0
        self.tally = Tally()

    def take(self, leaf: Leaf) -> None:
        """Count a leaf and keep its record for its tenant's file.

        Raises:
            IntegrityError: an answer's statement cannot be read.
            StateError: a tenant's key cannot be used.
        """
        record = leaf.record
        if record is None:
            self.tally.count(LOST_LEAF)
            return
        tenant, handle = GATEWAY, GATEWAY_HANDLE
        if leaf.kind == LeafType.ANSWER:
            answer = _answer(leaf, record)
            tenant, handle = record.tenant, answer.aud
            self.tally.count_answer(answer.policy.decision, answer.res.status)
        else:
            self.tally.count(leaf.kind.name.lower())
        if self._is_erased(tenant):
            self.erased += 1
            return
        line = record_line(ArchivedRecord(leaf.index, leaf.source, int(leaf.kind), record))
        key = tenant, record.written_ms // MS_PER_HOUR % 24
        held = self._held.setdefault(key, _Held(handle, []))
        held.lines.append(line)
        held.size += len(line)
        self._size += len(line)
        if held.size >= PART_BYTES:
            self._write(key, held)
        elif self._size >= HELD_BYTES_MAX:
            self.finish()

    def finish(self) -> None:
        """Write what is held; more may follow."""
        for key, held in sorted(self._held.items()):
            if held.lines:
                self._write(key, held)

    def _write(self, key: _Key, held: _Held) -> None:
        part = f"-{held.parts}" if held.parts else ""
        name = f"{STATEMENTS}{held.handle}/{key[1]:02d}{part}.ndjson.gz.enc"
        sealed = self._vault.seal_file(key[0], self._prefix + name, pack_lines(held.lines))
        self._add(name, sealed)
        self._size -= held.size
        self._held[key] = _Held(held.handle, [], 0, held.parts + 1)

    def _is_erased(self, tenant: TenantId) -> bool:
        # Asked once a day and tenant: who is erased in between makes `seal_file` refuse, and the
        # whole day is made again.
        if tenant not in self._erased:
            self._erased[tenant] = self._vault.is_erased(tenant)
        return self._erased[tenant]


def _answer(leaf: Leaf, record: Record) -> _Answer:
    try:
        return _decode(record.statement)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise IntegrityError(
            f"the statement of leaf {leaf.index} ({leaf.source} {record.seq_n}) is damaged"
        ) from error
