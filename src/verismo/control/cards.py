"""Which decisions become cards, and their way to whoever takes cards.

A card is for what a person may want to know or to override: a change of traffic, a HOLD, a
rollback, a route that is throttled or let go, a route whose owner is asked. A verdict that stands
from look to look is told once. What was told is remembered in this process only: after a restart a
verdict that still stands is told again.
"""

from collections.abc import Collection
from typing import Final

import msgspec

from verismo.control.card import CommandOf, card_of, decision_facts, encode_card
from verismo.control.reasonwords import code_of
from verismo.model.act import Act
from verismo.model.decision import Decision, Subject
from verismo.ports.cards import CardSink

_CANARY: Final = frozenset({"PROMOTE", "HOLD", "ROLLBACK"})
_BUDGET: Final = frozenset({"THROTTLE", "RELEASE", "REVERT_STATIC"})
NEWS: Final = _CANARY | _BUDGET | {"SCALE_UP", "SCALE_DOWN"}
"""Verdicts that change something, or ask for a person."""
ASKS: Final = frozenset({"ask_owner"})
"""Reasons that ask for a person under whatever verdict."""
OLD: Final = frozenset({"rolled_back", "stopped", "finished"})
"""Reasons that say again how a rollout ended."""
BY_HAND: Final = "_by_hand"
"""Ends the reason of what a person did."""


class CardDesk:
    """Makes cards of decisions and hands them over; it never fails and never waits.

    Args:
        sink: takes cards.
        controllers: whose decisions become cards.
        command_of: returns the command line that overrides a decision.
    """

    def __init__(self, sink: CardSink, controllers: Collection[str], command_of: CommandOf) -> None:
        self._sink = sink
        self._controllers = frozenset(controllers)
        self._command_of = command_of
        self._told: dict[tuple[str, Subject], tuple[str, str]] = {}

    def told(self, decision: Decision[msgspec.Struct], act: Act | None = None) -> None:
        """Be told of a decision that is recorded and published.

        Args:
            decision: of any controller.
            act: what was told the controller, by a person or a flag; each one becomes a card.
        """
        if decision.controller not in self._controllers or not is_news(decision):
            return
        what = (decision.verdict, code_of(decision.reasons[0]) if decision.reasons else "")
        about = (decision.controller, decision.subject)
        action = decision.action
        is_known = self._told.get(about) == what and action.before == action.after
        if is_known and act is None:
            return
        self._told[about] = what
        facts = decision_facts(decision, self._command_of(decision), act)
        self._sink.hand_over(encode_card(card_of(facts)))


def is_news(decision: Decision[msgspec.Struct]) -> bool:
    """Say whether a person may want to know of a decision, or is asked."""
    codes = [code_of(one) for one in decision.reasons]
    first = codes[0] if codes else ""
    if first in OLD:
        return False
    return decision.verdict in NEWS or first in ASKS or first.endswith(BY_HAND)
