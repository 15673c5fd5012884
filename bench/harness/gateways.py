"""The programs that are compared: how each is configured, started and asked.

All of them run on one core with one worker, speak HTTP/1.1 with kept connections on both sides and
answer the same request by asking the same mock.
"""

import json
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from harness.attested import (
    BURST_OPERATION,
    SMALL_OPERATION,
    STREAM_OPERATION,
    Attested,
    attested,
)
from harness.bodies import MODEL, PROMPT87K_BYTES, SMALL_BYTES, request_body
from harness.environments import NotInstalled, program_of
from harness.machine import Cores, cores
from harness.processes import Program, free_port, running
from harness.upstreams import HEALTH_PATH, Mock, nginx_command, static_upstream, stream_upstream

CHAT_PATH = "/v1/chat/completions"
STREAMED = ("stream50", "burst50")
BURST_PATH = "/burst" + CHAT_PATH
SCENARIO_BYTES = {
    "small": SMALL_BYTES,
    "prompt87k": PROMPT87K_BYTES,
    "stream50": SMALL_BYTES,
    "burst50": SMALL_BYTES,
}
"""Size of the request; `stream50` gets 50 events one by one, `burst50` gets them in one write."""
_PROXY = """\
  upstream mock {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://mock;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }}
  }}"""


@dataclass(frozen=True)
class Gateway:
    """One running program and how to ask it.

    Args:
        name: in the results.
        program: its processes.
        port: where it listens.
        key: what to send as bearer token.
        models: what to put into `model`, by scenario; a scenario that is not here is not measured.
        attested: set for Verismo only.
        slice_s_min: shortest slice in which it answers at 64 connections.
    """

    name: str
    program: Program
    port: int
    key: str = "none"
    models: Mapping[str, str] = field(default_factory=lambda: {"small": MODEL, "prompt87k": MODEL})
    attested: Attested | None = None
    slice_s_min: int = 1

    def path(self, scenario: str) -> str:
        """Return what is asked; Verismo finds the upstream of a burst by its operation."""
        return BURST_PATH if scenario == "burst50" and not self.attested else CHAT_PATH

    def body(self, scenario: str) -> bytes:
        """Return the request of a scenario; of one size for all gateways."""
        stream = scenario in STREAMED
        return request_body(self.models[scenario], SCENARIO_BYTES[scenario], stream=stream)


@dataclass(frozen=True)
class Site:
    """Where gateways are started.

    Args:
        folder: of this run.
        chosen: which core runs what.
        mock: the upstream of whole answers.
        streamer: the upstream of streamed ones.
        may_install: whether missing programs may be installed.
    """

    folder: Path
    chosen: Cores
    mock: Mock
    streamer: Mock
    may_install: bool = True

    @property
    def direct(self) -> list[Gateway]:
        """The mocks themselves: what there is to reach without a gateway."""
        return [
            Gateway("direct", self.mock.program, self.mock.port),
            Gateway(
                "direct",
                self.streamer.program,
                self.streamer.port,
                models=dict.fromkeys(STREAMED, MODEL),
            ),
        ]


@contextmanager
def site(folder: Path, *, may_install: bool = True) -> Iterator[Site]:
    """Start the mocks on the load's core."""
    require_program("nginx")
    chosen = cores()
    with (
        static_upstream(folder, chosen.load) as mock,
        stream_upstream(folder, chosen.load) as streamer,
    ):
        yield Site(folder, chosen, mock, streamer, may_install)


def starter(name: str, place: Site) -> AbstractContextManager[Gateway]:
    """Return what starts a gateway by its name: one of PEERS, `verismo` or `passthrough`."""
    return _STARTERS[name](place)


@contextmanager
def _nginx(place: Site) -> Iterator[Gateway]:
    require_program("nginx")
    port = free_port()
    servers = _PROXY.format(port=port, upstream=place.mock.port)
    command = nginx_command(place.folder / "nginx", "worker_processes 1;", servers)
    with running("nginx", command, place.chosen.gateway, place.folder) as program:
        program.wait_ready(port, HEALTH_PATH, {})
        yield Gateway("nginx", program, port)


