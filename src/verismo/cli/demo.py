"""`verismo demo`: the real gateway in front of a simulated upstream, ready to be called.

Everything but the upstream is what `verismo serve` runs: the same processes, keys, journals and
signatures. The upstream's answers are made up, and every one of them says so.
"""

import asyncio
import os
import re
import socket
import sys
import time
from pathlib import Path

import click
import msgspec

from verismo.attest.exchange import Exchange, expectation, verify_exchange
from verismo.attest.keys import read_jwks
from verismo.attest.report import Report
from verismo.attest.verify import Verifier
from verismo.attest.verify_ledger import LedgerTrust, trusted_ring
from verismo.cli.listener import base_url, with_listener
from verismo.cli.live import Call, call, fetch, with_proof
from verismo.cli.serve import serve_until_told
from verismo.client.site import KEYRING_PATH
from verismo.config.install import install, prepare
from verismo.config.load import FILE_NAME, load_config
from verismo.config.scaffold import recipe_for
from verismo.config.schema import Config
from verismo.config.writing import write_whole
from verismo.control.supervisor import Child, Supervisor
from verismo.model.apikey import RANDOM_BYTES, key_sha256, new_api_key
from verismo.model.errors import StateError
from verismo.model.ids import TenantId
from verismo.model.tenant import ApiKey
from verismo.wiring.state import open_state

TENANT = TenantId("TENANT_001")
OPERATION = "support.answer"
PROMPT = "Where is my order?"
KEY_LIFETIME_MS = 7 * 86_400_000
_SIMULATOR_URL = re.compile(r'(base_url = "http://127\.0\.0\.1:)(\d+)')
_CHECKPOINTS = re.compile(r"^# (checkpoint_interval_ms = )\d+$", re.MULTILINE)
CHECKPOINT_MS = 250
"""Nobody likes to watch a demonstration wait; a gateway signs its tree's head once a second."""
_CONTROL_PORT = re.compile(r"(\[control\][^\[]*?\n)#? ?port = \d+", re.DOTALL)


@click.command()
@click.option("--port", type=click.IntRange(0, 65_535), default=8080, show_default=True)
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=Path("verismo-demo"),
    show_default=True,
    help="Folder for the demo's configuration, keys and journals.",
)
@click.option("--once", is_flag=True, help="Show the verified answers, then end.")
@click.option("--save", type=click.Path(path_type=Path), help="Save the first exchange here.")
def demo(port: int, workers: int, data: Path, once: bool, save: Path | None) -> None:
    """Run the gateway with a simulated upstream, and show an answer that it verifies.

    Stays in the foreground until SIGTERM or Ctrl-C. With --once it ends after showing, with exit
    code 0 only if everything verified.
    """
    upstream_port = _free_port()
    path = _prepare(data, upstream_port)
    config = with_listener(load_config(path), None, port, workers)
    key = _make_key(config.data)
    show = _Show(key=key, once=once, save=save)
    simulator = Child(
        name="simulator",
        command=(sys.executable, "-m", "verismo", "simulator-process", str(upstream_port)),
    )
    sys.exit(serve_until_told(config, show.ready, (simulator,)))


class _Show(msgspec.Struct, frozen=True):
    """What the demo prints once everything runs."""

    key: str
    once: bool
    save: Path | None

    async def ready(self, config: Config, supervisor: Supervisor) -> None:
        """Print how to call the gateway, make two calls, and verify them."""
        url = base_url(config)
        click.echo("Verismo demo: the gateway is real, its upstream is a simulator (no model).\n")
        click.echo(f"base URL: {url}")
        click.echo(f"API key: {self.key}")
        click.echo(f'model="{OPERATION}"\n')
        is_verified = await asyncio.to_thread(self._calls, url)
        if self.once:
            supervisor.end(0 if is_verified else 1)
            return
        click.echo(_TRY_IT.format(url=url, key=self.key, model=OPERATION))

    def _calls(self, url: str) -> bool:
        asked = Call(url=url, key=self.key, model=OPERATION, prompt=PROMPT)
        whole = with_proof(asked, call(asked))
        if self.save is not None:
            write_whole(self.save, msgspec.json.encode(whole))
        streamed = call(msgspec.structs.replace(asked, stream=True))
        # Shown is what the checks say; whoever relies on them gets the keys in another way.
        ring, _ = trusted_ring(fetch(url + KEYRING_PATH), None)
        reports = [_verify(exchange, LedgerTrust(ring=ring.ring)) for exchange in (whole, streamed)]
        _print_report("One answer, verified as `verismo verify` does:", reports[0])
        events = f", {reports[1].events} events" if reports[1].events is not None else ""
        click.echo(f"The same as a stream: {reports[1].verdict}{events}\n")
        return all(report.verdict == "VERIFIED" for report in reports)


_TRY_IT = """Try it with an unmodified OpenAI client:

  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="{key}")
  print(client.chat.completions.create(model="{model}",
        messages=[{{"role": "user", "content": "Hello"}}]).choices[0].message.content)

or verify a call of your own: verismo verify --url {url} --key {key} --model {model}
Ctrl-C ends the demo."""


def _verify(exchange: Exchange, trust: LedgerTrust) -> Report:
    verifier = Verifier(read_jwks(bytes(exchange.jwks)))
    return verify_exchange(verifier, exchange, expectation(exchange), trust)


def _print_report(title: str, report: Report) -> None:
    click.echo(title)
    for check in report.checks:
        click.echo(f"  {check.number:>2} {check.name:<15} {check.outcome:<5} {check.detail}")
    click.echo(f"{report.verdict}  {report.prov_id}\n")


def _prepare(data: Path, upstream_port: int) -> Path:
    """Write the demo's configuration once; later starts set what is the demo's own."""
    path = data / FILE_NAME
    if not path.exists():
        install(prepare(data, recipe_for("simulator")))
    text = path.read_text(encoding="utf-8")
    text = _SIMULATOR_URL.sub(rf"\g<1>{upstream_port}", text)
    text = _CONTROL_PORT.sub(r"\g<1>port = 0", text)
    text = _CHECKPOINTS.sub(rf"\g<1>{CHECKPOINT_MS}", text)
    write_whole(path, text.encode("utf-8"))
    return path


def _make_key(data: Path) -> str:
    """Make an API key for this start; it expires by itself."""
    text = new_api_key(os.urandom(RANDOM_BYTES), "vk")
    now_ms = time.time_ns() // 1_000_000
    key = ApiKey(
        id=text.id,
        tenant=TENANT,
        secret_sha256=key_sha256(text),
        name="demo",
        created_ms=now_ms,
        expires_ms=now_ms + KEY_LIFETIME_MS,
    )
    with open_state(data) as state:
        state.directory.add_api_key(key)
    return text.text


def _free_port() -> int:
    """Return a port that is free now; the simulator says so if another program is faster."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", 0))
        except OSError as error:
            raise StateError(
                f"no free port on 127.0.0.1: {error.strerror}",
                next_step="Check that the loopback interface is up.",
            ) from error
        port: int = probe.getsockname()[1]
        return port
