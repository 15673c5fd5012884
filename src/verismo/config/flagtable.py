"""The shape of `[canary.flags."OPERATION"]` in verismo.toml: overrides that stand there."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from verismo.adapt.flag import Flag, FlagVerb
from verismo.adapt.override import EXPIRY_MS_MAX, OVERRIDES
from verismo.config.adapttable import AdaptTable
from verismo.config.source import Source, suggestion
from verismo.model.act import REASON_CHARS_MAX, REASON_CHARS_MIN
from verismo.model.ids import OperationId, TenantId
from verismo.model.units import Milliseconds

WEEK_DAYS: Final = EXPIRY_MS_MAX // 86_400_000
_VERBS: Final[Mapping[str, FlagVerb]] = {"hold": "hold", "rollback": "rollback"}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class FlagTable(msgspec.Struct, frozen=True):
    """Overrides the rollout of an operation, once: docs/adapt-canary.md, "Flags".

    Args:
        verb: `hold` or `rollback`; whatever gives a candidate more needs a person and a command.
        reason: why, 10 to 1,000 characters; it goes into the evidence.
        expires: until when, a time in UTC within a week, such as 2026-12-01T12:00:00Z.
        tenant: of the rollout; empty for one of all tenants.
    """

    verb: str
    reason: str
    expires: datetime
    tenant: str = ""


class Flagged(msgspec.Struct, frozen=True):
    """What flags may be about, and when they are read.

    Args:
        tenants: the ids that there are.
        operations: those that have candidates, and those that have not.
        now_ms: Unix ms.
        adapt: what is decided at all, and how long it can be read whole.
    """

    tenants: Collection[str]
    operations: Mapping[str, bool]
    now_ms: int
    adapt: AdaptTable


def check_flags(
    tables: Mapping[str, FlagTable], source: Source, known: Flagged
) -> tuple[Flag, ...]:
    """Check that every flag is about a rollout that there can be, and says what an act has to say.

    Args:
        tables: `[canary.flags]` by operation.
        source: verismo.toml; takes the problems.
        known: what there is.

    Returns:
        The flags; to be used only if nothing was found wrong.
    """
    found = []
    if tables and not known.adapt.enabled:
        source.error(("canary", "flags"), "nothing decides about rollouts: enable [adapt]")
    if tables and known.adapt.keep_days < WEEK_DAYS:
        source.error(
            ("canary", "flags"), f"need adapt.keep_days of {WEEK_DAYS} at least: each is done once"
        )
    for name, table in tables.items():
        _check_subject(name, table, source, known)
        verb = _verb(name, table, source)
        if not REASON_CHARS_MIN <= len(table.reason.strip()) <= REASON_CHARS_MAX:
            source.error(
                (*_path(name), "reason"),
                f"needs {REASON_CHARS_MIN} to {REASON_CHARS_MAX} characters",
            )
        expires_ms = _expires_ms(name, table, source, known.now_ms)
        if verb is not None:
            found.append(
                Flag(
                    OperationId(name),
                    TenantId(table.tenant),
                    verb,
                    table.reason,
                    Milliseconds(expires_ms),
                )
            )
    return tuple(found)


def _check_subject(name: str, table: FlagTable, source: Source, known: Flagged) -> None:
    if name not in known.operations:
        near = suggestion(name, known.operations)
        source.error(_path(name), f"there is no operation {name!r}{near}")
    elif not known.operations[name]:
        source.error(_path(name), "it has no `candidates`, so there is no rollout to override")
    if table.tenant and table.tenant not in known.tenants:
        near = suggestion(table.tenant, known.tenants)
        source.error((*_path(name), "tenant"), f"there is no tenant {table.tenant!r}{near}")


def _verb(name: str, table: FlagTable, source: Source) -> FlagVerb | None:
    verb = _VERBS.get(table.verb)
    if verb is not None:
        return verb
    path = (*_path(name), "verb")
    if table.verb in OVERRIDES:
        source.error(
            path,
            f"{table.verb} gives the candidate more and is no flag; run `verismo canary "
            f"{table.verb} --operation {name}`",
        )
    else:
        source.error(path, f"{table.verb!r} is not one of hold, rollback")
    return None


def _expires_ms(name: str, table: FlagTable, source: Source, now_ms: int) -> int:
    path = (*_path(name), "expires")
    if table.expires.utcoffset() != timedelta(0):
        source.error(path, "must be in UTC, with a Z at its end")
        return 0
    expires_ms = (table.expires - _EPOCH) // timedelta(milliseconds=1)
    if expires_ms <= now_ms:
        source.warn(path, "is over, so the flag does nothing; take it out")
    elif expires_ms > now_ms + EXPIRY_MS_MAX:
        source.error(path, "must be within a week")
    return expires_ms


def _path(name: str) -> tuple[str, str, str]:
    return ("canary", "flags", name)
