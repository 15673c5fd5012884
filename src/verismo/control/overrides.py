"""Command lines by which a person overrides a decision, for cards: nobody has to look them up."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from verismo.control.reasonwords import code_of
from verismo.model.decision import Decision, decision_digest

_REASON: Final = ("--reason", "WHY, AT LEAST 10 CHARACTERS")
_CANARY: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "PROMOTE": (("hold", "--for", "2h"), ("rollback",)),
    "HOLD": (("promote",), ("extend", "--for", "4h"), ("rollback",)),
    "ROLLBACK": (("promote",), ("stop",)),
    "CONTINUE": (("hold", "--for", "2h"), ("rollback",)),
}
"""What people may want to do about a verdict."""


def override_command(decision: Decision[msgspec.Struct]) -> str:
    """Return one command line for each way to override a decision; empty where there is none.

    Args:
        decision: of any controller.
    """
    subject = decision.subject
    if decision.controller != "canary" or not subject.candidate:
        return ""
    named = ["--operation", subject.operation]
    if subject.tenant:
        named += ["--tenant", subject.tenant]
    named += ["--baseline", subject.baseline, "--candidate", subject.candidate]
    digest = decision_digest(decision)
    verbs = _CANARY.get(decision.verdict, ())
    if decision.reasons and code_of(decision.reasons[0]) == "invariant_broken":
        # Nobody overrides a broken invariant; it can be acknowledged.
        verbs = (("stop",),)
    return "\n".join(
        _line(("verismo", "canary", *verb, *named, "--of", digest, *_REASON)) for verb in verbs
    )


def _line(words: Sequence[str]) -> str:
    return " ".join(map(shlex.quote, words))
