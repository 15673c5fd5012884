"""Overrides that stand in the configuration: a flag becomes an act like any person's, once.

Only what takes traffic away from a candidate, or keeps it where it is, may stand there. Whoever may
change the configuration is taken for an admin. A flag is the same for as long as all it says is;
with another reason or expiry it is a new one.
"""

from typing import Final, Literal

import msgspec

from verismo.model.act import Act
from verismo.model.decision import Subject
from verismo.model.ids import OperationId, TenantId
from verismo.model.units import Milliseconds

FlagVerb = Literal["hold", "rollback"]
ACTOR: Final = "configuration"


class Flag(msgspec.Struct, frozen=True):
    """One override.

    Args:
        operation: whose rollout.
        tenant: of the rollout; empty for one of all tenants.
        verb: what it does.
        reason: why, 10 to 1,000 characters.
        expires_ms: Unix ms; from then on it is as if it did not stand there.
    """

    operation: OperationId
    tenant: TenantId
    verb: FlagVerb
    reason: str
    expires_ms: Milliseconds


def is_about(flag: Flag, subject: Subject) -> bool:
    """Say whether a flag is about a rollout."""
    return (flag.operation, flag.tenant) == (subject.operation, subject.tenant)


def act_of_flag(flag: Flag, subject: Subject, of: str, now_ms: int) -> Act:
    """Return what a flag comes to.

    Args:
        flag: which.
        subject: the rollout.
        of: digest of the newest decision about it, hex.
        now_ms: Unix ms.
    """
    return Act(
        controller="canary",
        verb=flag.verb,
        subject=subject,
        actor=ACTOR,
        key="",
        role="admin",
        reason=flag.reason,
        of=of,
        at_ms=Milliseconds(now_ms),
        expires_ms=flag.expires_ms,
        channel="flag",
    )


def is_same(act: Act, flag: Flag) -> bool:
    """Say whether an act is what a flag came to."""
    return (
        act.channel == "flag"
        and is_about(flag, act.subject)
        and (act.verb, act.reason, act.expires_ms) == (flag.verb, flag.reason, flag.expires_ms)
    )
