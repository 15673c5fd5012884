"""`verismo demo --scenario regression`: a slower candidate is held, and then rolled back.

The gateway, its controllers, their records and the audit are the real ones. The providers, the
callers and Slack's webhook are simulated, and windows are short, so that it takes a minute.
"""

import asyncio
import sys
import time
from pathlib import Path

import click
import msgspec

from verismo.attest.exchange import expectation, verify_exchange
from verismo.attest.keys import read_jwks
from verismo.attest.verify import Verifier
from verismo.attest.verify_ledger import LedgerTrust
from verismo.cli.controlapi import ToldAct, open_control
from verismo.cli.decisions import tell_decision
from verismo.cli.demostart import free_ports, make_admin_key, make_caller_key
from verismo.cli.listener import base_url, with_listener
from verismo.cli.live import Call, call
from verismo.cli.regressionfolder import prepare_regression
from verismo.cli.serve import serve_until_told
from verismo.config.load import load_config
from verismo.config.schema import Config
from verismo.control.acts import NewAct
from verismo.control.decisionlist import Listed, Wanted, list_decisions
from verismo.control.supervisor import Child, Supervisor
from verismo.model.decision import Subject
from verismo.simulate.slack import Message, SimulatedSlack, running_slack
from verismo.simulate.traffic import Traffic, TrafficSettings
from verismo.wiring.decisionaudit import AuditRequest, audit_decisions, recorded_decisions

OPERATION, STABLE, NEXT = "support.rollout", "stable", "next"
LATENCIES_MS = {STABLE: (250.0, 500.0), NEXT: (375.0, 750.0)}
"""Median and 99th percentile of the two simulated providers, ms: far above what a busy machine
adds."""
CALLS_PER_S = 120.0
KNOWN_S = 1.5
"""Workers look for new keys twice a second."""
WARM_S = 12.0
"""Before a rollout the canary wants to know how long requests last: five looks of 2 s."""
PATIENCE_S = 210.0
PAUSE_S = 0.5
REASON = "Roll out the next version of the answering deployment"

_INTRODUCTION = f"""Verismo demo: a rollout that goes wrong. The gateway, its controllers, records
and audit are real. Simulated are two providers (no model; {NEXT} is half as slow again as
{STABLE}), {CALLS_PER_S:.0f} calls a second, and Slack's webhook. Windows are 1 s and looks 2 s;
a gateway has 10 s and 60 s.
"""


class Seen(msgspec.Struct):
    """What happened so far."""

    after: int = 0
    verdicts: list[str] = []


def run_regression(data: Path, port: int, workers: int, *, once: bool) -> int:
    """Run the scenario.

    Args:
        data: the demo's folder.
        port: of the gateway.
        workers: of the gateway.
        once: end after it; else the gateway stays up, without callers.

    Returns:
        The exit code: 0 only if the candidate was held and rolled back, an answer of that time
        verified, cards came, and the audit found every decision as it was recorded.
    """
    control, stable, following = free_ports(3)
    upstreams = {STABLE: stable, NEXT: following}
    with running_slack() as slack:
        path = prepare_regression(data, control, (stable, following), slack.url)
        config = with_listener(load_config(path), None, port, workers)
        scenario = Regression(config, slack, once=once)
        return serve_until_told(config, scenario.ready, lambda _: _providers(upstreams))


def _providers(ports: dict[str, int]) -> tuple[Child, ...]:
    program = (sys.executable, "-m", "verismo", "simulator-process")
    found = []
    for name, (median, tail) in LATENCIES_MS.items():
        options = ("--latency-ms-p50", str(median), "--latency-ms-p99", str(tail))
        found.append(Child(name, (*program, *options, str(ports[name]))))
    return tuple(found)


