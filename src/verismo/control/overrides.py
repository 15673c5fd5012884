"""Command lines by which a person overrides a decision, for cards: nobody has to look them up."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from verismo.control.reasonwords import code_of
from verismo.model.decision import Decision, decision_digest

Verbs = tuple[tuple[str, ...], ...]

_REASON: Final = ("--reason", "WHY, AT LEAST 10 CHARACTERS")
_HOLD: Final = ("hold", "--for", "2h")
_CANARY: Final[Mapping[str, Verbs]] = {
    "PROMOTE": (_HOLD, ("rollback",)),
    "HOLD": (("promote",), ("extend", "--for", "4h"), ("rollback",)),
    "ROLLBACK": (("promote",), ("stop",)),
    "CONTINUE": (_HOLD, ("rollback",)),
}
"""What people may want to do about a verdict on a rollout."""
_LOOSEN: Final = (("static", "--for", "2h"), ("raise", "--usd-per-minute", "USD", "--for", "2h"))
_BUDGET: Final[Mapping[str, Verbs]] = {
    "THROTTLE": _LOOSEN,
    "NOOP": _LOOSEN,
    "CONTINUE": (("resume",),),
    "REVERT_STATIC": (("resume",),),
}
"""What people may want to do about a throttled route, or about what a person set."""


def override_command(decision: Decision[msgspec.Struct]) -> str:
    """Return one command line for each way to override a decision; empty where there is none.

    Args:
        decision: of any controller.
    """
    subject, code = decision.subject, code_of(next(iter(decision.reasons), ""))
    named = ["--operation", subject.operation]
    if subject.tenant:
        named += ["--tenant", subject.tenant]
    if decision.controller == "canary":
        named += ["--baseline", subject.baseline, "--candidate", subject.candidate]
        named += ["--of", decision_digest(decision)]
    lines = (
        (*("verismo", decision.controller), *verb, *named, *_REASON)
        for verb in _verbs(decision, code)
    )
    return "\n".join(map(_line, lines))


def _verbs(decision: Decision[msgspec.Struct], code: str) -> Verbs:
    if decision.controller == "canary":
        # Nobody overrides a broken invariant; it can be acknowledged.
        is_broken = code == "invariant_broken"
        return (("stop",),) if is_broken else _CANARY.get(decision.verdict, ())
    if decision.controller == "budget" and code != "thrash":
        return _BUDGET.get(decision.verdict, ())
    return ()


def _line(words: Sequence[str]) -> str:
    return " ".join(map(shlex.quote, words))
