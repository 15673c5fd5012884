"""People are told what changes or asks for them, once, and of nothing else."""

import json

import msgspec
import pytest

from verismo.control.cards import CardDesk, is_news
from verismo.model.act import Act
from verismo.model.decision import Action, Decision, Subject

SAME = Action("weight_ppm", 50_000, 50_000)
LOWER = Action("weight_ppm", 200_000, 50_000)


class Nothing(msgspec.Struct, frozen=True):
    pass


class Pile:
    """A `CardSink` that keeps what it is handed."""

    def __init__(self):
        self.cards = []

    def hand_over(self, card):
        self.cards.append(json.loads(card))

    @property
    def headings(self):
        return [one["blocks"][0]["text"]["text"] for one in self.cards]


def decision_of(verdict, *reasons, action=SAME, controller="canary", operation="chat"):
    return Decision(
        controller=controller,
        version=1,
        subject=Subject("", operation, "a", "b"),
        verdict=verdict,
        action=action,
        reasons=reasons,
        inputs="",
        settings="",
        at_ms=1,
        metrics=(),
        state=Nothing(),
    )


@pytest.fixture
def pile():
    return Pile()


@pytest.fixture
def desk(pile):
    return CardDesk(pile, ("canary", "budget"), lambda one: f"override {one.subject.operation}")


@pytest.mark.parametrize(
    ("verdict", "reason", "news"),
    [
        ("HOLD", "evidence_worse", True),
        ("PROMOTE", "evidence_no_worse", True),
        ("ROLLBACK", "hold_3", True),
        ("ROLLBACK", "rolled_back", False),
        ("CONTINUE", "evidence_open", False),
        ("CONTINUE", "finished", False),
        ("CONTINUE", "started_by_hand", True),
        ("NODATA", "no_window", False),
        ("NOOP", "within_limit", False),
        ("NOOP", "ask_owner", True),
        ("NOOP", "refused", False),
        ("THROTTLE", "w60_over", True),
        ("RELEASE", "recovered", True),
        ("REVERT_STATIC", "thrash toggles=5", True),
    ],
)
def test_only_what_changes_or_asks_is_news(verdict, reason, news):
    assert is_news(decision_of(verdict, reason)) is news


def test_card_has_the_command_for_its_decision(desk, pile):
    desk.told(decision_of("HOLD", "evidence_worse", action=LOWER))
    assert "override chat" in json.dumps(pile.cards)


def test_verdict_that_stands_is_told_once(desk, pile):
    for _ in range(5):
        desk.told(decision_of("HOLD", "inconclusive", "evidence_open"))
        desk.told(decision_of("CONTINUE", "window_thin"))
    assert len(pile.cards) == 1


def test_every_change_of_traffic_is_told(desk, pile):
    for _ in range(2):
        desk.told(decision_of("HOLD", "evidence_worse", action=LOWER))
    assert len(pile.cards) == 2


def test_other_verdict_and_other_route_are_told(desk, pile):
    desk.told(decision_of("HOLD", "inconclusive"))
    desk.told(decision_of("HOLD", "insufficient_data"))
    desk.told(decision_of("HOLD", "inconclusive", operation="embed"))
    desk.told(decision_of("HOLD", "inconclusive"))
    assert len(pile.cards) == 4


def test_each_act_is_told_and_what_it_leads_to_is_not_told_again(desk, pile):
    held = decision_of("HOLD", "held_by_hand")
    flag = Act(
        *("canary", "hold", held.subject, "configuration", "", "admin", "an incident there"),
        *("d" * 64, 1, 9_000, {}, "flag"),
    )
    desk.told(held, flag)
    desk.told(decision_of("HOLD", "held_by_hand", "evidence_open"))
    assert len(pile.cards) == 1
    desk.told(held, msgspec.structs.replace(flag, actor="Dana", channel="cli"))
    assert len(pile.cards) == 2
    assert "a flag of the configuration holds" in pile.cards[0]["text"]
    assert "a person holds" in pile.cards[1]["text"]


def test_controllers_that_are_not_chosen_are_not_told_of(desk, pile):
    desk.told(decision_of("SCALE_UP", "wish_above_band=6", controller="scaling"))
    assert pile.cards == []


def test_decision_without_reasons_still_makes_a_card(desk, pile):
    desk.told(decision_of("HOLD"))
    assert pile.headings == ["HOLD: chat / b at 5 %"]