class Regression:
    """The scenario, once the gateway is ready.

    Args:
        config: of the gateway.
        slack: takes the cards.
        once: end after it.
    """

    def __init__(self, config: Config, slack: SimulatedSlack, *, once: bool) -> None:
        self._config = config
        self._slack = slack
        self._once = once

    async def ready(self, config: Config, supervisor: Supervisor) -> None:
        """Send calls, start the rollout, show what is decided, audit it."""
        click.echo(_INTRODUCTION)
        click.echo(f"base URL: {base_url(config)}")
        key = make_caller_key(config.data, "demo callers")
        admin = make_admin_key(config.data, "demo operator", "admin")
        callers = Traffic(
            TrafficSettings(
                url=base_url(config), api_key=key, operation=OPERATION, per_s=CALLS_PER_S
            )
        )
        await asyncio.sleep(KNOWN_S)
        ended = asyncio.Event()
        calling = asyncio.create_task(callers.run(ended))
        try:
            await asyncio.sleep(WARM_S)
            is_as_wanted = await asyncio.to_thread(self._conduct, base_url(config), key, admin)
        finally:
            ended.set()
            await calling
        outcomes = ", ".join(f"{count} x {one}" for one, count in sorted(callers.outcomes.items()))
        click.echo(f"calls by HTTP status: {outcomes}")
        if self._once:
            supervisor.end(0 if is_as_wanted else 1)
            return
        click.echo(f"\nThe gateway stays up. Look around: verismo decisions -c {config.path}")

    def _conduct(self, url: str, key: str, admin: str) -> bool:
        subject = Subject(operation=OPERATION, baseline=STABLE, candidate=NEXT)
        started = self._start(admin, subject)
        click.echo(
            f"\nverismo canary start: {started.decision.verdict}, steering {started.steering}"
        )
        seen = Seen(after=started.n)
        self._follow(seen)
        is_held = "HOLD" in seen.verdicts and seen.verdicts[-1:] == ["ROLLBACK"]
        if not is_held:
            click.echo(f"no HOLD and ROLLBACK within {PATIENCE_S:.0f} s", err=True)
        is_carded = self._show_cards(seen)
        is_verified = self._verify(url, key)
        return self._audit() and is_held and is_carded and is_verified

    def _start(self, admin: str, subject: Subject) -> ToldAct:
        with open_control(self._config.path, None, admin) as (client, _):
            return client.act(
                NewAct(controller="canary", verb="start", subject=subject, reason=REASON)
            )

    def _follow(self, seen: Seen) -> None:
        """Show decisions as they come; those that only go on are counted."""
        until = time.monotonic() + PATIENCE_S
        waits = 0
        with recorded_decisions(self._config.data) as reader:
            while time.monotonic() < until and "ROLLBACK" not in seen.verdicts:
                for one in list_decisions(reader, Wanted("canary", after=seen.after), 1_000):
                    seen.after = one.n
                    seen.verdicts.append(one.verdict)
                    waits = self._show(one, waits)
                time.sleep(PAUSE_S)

    def _show(self, one: Listed, waits: int) -> int:
        if one.verdict in ("CONTINUE", "NODATA"):
            return waits + 1
        if waits:
            click.echo(f"    ({waits} looks before it: go on)")
        tell_decision(one)
        return 0

    def _show_cards(self, seen: Seen) -> bool:
        wanted = sum(verdict not in ("CONTINUE", "NODATA") for verdict in seen.verdicts)
        self._slack.wait_for_taken(wanted)
        taken = [msgspec.json.decode(body, type=Message) for body in self._slack.taken]
        click.echo(f"\n{len(taken)} cards came to the simulated webhook; the last one:")
        for line in taken[-1].text.splitlines() if taken else ():
            click.echo(f"  {line}")
        return bool(taken)

    def _verify(self, url: str, key: str) -> bool:
        exchange = call(Call(url=url, key=key, model=OPERATION, prompt="Where is my order?"))
        verifier = Verifier(read_jwks(bytes(exchange.jwks)))
        report = verify_exchange(verifier, exchange, expectation(exchange), LedgerTrust())
        click.echo(f"\nan answer under that steering: {report.verdict}  {report.prov_id}")
        return report.verdict == "VERIFIED"

    def _audit(self) -> bool:
        now_ms = time.time_ns() // 1_000_000
        audited = audit_decisions(AuditRequest(self._config.data, now_ms))
        counts, wrong = audited.counts, len(audited.mismatches)
        click.echo(
            f"verismo audit: {counts.decisions} decisions, {counts.computed} computed anew, "
            f"{wrong} mismatches"
        )
        return not wrong and counts.computed > 0
