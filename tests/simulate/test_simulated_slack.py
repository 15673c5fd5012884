"""The simulated webhook takes what Slack documents that it takes, and nothing else."""

import json

import httpx2
import pytest

from verismo.simulate.slack import Planned, message_fault, running_slack

PLAIN = {"type": "plain_text", "text": "x"}
MARKED = {"type": "mrkdwn", "text": "x"}


def body(*blocks, text="x"):
    return json.dumps({"text": text, "blocks": blocks}).encode()


def header(chars):
    return {"type": "header", "text": {**PLAIN, "text": "x" * chars}}


def section(chars):
    return {"type": "section", "text": {**MARKED, "text": "x" * chars}}


def fields(count, chars=1):
    return {"type": "section", "fields": [{**MARKED, "text": "x" * chars}] * count}


def context(count):
    return {"type": "context", "elements": [MARKED] * count}


@pytest.mark.parametrize(
    "taken",
    [
        body(),
        body(header(150)),
        body(section(3_000)),
        body(fields(10, 2_000)),
        body(context(10)),
        body(*[{"type": "divider"}] * 50),
    ],
)
def test_what_is_at_a_limit_is_taken(taken):
    assert message_fault(taken) == ""


@pytest.mark.parametrize(
    ("refused", "word"),
    [
        (b"{", "invalid_payload"),
        (b"\xff", "invalid_payload"),
        (body(text=""), "no_text"),
        (body(header(151)), "invalid_blocks"),
        (body(header(0)), "invalid_blocks"),
        (body({"type": "header", "text": MARKED}), "invalid_blocks"),
        (body(section(3_001)), "invalid_blocks"),
        (body(section(0)), "invalid_blocks"),
        (body({"type": "section"}), "invalid_blocks"),
        (body(fields(11)), "invalid_blocks"),
        (body(fields(1, 2_001)), "invalid_blocks"),
        (body(fields(0)), "invalid_blocks"),
        (body(context(11)), "invalid_blocks"),
        (body(context(0)), "invalid_blocks"),
        (body(*[{"type": "divider"}] * 51), "invalid_blocks"),
        (body({"type": "marquee"}), "invalid_blocks"),
        (body({**section(1), "colour": "red"}), "invalid_blocks"),
        (
            body({"type": "section", "text": {**MARKED, "emoji": True}}),
            "invalid_blocks",
        ),
        (body({"type": "header", "text": {**PLAIN, "text": "😀" * 76}}), "invalid_blocks"),
    ],
)
def test_what_is_over_a_limit_is_refused_with_slacks_word(refused, word):
    assert message_fault(refused) == word


def post(url, content, media="application/json"):
    return httpx2.post(url, content=content, headers={"content-type": media}, trust_env=False)


def test_webhook_answers_ok_and_keeps_what_it_took():
    with running_slack() as slack:
        answer = post(slack.url, body(section(1)))
        assert (answer.status_code, answer.text) == (200, "ok")
        assert slack.wait_for_taken(1)
        assert slack.taken == (body(section(1)),)


def test_unknown_address_and_media_are_refused():
    with running_slack() as slack:
        assert post(slack.url.replace("services", "other"), body()).text == "no_service"
        assert post(slack.url, body(), "text/plain").text == "invalid_payload"
        assert slack.taken == ()


def test_planned_answer_is_given_once():
    with running_slack() as slack:
        slack.plan(Planned(429, "rate_limited", {"retry-after": "7"}))
        answer = post(slack.url, body())
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
        assert post(slack.url, body()).status_code == 200
        assert (slack.asked, len(slack.taken)) == (2, 1)
