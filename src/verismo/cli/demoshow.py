"""What the demo shows once everything runs: how to call the gateway, and answers that verify."""

import asyncio
import base64
import shlex
import socket
import textwrap
import time
from pathlib import Path

import click
import msgspec

from verismo.attest.exchange import Exchange, expectation, verify_exchange
from verismo.attest.keys import read_jwks
from verismo.attest.provenance import read_graph
from verismo.attest.report import Report
from verismo.attest.verify import Verifier
from verismo.attest.verify_ledger import LedgerTrust, trusted_ring
from verismo.cli.controlapi import KEY_VARIABLE, control_url
from verismo.cli.listener import base_url
from verismo.cli.live import Call, call, fetch, with_proof
from verismo.client.site import KEYRING_PATH
from verismo.config.schema import Config
from verismo.config.writing import write_whole
from verismo.control.supervisor import Supervisor
from verismo.model.errors import OperatorError

OPERATION, SMALL_OPERATION, AGENT = "support.answer", "support.small", "docs.agent"
PROMPT = "Where is my order?"
QUESTION = "Why must a witness be outside the gateway's trust domain?"
WIDTH = 96
AGENT_S_MAX = 60.0
"""It loads in two seconds; on a machine that is busy it takes its time."""
PAUSE_S = 0.05


class _Citation(msgspec.Struct, frozen=True):
    number: int
    uri: str


class _Answer(msgspec.Struct, frozen=True):
    """The part of the agent's answer that is shown."""

    text: str
    citations: list[_Citation]
    unknown_citations: list[int]


class Show(msgspec.Struct, frozen=True):
    """What the demo prints once everything runs.

    Args:
        key: an API key.
        once: end after showing.
        save: where the first exchange goes, and beside it the agent's; None keeps none.
        agent_port: where the agent will listen; 0 if what it needs is not installed.
        is_real: whether a real language model answers.
        admin_key: of the control API; empty shows nothing of it.
        program: what the shell is told to run for `verismo`.
    """

    key: str
    once: bool
    save: Path | None
    agent_port: int = 0
    is_real: bool = False
    admin_key: str = ""
    program: str = "verismo"

    async def ready(self, config: Config, supervisor: Supervisor) -> None:
        """Print how to call the gateway, make calls, and verify them."""
        url = base_url(config)
        click.echo(_REAL if self.is_real else _SIMULATED)
        click.echo(f"base URL: {url}")
        click.echo(f"API key: {self.key}")
        click.echo(f'model="{self._operation}"\n')
        is_verified = await asyncio.to_thread(self._show, url, config.path)
        if self.once:
            supervisor.end(0 if is_verified else 1)
            return
        told = {"program": self.program, "config": shlex.quote(str(config.path))}
        click.echo(_TRY_IT.format(url=url, key=self.key, model=self._operation, **told))
        if self.admin_key:
            control = control_url(config.control)
            click.echo(_STEER_IT.format(url=control, key=self.admin_key, **told))
        click.echo("\nCtrl-C ends the demo.")

    @property
    def _operation(self) -> str:
        return SMALL_OPERATION if self.is_real else OPERATION

    def _show(self, url: str, config: Path) -> bool:
        """Show every answer; returns whether all of them verified."""
        # Shown is what the checks say; whoever relies on them gets the keys in another way.
        ring, _ = trusted_ring(fetch(url + KEYRING_PATH), None)
        trust = LedgerTrust(ring=ring.ring)
        asked = Call(url=url, key=self.key, model=self._operation, prompt=PROMPT)
        whole = with_proof(asked, call(asked))
        if self.save is not None:
            write_whole(self.save, msgspec.json.encode(whole))
        streamed = call(msgspec.structs.replace(asked, stream=True))
        reports = [_verify(exchange, trust) for exchange in (whole, streamed)]
        is_verified = all(report.verdict == "VERIFIED" for report in reports)
        _print_report("One answer, verified as `verismo verify` does:", reports[0])
        events = f", {reports[1].events} events" if reports[1].events is not None else ""
        click.echo(f"The same as a stream: {reports[1].verdict}{events}\n")
        if not self.agent_port:
            click.echo("An agent needs the extra `demo`: pip install 'verismo[demo]'\n")
            return is_verified
        return self._show_agent(url, config, trust) and is_verified

    def _show_agent(self, url: str, config: Path, trust: LedgerTrust) -> bool:
        """Show the agent's answer; returns whether there is one and it verified."""
        wait_for_port(self.agent_port)
        content = msgspec.json.encode({"question": QUESTION})
        path = f"/v1/agents/{AGENT}"
        asked = Call(url=url, key=self.key, model="", prompt="", path=path, content=content)
        exchange = call(asked)
        if self.save is not None:
            beside = self.save.with_stem(f"{self.save.stem}-agent")
            write_whole(beside, msgspec.json.encode(exchange))
        report = _verify(exchange, trust)
        click.echo(f"An agent's answer, POST {path}:")
        click.echo(f"  {QUESTION}")
        for line in _answer_lines(exchange):
            click.echo(f"  {line}")
        click.echo("")
        _print_report("Its proof covers everything that the agent did:", report)
        click.echo(f"Its graph: {_graph_line(exchange)}. Look at it:")
        click.echo(f"  {self.program} prov show {report.prov_id} -c {shlex.quote(str(config))}")
        click.echo(f"Saved answers can be verified in a browser: {url}/verify\n")
        # A refusal is signed as well; here an answer is wanted.
        return report.verdict == "VERIFIED" and exchange.response.status == 200


