"""Cards say what was decided, always within Slack's limits, and let nobody forge a mention."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.adapt.canaryfile import CanaryFile, FileLook
from verismo.adapt.canaryobservation import CanaryObservation
from verismo.adapt.canarysettings import CanarySettings
from verismo.control.card import card_of, decision_facts, encode_card, escaped, file_facts
from verismo.model.act import Act
from verismo.model.decision import Action, Decision, Metric, Subject, decision_digest
from verismo.simulate.slack import message_fault

NOTHING_SEEN = CanaryObservation(None, None)
ROUTE = Subject("TENANT_001", "chat-support", "gpt-a", "gpt-b")


class Nothing(msgspec.Struct, frozen=True):
    pass


def decision_of(**changed):
    values = {
        "controller": "canary",
        "version": 1,
        "subject": ROUTE,
        "verdict": "HOLD",
        "action": Action("weight_ppm", 200_000, 50_000),
        "reasons": ("evidence_worse", "traffic_reduced", "bake_doubled"),
        "inputs": "a" * 64,
        "settings": "b" * 64,
        "at_ms": 1_790_000_000_000,
        "metrics": (
            Metric("score", "WORSE", {"score_ppm": 550_000, "threshold_ppm": 850_000}),
            Metric("p95", "WORSE", {"effect_ppm": 118_000, "score_ppm": 420_000}),
            Metric("cost", "NODATA", {"effect_ppm": None, "score_ppm": None}),
        ),
        "state": Nothing(),
    }
    return Decision(**{**values, **changed})


def shown(decision, **options):
    return json.loads(encode_card(card_of(decision_facts(decision, **options))))


def texts(card):
    return json.dumps(card["blocks"], ensure_ascii=False)


def test_card_says_verdict_route_and_weight_in_its_heading():
    card = shown(decision_of())
    assert card["blocks"][0]["type"] == "header"
    heading = card["blocks"][0]["text"]["text"]
    assert heading == "HOLD: chat-support / TENANT_001 / gpt-b at 5 %"


def test_card_gives_reasons_in_words_and_metrics_with_units():
    card = texts(shown(decision_of()))
    assert "• the evidence says that the candidate is worse than tolerated" in card
    assert "20 % → 5 %" in card
    assert "*p95 (WORSE)*\\neffect 11.8 %, score 42 %" in card
    assert "score 55 %, threshold 85 %" in card


def test_missing_number_is_no_data_and_no_zero():
    assert "*cost (NODATA)*\\nno data" in texts(shown(decision_of()))


def test_card_names_the_whole_digest_and_the_command_that_overrides():
    decision = decision_of()
    digest = decision_digest(decision)
    card = texts(shown(decision, command=f"verismo canary hold --of {digest}"))
    assert f"decision {digest}" in card
    assert f"```verismo canary hold --of {digest}```" in card


def test_no_command_is_named_where_nobody_can_override():
    assert "override" not in texts(shown(decision_of()))


def test_text_for_notifications_says_it_in_one_line():
    text = shown(decision_of())["text"]
    assert text.startswith("HOLD: chat-support / TENANT_001 / gpt-b at 5 %: the evidence says")
    assert "\n" not in text


def test_action_that_changes_nothing_is_said_to_stay():
    card = texts(shown(decision_of(action=Action("weight_ppm", 50_000, 50_000))))
    assert "stays 5 %" in card
    assert "→" not in card


def act_of(**changed):
    values = {
        "controller": "canary",
        "verb": "hold",
        "subject": ROUTE,
        "actor": "Dana",
        "key": "k1",
        "role": "admin",
        "reason": "the provider has an incident",
        "of": "d" * 64,
        "at_ms": 1_790_000_000_000,
        "expires_ms": 1_790_003_600_000,
        "channel": "cli",
    }
    return Act(**{**values, **changed})


FLAG = {"actor": "configuration", "key": "", "channel": "flag"}


@pytest.mark.parametrize(
    ("verb", "verdict", "code", "did"),
    [
        ("hold", "HOLD", "held_by_hand", "holds the rollout where it is"),
        ("rollback", "ROLLBACK", "rolled_back_by_hand", "rolled back"),
    ],
)
def test_card_of_a_flag_says_that_it_is_the_configuration_and_why(verb, verdict, code, did):
    decision = decision_of(verdict=verdict, reasons=(code,))
    flagged = shown(decision, act=act_of(verb=verb, **FLAG))
    card = texts(flagged)
    assert f"• a flag of the configuration {did}" in card
    assert f"a flag of the configuration {did}" in flagged["text"]
    assert "*Told by*\\na flag of the configuration" in card
    assert "*Why*\\nthe provider has an incident" in card
    assert ("*Until*\\n2026-09-21 15:13:20.000Z" in card) is (verb == "hold"), "a rollback stays"
    assert "person" not in card + flagged["text"]


def test_card_of_a_persons_act_names_the_person_why_and_until_when():
    card = texts(shown(decision_of(reasons=("held_by_hand",)), act=act_of()))
    assert "• a person holds the rollout where it is" in card
    assert "*Told by*\\nDana" in card
    assert "*Until*\\n2026-09-21 15:13:20.000Z" in card
    assert "configuration" not in card


def test_act_that_sets_nothing_for_a_while_has_no_end_on_its_card():
    assert "*Until*" not in texts(shown(decision_of(), act=act_of(verb="start", expires_ms=0)))


def test_hold_whose_author_the_card_does_not_know_is_not_put_down_to_a_person():
    card = texts(shown(decision_of(reasons=("held_by_hand", "evidence_open"))))
    assert "a person or a flag of the configuration holds the rollout where it is" in card


def test_mention_in_the_reason_of_an_act_is_shown_as_text():
    act = act_of(actor="<!here>", reason="see <https://evil.example|this> now")
    card = texts(shown(decision_of(), act=act))
    assert "<" not in card
    assert "&lt;!here&gt;" in card


def test_scaling_card_is_about_its_target():
    decision = decision_of(
        controller="scaling",
        subject=Subject(target="gateway"),
        verdict="SCALE_UP",
        action=Action("replicas", 4, 6),
        metrics=(),
    )
    assert shown(decision)["blocks"][0]["text"]["text"] == "SCALE_UP: gateway at 6"


def test_mention_in_a_reason_is_shown_as_text():
    hostile = decision_of(reasons=("invariant_broken: <!channel> <https://evil.example|click>",))
    card = encode_card(card_of(decision_facts(hostile, "x <!here>"))).decode()
    assert "<" not in card
    assert "&lt;!channel&gt;" in card


def test_names_become_no_links_and_no_mentions():
    card = shown(decision_of())
    marked = [
        one
        for block in card["blocks"]
        for one in [block.get("text"), *block.get("fields", []), *block.get("elements", [])]
        if one and one["type"] == "mrkdwn"
    ]
    assert marked
    assert all(one["verbatim"] for one in marked)


def test_command_cannot_end_its_code_block():
    card = shown(decision_of(), command="verismo ``` <!channel>")
    [block] = [one for one in card["blocks"] if "override" in one.get("text", {}).get("text", "")]
    assert block["text"]["text"].count("```") == 2


@given(
    name=st.text(max_size=400),
    reason=st.text(max_size=4_000),
    command=st.text(max_size=4_000),
    count=st.integers(0, 30),
    told=st.booleans(),
)
def test_every_card_is_taken_whatever_it_says(name, reason, command, count, told):
    decision = decision_of(
        subject=Subject(name, name, name, name),
        reasons=(reason, f"window_refused: {reason}"),
        metrics=tuple(Metric(f"{name}{at}", "OK", {"effect_ppm": 1}) for at in range(count)),
    )
    act = act_of(actor=name, reason=reason) if told else None
    assert message_fault(encode_card(card_of(decision_facts(decision, command, act)))) == ""


@pytest.mark.parametrize(
    ("text", "chars_max", "fitted"),
    [
        ("abcde", 5, "abcde"),
        ("abcdef", 5, "abcd…"),
        ("ab&cd", 6, "ab…"),
        ("ab&", 7, "ab&amp;"),
        ("a\x07b\u202ec", 9, "a b c"),
        ("😀😀😀", 4, "😀…"),
        ("", 1, ""),
    ],
)
def test_text_is_cut_between_characters_and_never_within_an_entity(text, chars_max, fitted):
    assert escaped(text, chars_max) == fitted


def file_of(**changed):
    metric = Metric("p95", "WORSE", {"effect_ppm": 200_000, "score_ppm": 0})
    look = FileLook(1, "HOLD", ("evidence_worse",), 500_000, (metric,), NOTHING_SEEN, "d" * 64)
    values = {
        "v": 1,
        "origin": "scraped",
        "note": "p95 on the buckets of the metrics",
        "subject": Subject("", "outside", "baseline", "candidate"),
        "score": CanarySettings(),
        "started_ms": 1_790_000_000_000,
        "decisions": (look,),
        "verdict": "HOLD",
        "reasons": ("evidence_worse",),
    }
    return CanaryFile(**{**values, **changed})


def test_card_of_a_comparison_says_what_it_came_to_and_whence_its_windows_are():
    card = json.loads(encode_card(card_of(file_facts(file_of(), "https://ci.example/run/1"))))
    assert card["blocks"][0]["text"]["text"] == "HOLD: outside / candidate"
    assert "*p95 (WORSE)*\\neffect 20 %, score 0 %" in texts(card)
    assert "windows: scraped" in texts(card)
    assert "<https://ci.example/run/1|Details>" in texts(card)
    assert "override" not in texts(card)


def test_simulated_windows_are_called_so():
    assert "windows: simulated" in texts(
        json.loads(encode_card(card_of(file_facts(file_of(origin="simulated")))))
    )


def test_comparison_without_any_look_still_makes_a_card():
    body = encode_card(card_of(file_facts(file_of(decisions=()))))
    assert message_fault(body) == ""


@pytest.mark.parametrize(
    "link", ["http://ci.example", "https://a|<!channel>", "https://a b", "https://" + "a" * 3_000]
)
def test_link_that_could_forge_a_mention_is_left_out(link):
    card = encode_card(card_of(file_facts(file_of(), link))).decode()
    assert "Details" not in card