@contextmanager
def verismo_of(
    place: Site, name: str = "verismo", source: Path | None = None, client: str = "keepalive"
) -> Iterator[Gateway]:
    """Start a Verismo.

    Args:
        place: where.
        name: in the results; its files lie in a folder of this name.
        source: folder of another version's package; None runs the installed one.
        client: which HTTP client calls the mocks: `keepalive` or `pyreqwest`.
    """
    folder = place.folder / f"attested-{name}"
    folder.mkdir()
    core, ports = place.chosen.gateway, (place.mock.port, place.streamer.port)
    with attested(folder, core, ports, client, source) as gateway:
        yield Gateway(
            name,
            gateway.program,
            gateway.port,
            gateway.key,
            {
                "small": SMALL_OPERATION,
                "prompt87k": SMALL_OPERATION,
                "stream50": STREAM_OPERATION,
                "burst50": BURST_OPERATION,
            },
            gateway,
        )


def _verismo_libraries(place: Site) -> AbstractContextManager[Gateway]:
    """Verismo with libraries alone: pyreqwest instead of its own client."""
    return verismo_of(place, LIBRARIES, client="pyreqwest")


@contextmanager
def _passthrough(place: Site) -> Iterator[Gateway]:
    port = free_port()
    script = Path(__file__).with_name("passthrough.py")
    upstreams = (str(place.mock.port), str(place.streamer.port))
    command = [sys.executable, str(script), str(port), *upstreams]
    with running("passthrough", command, place.chosen.gateway, place.folder) as program:
        program.wait_ready(port, HEALTH_PATH, {})
        yield Gateway("passthrough", program, port, models=dict.fromkeys(SCENARIO_BYTES, MODEL))


@contextmanager
def _litellm(place: Site) -> Iterator[Gateway]:
    programs = program_of("litellm", may_install=place.may_install)
    port, key = free_port(), f"sk-{secrets.token_hex(24)}"
    base = f"http://127.0.0.1:{place.mock.port}/v1"
    parameters = {"model": f"openai/{MODEL}", "api_base": base, "api_key": "none"}
    # JSON is YAML. A master key is what it demands at its start; it is compared in memory.
    settings = {
        "model_list": [{"model_name": MODEL, "litellm_params": parameters}],
        "general_settings": {"master_key": key},
    }
    file = place.folder / "litellm.yaml"
    file.write_text(json.dumps(settings), encoding="utf-8")
    command = [str(programs / "litellm"), "--config", str(file), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--num_workers", "1", "--telemetry", "False"]
    # Without the first it asks a web site for prices at its start.
    quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    with running("litellm", command, place.chosen.gateway, place.folder, quiet) as program:
        program.wait_ready(port, "/health/liveliness", {})
        yield Gateway("litellm", program, port, key, slice_s_min=2)


@contextmanager
def _smg(place: Site) -> Iterator[Gateway]:
    programs = program_of("smg", may_install=place.may_install)
    port, upstream = free_port(), f"http://127.0.0.1:{place.mock.port}"
    command = [str(programs / "smg"), "launch", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--worker-urls", upstream, "--backend", "openai", "--log-level", "warn"]
    command += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(free_port())]
    with running("smg", command, place.chosen.gateway, place.folder) as program:
        program.wait_ready(port, "/readiness", {})
        yield Gateway("smg", program, port)


LIBRARIES = "verismo-libraries"
_STARTERS = {
    "nginx": _nginx,
    "verismo": verismo_of,
    LIBRARIES: _verismo_libraries,
    "passthrough": _passthrough,
    "litellm": _litellm,
    "smg": _smg,
}
PEERS = ("nginx", "litellm", "smg")


def require_program(name: str) -> None:
    """Check that a program of the system is here.

    Raises:
        NotInstalled: it is not.
    """
    if shutil.which(name) is None:
        raise NotInstalled(f"{name} is not installed; on Debian: apt-get install {name}")
