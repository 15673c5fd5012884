"""Cards reach Slack in order; a Slack that fails is asked again, and delays nobody."""

import logging
import socket
import threading
import time

import pytest

from verismo.adapters.slack_webhook import (
    PAUSE_S_MAX,
    RETRY_AFTER_S_MAX,
    TRIES_MAX,
    WAITING_MAX,
    SlackCards,
    SlackWebhook,
    WebhookSettings,
    post_patiently,
)
from verismo.ports.cards import CardUndelivered
from verismo.simulate.slack import Planned, running_slack

CARD = b'{"text":"one"}'


def numbered(number):
    return b'{"text":"%d"}' % number


class Pauses:
    """Keeps what was waited for instead of waiting."""

    def __init__(self, ends=False):
        self.seconds = []
        self._ends = ends

    def __call__(self, seconds):
        self.seconds.append(seconds)
        return self._ends


@pytest.fixture
def slack():
    with running_slack() as slack:
        yield slack


@pytest.fixture
def webhook(slack):
    webhook = SlackWebhook(WebhookSettings(slack.url, timeout_s=2.0))
    yield webhook
    webhook.close()


@pytest.fixture
def cards(webhook):
    cards = SlackCards(webhook, Pauses())
    yield cards
    cards.close()


@pytest.fixture
def nobody():
    """The address of a port that nothing listens at."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/services/T0/B0/SECRET"


def test_card_is_posted_as_json(slack, webhook):
    webhook.post(CARD)
    assert slack.taken == (CARD,)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_busy_or_broken_slack_may_be_asked_again(slack, webhook, status):
    slack.plan(Planned(status, "later", {"retry-after": "30"}))
    with pytest.raises(CardUndelivered) as caught:
        webhook.post(CARD)
    assert caught.value.again
    assert caught.value.retry_after_s == 30


@pytest.mark.parametrize("status", [302, 400, 403, 404, 410])
def test_refused_card_is_not_tried_again(slack, webhook, status):
    slack.plan(Planned(status, "channel_is_archived", {"location": "http://127.0.0.1:1/"}))
    pauses = Pauses()
    with pytest.raises(CardUndelivered, match=f"{status} channel_is_archived"):
        post_patiently(webhook, CARD, pauses)
    assert (slack.asked, pauses.seconds) == (1, [])


def test_pauses_double_and_honour_retry_after(slack, webhook):
    busy = Planned(429, "rate_limited", {"retry-after": "9"})
    slack.plan(Planned(500, "x"), busy, Planned(503, "x"))
    pauses = Pauses()
    post_patiently(webhook, CARD, pauses)
    assert pauses.seconds == [1, 9, 4]
    assert slack.taken == (CARD,)


@pytest.mark.parametrize(
    ("asked", "waited"),
    [("999999999", RETRY_AFTER_S_MAX), ("-5", 1), ("soon", 1), ("²", 1), ("", 1)],
)
def test_retry_after_is_bounded_and_nonsense_is_none(slack, webhook, asked, waited):
    slack.plan(Planned(429, "x", {"retry-after": asked.encode().decode("latin-1")}))
    pauses = Pauses()
    post_patiently(webhook, CARD, pauses)
    assert pauses.seconds == [waited]


def test_card_is_given_up_after_its_tries(slack, webhook):
    slack.plan(*[Planned(500, "x")] * 20)
    pauses = Pauses()
    with pytest.raises(CardUndelivered):
        post_patiently(webhook, CARD, pauses, tries_max=8)
    assert pauses.seconds == [1, 2, 4, 8, 16, 32, PAUSE_S_MAX]


def test_end_of_the_process_ends_the_tries(slack, webhook):
    slack.plan(*[Planned(500, "x")] * 20)
    with pytest.raises(CardUndelivered):
        post_patiently(webhook, CARD, Pauses(ends=True))
    assert slack.asked == 1


def test_address_stands_in_no_message_and_no_log(nobody, caplog):
    caplog.set_level(logging.DEBUG, logger="verismo")
    settings = WebhookSettings(nobody, timeout_s=2.0)
    webhook = SlackWebhook(settings)
    with pytest.raises(CardUndelivered) as caught:
        webhook.post(CARD)
    assert caught.value.again
    assert caught.value.__cause__ is None
    cards = SlackCards(webhook, Pauses())
    cards.hand_over(CARD)
    settle(cards)
    cards.close()
    assert "not delivered" in caplog.text
    shown = f"{caught.value!r} {settings!r} {[one.__dict__ for one in caplog.records]}"
    assert "SECRET" not in shown


def test_address_that_is_none_is_refused_without_being_shown():
    webhook = SlackWebhook(WebhookSettings("http://host:port/SECRET", timeout_s=1.0))
    with pytest.raises(CardUndelivered) as caught:
        webhook.post(CARD)
    webhook.close()
    assert not caught.value.again
    assert "SECRET" not in caught.value.detail


def settle(cards, timeout_s=10.0):
    """Wait until no card waits and none is being posted."""
    until = time.monotonic() + timeout_s
    before = cards.figures
    while before.waiting or before.sent + before.lost == 0:
        assert time.monotonic() < until
        threading.Event().wait(0.005)
        before = cards.figures


def test_cards_arrive_in_order(slack, cards):
    for number in range(10):
        cards.hand_over(numbered(number))
    assert slack.wait_for_taken(10)
    assert slack.taken == tuple(numbered(number) for number in range(10))


def test_refused_card_does_not_stop_the_next(slack, cards):
    cards.hand_over(b"{")
    cards.hand_over(CARD)
    assert slack.wait_for_taken(1)
    assert slack.taken == (CARD,)


def test_handing_over_waits_for_nobody_and_a_full_queue_drops_its_oldest(slack, webhook):
    entered, go_on = threading.Event(), threading.Event()

    def pause(_):
        entered.set()
        assert go_on.wait(10)
        return False

    slack.plan(Planned(500, "x"))
    cards = SlackCards(webhook, pause)
    cards.hand_over(numbered(0))
    assert entered.wait(10)  # the thread waits before it tries the first card again
    for number in range(1, WAITING_MAX + 4):
        cards.hand_over(numbered(number))
    assert cards.figures.waiting == WAITING_MAX
    assert cards.figures.lost == 3
    go_on.set()
    assert slack.wait_for_taken(WAITING_MAX + 1)
    cards.close()
    assert slack.taken[:3] == (numbered(0), numbered(4), numbered(5))
    assert cards.figures.sent == WAITING_MAX + 1


def test_closing_does_not_wait_for_a_pause(slack, webhook):
    slack.plan(*[Planned(429, "x", {"retry-after": "300"})] * TRIES_MAX)
    cards = SlackCards(webhook)
    cards.hand_over(CARD)
    while slack.asked == 0:
        threading.Event().wait(0.005)
    began = time.monotonic()
    cards.close()
    assert time.monotonic() - began < 5
    assert cards.figures.sent == 0
