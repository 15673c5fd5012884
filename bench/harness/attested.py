"""Verismo as it is measured: a normal configuration, signing, provenance and durable journal on.

`verismo init` writes the configuration; added are one tenant without rate limits and with a large
budget, and deployments that stream. Nothing is switched off.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.bodies import MODEL
from harness.processes import Program, free_port, running
from verismo.attest.exchange import Exchange, expectation, verify_exchange
from verismo.attest.keys import read_jwks
from verismo.attest.verify import Verifier
from verismo.cli.live import Call, call

SMALL_OPERATION = "support.answer"
STREAM_OPERATION = "bench.stream"
BURST_OPERATION = "bench.burst"
LONG_OPERATION = "bench.long"
PACED_OPERATION = "bench.paced"
SLOW_OPERATION = "bench.slow"
TENANT = "BENCH"
_CONTROL_PORT = ("# port = 8081", "port = 0")
_ADDED = """
[tenants.{tenant}]
region = "us"
purposes = ["support"]
models = ["{model}"]
enforcement = "safelist"
budget_usd_per_day = 1000000

[providers.streamer]
kind = "openai"
base_url = "http://127.0.0.1:{stream_port}/v1"

[providers.burster]
kind = "openai"
base_url = "http://127.0.0.1:{stream_port}/burst/v1"

[providers.long]
kind = "openai"
base_url = "http://127.0.0.1:{stream_port}/long/v1"

[providers.paced]
kind = "openai"
base_url = "http://127.0.0.1:{stream_port}/paced/v1"

[providers.slow]
kind = "openai"
base_url = "http://127.0.0.1:{stream_port}/slow/v1"

[deployments.streamed]
provider = "streamer"
model = "{model}"
region = "us"

[deployments.burst]
provider = "burster"
model = "{model}"
region = "us"

[deployments.long]
provider = "long"
model = "{model}"
region = "us"

[deployments.paced]
provider = "paced"
model = "{model}"
region = "us"

[deployments.slow]
provider = "slow"
model = "{model}"
region = "us"
"""
_OPERATIONS = f"""
[operations."{STREAM_OPERATION}"]
kind = "chat"
purpose = "support"
deployments = ["streamed"]

[operations."{BURST_OPERATION}"]
kind = "chat"
purpose = "support"
deployments = ["burst"]

[operations."{LONG_OPERATION}"]
kind = "chat"
purpose = "support"
deployments = ["long"]

[operations."{PACED_OPERATION}"]
kind = "chat"
purpose = "support"
deployments = ["paced"]

[operations."{SLOW_OPERATION}"]
kind = "chat"
purpose = "support"
deployments = ["slow"]
"""


class NotVerified(RuntimeError):
    """Verismo's answer did not verify; nothing is measured then."""


@dataclass(frozen=True)
class Attested:
    """A running Verismo.

    Args:
        program: all its processes.
        port: the public listener.
        key: an API key.
    """

    program: Program
    port: int
    key: str

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.port}"

    def worker_pid(self) -> int:
        """Return the process of its only worker."""
        return self.program.pid_of("worker-process")

    def exchange(self, operation: str, *, stream: bool = False) -> Exchange:
        """Make one call and verify everything about it, the graph too.

        Raises:
            NotVerified: it does not verify.
        """
        asked = Call(self.url, self.key, operation, "Where is my order?", stream=stream)
        exchange = call(asked)
        verifier = Verifier(read_jwks(bytes(exchange.jwks)))
        report = verify_exchange(verifier, exchange, expectation(exchange))
        if report.verdict != "VERIFIED":
            failed = [f"{one.name}: {one.detail}" for one in report.checks if one.outcome == "fail"]
            status = exchange.response.status
            raise NotVerified(f"{report.verdict}, status {status}: {'; '.join(failed)}")
        if exchange.response.status != 200:
            raise NotVerified(f"a verified refusal: status {exchange.response.status}")
        return exchange


@contextmanager
def attested(
    folder: Path,
    core: int,
    ports: tuple[int, int],
    client: str = "keepalive",
    source: Path | None = None,
) -> Iterator[Attested]:
    """Configure and run `verismo serve` with one worker.

    Args:
        folder: an existing folder on the disk whose fsync counts.
        core: the only core for all of its processes.
        ports: of the mocks for whole answers and for streams.
        client: which HTTP client calls them: `keepalive` or `pyreqwest`.
        source: folder of another version's package; None runs the installed one.
    """
    home, port = folder / "verismo", free_port()
    environment = {} if source is None else {"PYTHONPATH": str(source)}
    settings = _configure(home, ports, client, environment)
    options = ["--config", str(settings)]
    create = ("apikey", "create", *options, "--tenant", TENANT, "--quiet")
    key = _verismo(create, environment).strip()
    command = [*_COMMAND, "serve", *options, "--port", str(port), "--workers", "1"]
    with running("verismo", command, core, folder, environment) as program:
        program.wait_ready(port, "/readyz", {})
        yield Attested(program, port, key)


_CLIENT = '# client = "keepalive"'
_COMMAND = (sys.executable, "-m", "verismo")


def _configure(
    home: Path, ports: tuple[int, int], client: str, environment: Mapping[str, str]
) -> Path:
    upstream_port, stream_port = ports
    url = f"http://127.0.0.1:{upstream_port}/v1"
    _verismo(("init", str(home), "--provider", url, "--model", MODEL), environment)
    settings = home / "verismo.toml"
    text = settings.read_text(encoding="utf-8")
    if _CONTROL_PORT[0] not in text or _CLIENT not in text:
        raise LookupError(f"{settings} shows no default control port or upstream client")
    added = _ADDED.format(tenant=TENANT, model=MODEL, stream_port=stream_port)
    text = text.replace(*_CONTROL_PORT).replace(_CLIENT, _CLIENT[2:].replace("keepalive", client))
    settings.write_text(text + added, encoding="utf-8")
    (home / "operations" / "bench.toml").write_text(_OPERATIONS, encoding="utf-8")
    return settings


def _verismo(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run one command of Verismo's; credentials of the caller are not passed on."""
    done = subprocess.run(
        [*_COMMAND, *arguments],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"verismo {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
