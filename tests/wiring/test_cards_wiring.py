"""Cards leave the control process, and a Slack that fails or hangs delays no decision."""

import json
import socket
import time
from contextlib import contextmanager

import pytest
from tests.support.waiting import until
from tests.wiring.test_adapt_wiring import CONFIG, Site

from verismo.config.load import load_config
from verismo.control.overrides import override_command
from verismo.model.act import Act
from verismo.model.decision import Subject
from verismo.simulate.slack import Planned, running_slack
from verismo.wiring.adapt import AdaptLoop

pytestmark = pytest.mark.slow
"""Each test makes a data folder with keys."""

SLACK = '[slack]\nwebhook_url_env = "HOOK"\ntimeout_ms = 300\n'
SUBJECT = Subject("", "chat", "old", "new")


@contextmanager
def hanging():
    """Listen and answer nobody."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/services/T0/B0/SECRET"


def site_with(folder, url):
    site = Site(folder, CONFIG + SLACK)
    site.config = load_config(folder / "verismo.toml", {"HOOK": url})
    return site


def start(at_ms):
    return Act(
        controller="canary",
        verb="start",
        subject=SUBJECT,
        actor="ada",
        key="k1",
        role="operator",
        reason="the release is due",
        of="",
        at_ms=at_ms,
    )


async def counted(loop, result):
    """Say whether one card is counted so."""
    return f'verismo_cards_total{{result="{result}"}} 1\n' in "".join(await loop.expose())


async def begun(site):
    """Return the loop and what came of a rollout's start; seconds that it took."""
    loop = AdaptLoop(site.config, lambda: site.now_ms)
    before = time.monotonic()
    decided = await loop.take(start)
    return loop, decided, time.monotonic() - before


async def test_what_a_person_did_becomes_a_card_with_the_commands_that_override_it(tmp_path):
    with running_slack() as slack:
        loop, decided, _ = await begun(site_with(tmp_path, slack.url))
        assert slack.wait_for_taken(1)
        card = json.loads(slack.taken[0])
        assert card["blocks"][0]["text"]["text"] == "CONTINUE: chat / new at 5 %"
        shown = json.dumps(card)
        assert "a person started the rollout" in shown
        assert decided.digest in shown
        command = override_command(decided.decision).splitlines()[0]
        assert command in card["blocks"][3]["text"]["text"]
        await until(lambda: counted(loop, "sent"))
        await loop.close()


async def test_slack_that_hangs_delays_no_decision_and_no_end(tmp_path):
    with hanging() as url:
        loop, decided, seconds = await begun(site_with(tmp_path, url))
        assert decided.n == 1
        assert seconds < 5
        before = time.monotonic()
        await loop.close()
        assert time.monotonic() - before < 5


async def test_slack_that_refuses_changes_no_decision(tmp_path):
    with running_slack() as slack:
        slack.plan(Planned(404, "no_service"))
        loop, decided, _ = await begun(site_with(tmp_path, slack.url))
        assert decided.decision.verdict == "CONTINUE"
        await until(lambda: counted(loop, "lost"))
        assert slack.asked == 1
        assert slack.taken == ()
        await loop.close()


async def test_nothing_is_posted_without_a_webhook(tmp_path):
    site = Site(tmp_path)
    await site.loop.take(start)
    assert not [one for one in await site.loop.expose() if "cards" in one]
    await site.loop.close()
