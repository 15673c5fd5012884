"""Acts: what people tell the controllers. Each one is an input of a decision, and is kept as such.

An act begins a rollout, overrides a verdict or sets a limit by hand. It names who, why and until
when; an override also names the decision that it overrides, so that nobody overrides what he has
not seen.

Source: ADR-031; notes-adapt 1.2, 2.3.
"""

from typing import Final, Literal

import msgspec

from verismo.model.decision import Controller, Subject
from verismo.model.units import Milliseconds

Verb = Literal[
    "start",
    "stop",
    "promote",
    "hold",
    "rollback",
    "extend",
    "freeze",
    "raise",
    "static",
    "resume",
]
"""Of the canary: start, stop, promote, hold, rollback, extend. Of budgets: freeze, raise, static,
resume (which ends what was set by hand)."""
REASON_CHARS_MIN: Final = 10
"""Shorter reasons explain nothing to whoever reads the evidence."""
REASON_CHARS_MAX: Final = 1_000


class Act(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that a person told a controller.

    Args:
        controller: which.
        verb: what it is to do.
        subject: about what.
        actor: name of the admin key's holder; `configuration` for a flag that stands there.
        key: public part of the admin key; empty for a flag.
        role: of that key; `admin` for a flag.
        reason: why, 10 to 1,000 characters.
        of: digest of the decision that it overrides, hex; empty for `start` and limits by hand.
        at_ms: Unix ms.
        expires_ms: Unix ms; until when what it sets holds. 0 where nothing lasts.
        values: by name with its unit last, such as `limit_usd_micros`.
        channel: how it came.
    """

    controller: Controller
    verb: Verb
    subject: Subject
    actor: str
    key: str
    role: str
    reason: str
    of: str
    at_ms: Milliseconds
    expires_ms: Milliseconds = Milliseconds(0)
    values: dict[str, int] = {}
    channel: Literal["api", "cli", "slack", "flag"] = "api"
