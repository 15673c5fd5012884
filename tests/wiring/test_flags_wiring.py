"""A flag in verismo.toml becomes a signed record in a control process, once; gateways follow."""

import json
import time
from datetime import UTC, datetime

import pytest
from tests.support.rolloutsite import CONFIG, write_site

from verismo.adapters.keyring_files import KeyRingFiles
from verismo.attest.controlrecord import open_record
from verismo.attest.steeringdoc import open_steering
from verismo.config.load import load_config
from verismo.control.acts import newest_decision
from verismo.control.decisionlist import Wanted, list_decisions
from verismo.control.rotation import RingHistory
from verismo.model.act import Act
from verismo.model.decision import Subject
from verismo.model.units import moment_utc
from verismo.simulate.slack import running_slack
from verismo.wiring.adapt import AdaptLoop
from verismo.wiring.decisionaudit import AuditRequest, audit_decisions
from verismo.wiring.firststart import prepare_data

pytestmark = pytest.mark.slow
"""Each test makes a data folder with keys."""

SUBJECT = Subject("", "chat", "old", "new")


class Site:
    """A data folder whose control process starts with what verismo.toml says then."""

    def __init__(self, folder):
        self.file = write_site(folder)
        self.environ = {}
        self.now_ms = time.time_ns() // 1_000_000
        config = load_config(self.file, {})
        self.data = config.data
        prepare_data(config.data, config.keys)
        self.loop = AdaptLoop(config, lambda: self.now_ms)

    async def restart(self, text=None):
        """End the process and start one anew, with another file if one is given."""
        await self.loop.close()
        if text is not None:
            self.file.write_text(text)
        self.loop = AdaptLoop(load_config(self.file, self.environ), lambda: self.now_ms)

    async def do(self, verb, of=""):
        self.now_ms += 1_000
        until_ms = self.now_ms + 60_000 if of else 0
        return await self.loop.take(
            lambda now_ms: Act(
                *("canary", verb, SUBJECT, "Dana", "k1", "admin", "the reason of a person", of),
                *(now_ms, until_ms),
            )
        )

    async def round(self):
        """Do a round; return how many acts the configuration has done so far."""
        self.now_ms += 1_000
        await self.loop.round()
        return len(self.acts())

    def acts(self):
        found = []
        for row in self.loop.decisions.rows(0, 1_000):
            if row.rule == "canary-act":
                record = open_record(row.statement, row.jws, self.ring())
                act = json.loads(self.loop.decisions.blob(record.inputs))
                if act["channel"] == "flag":
                    found.append((record, act))
        return found

    def ring(self):
        return RingHistory(KeyRingFiles(self.data)).read()[-1].ring.keys

    def weight_ppm(self):
        row = self.loop.steering.newest()
        rollouts = open_steering(row.statement, row.jws, self.ring()).rollouts
        return rollouts[0].weight_ppm if rollouts else 0


def flagged(verb, later_s, now_ms):
    at = datetime.fromtimestamp(now_ms // 1_000 + later_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return (
        f'{CONFIG}[canary.flags.chat]\nverb = "{verb}"\nexpires = {at}\n'
        'reason = "the provider has an incident"\n'
    )


@pytest.fixture
async def site(tmp_path):
    made = Site(tmp_path)
    yield made
    await made.loop.close()


async def test_a_flag_rolls_back_once_and_not_again_after_a_restart(site):
    begun = await site.do("start")
    assert site.weight_ppm() > 0
    await site.restart(flagged("rollback", 3_600, site.now_ms))
    assert await site.round() == 1
    [(record, act)] = site.acts()
    assert (record.verdict, record.of) == ("ROLLBACK", begun.digest)
    assert (act["actor"], act["role"]) == ("configuration", "admin")
    assert site.weight_ppm() == 0
    again = await site.do("promote", record.decision)
    assert again.decision.verdict == "PROMOTE"
    assert site.weight_ppm() > 0
    assert await site.round() == 1
    await site.restart()
    assert await site.round() == 1
    assert site.weight_ppm() > 0
    audited = audit_decisions(AuditRequest(site.data, site.now_ms))
    assert audited.mismatches == ()
    assert audited.counts.decisions == 3


async def test_a_flag_that_is_over_does_nothing(site):
    await site.do("start")
    await site.restart(flagged("rollback", 2, site.now_ms))
    site.now_ms += 10_000
    assert await site.round() == 0
    assert site.weight_ppm() > 0


async def test_a_flag_holds_until_its_end(site):
    await site.do("start")
    await site.restart(flagged("hold", 3_600, site.now_ms))
    share = site.weight_ppm()
    assert [await site.round() for _ in range(3)] == [1, 1, 1]
    [(record, act)] = site.acts()
    assert (record.verdict, site.weight_ppm()) == ("HOLD", share)
    assert act["expires_ms"] > site.now_ms
    [listed] = [
        one for one in list_decisions(site.loop.decisions, Wanted(), 10) if one.channel == "flag"
    ]
    assert (listed.person, listed.why) == ("configuration", "the provider has an incident")
    shown = newest_decision(site.loop.decisions, ("canary-act",), SUBJECT)
    assert (shown.person, shown.why) == (listed.person, listed.why)
    assert shown.set_by_hand is None, "that is of budgets"


async def test_the_card_of_a_flag_says_that_the_configuration_holds_why_and_until_when(site):
    with running_slack() as slack:
        await site.do("start")
        site.environ = {"HOOK": slack.url}
        flags = flagged("hold", 3_600, site.now_ms)
        await site.restart(f'{flags}[slack]\nwebhook_url_env = "HOOK"\n')
        assert await site.round() == 1
        assert slack.wait_for_taken(1)
        card = slack.taken[0].decode()
    [(_, act)] = site.acts()
    assert "a flag of the configuration holds the rollout where it is" in card
    assert "the provider has an incident" in card
    assert moment_utc(act["expires_ms"]) in card
    assert "a person holds" not in card