_SIMULATED = "Verismo demo: the gateway is real, its upstream is a simulator (no model).\n"
_REAL = """Verismo demo: the gateway is real, and so is the model: SmolLM2 with 135 million
parameters, on this machine. Its answers are poor. Its streams, tokens and times are real; nobody
bills for it, so its price is a sample.
"""
_TRY_IT = """Try it with an unmodified OpenAI client:

  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="{key}")
  print(client.chat.completions.create(model="{model}",
        messages=[{{"role": "user", "content": "Hello"}}]).choices[0].message.content)

or verify a call of your own: {program} verify --url {url} --key {key} --model {model}"""
_STEER_IT = f"""
The control API listens at {{url}}. In another terminal, roll a candidate out and look at it:

  export {KEY_VARIABLE}={{key}}
  {{program}} canary start -c {{config}} --operation {OPERATION} --reason "to see a rollout"
  {{program}} canary status -c {{config}}
  {{program}} decisions -c {{config}}"""


def wait_for_port(port: int, wait_s: float = AGENT_S_MAX) -> None:
    """Wait until somebody listens on a loopback port.

    Raises:
        OperatorError: nobody does in time.
    """
    ends_s = time.monotonic() + wait_s
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > ends_s:
            raise OperatorError(
                f"the agent is not there after {wait_s:.0f} s",
                next_step="Look for its error above; it may need more memory or time.",
            )
        time.sleep(PAUSE_S)


def _verify(exchange: Exchange, trust: LedgerTrust) -> Report:
    verifier = Verifier(read_jwks(bytes(exchange.jwks)))
    return verify_exchange(verifier, exchange, expectation(exchange), trust)


def _print_report(title: str, report: Report) -> None:
    click.echo(title)
    for check in report.checks:
        click.echo(f"  {check.number:>2} {check.name:<15} {check.outcome:<5} {check.detail}")
    click.echo(f"{report.verdict}  {report.prov_id}\n")


def _answer_lines(exchange: Exchange) -> list[str]:
    """Return the agent's answer and its citations; what it was refused with if it was."""
    body = base64.b64decode(exchange.response.body_base64)
    if exchange.response.status != 200:
        return [f"HTTP {exchange.response.status}: {body.decode('utf-8', 'replace')}"]
    answer = msgspec.json.decode(body, type=_Answer)
    cited = [f"[{citation.number}] {citation.uri}" for citation in answer.citations]
    unknown = [f"[{number}] is no source: made up" for number in answer.unknown_citations]
    return [*textwrap.wrap(answer.text, WIDTH), *cited, *unknown]


def _graph_line(exchange: Exchange) -> str:
    """Count what stands in an answer's graph."""
    if exchange.graph is None:
        return "not to be had"
    graph, _ = read_graph(exchange.graph.encode("utf-8"))
    kinds = [node.kind for node in graph.nodes]
    counts = (f"{kinds.count(kind)} {kind}" for kind in ("tool", "model", "retrieval", "source"))
    return f"{len(kinds)} nodes, {', '.join(counts)}"
