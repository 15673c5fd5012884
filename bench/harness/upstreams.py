"""The upstream mocks: nginx with one static answer, and a raw server that streams prebuilt events.

Both do as little as can be done, so that what a gateway adds is what is seen.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.bodies import MODEL, reply_body
from harness.processes import Program, free_port, running

HEALTH_PATH = "/health"
NGINX_COMMON = """\
daemon off;
{processes}
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  client_max_body_size 64m;
  client_body_buffer_size 256k;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
{servers}
}}
"""
_MOCK = """\
  default_type application/json;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location = /health {{ return 200 '{{}}'; }}
    location = /v1/models {{ return 200 '{models}'; }}
    location / {{ return 200 '{reply}'; }}
  }}"""


def nginx_command(folder: Path, processes: str, servers: str) -> list[str]:
    """Write nginx's configuration into a new folder and return how to start it there."""
    folder.mkdir()
    settings = folder / "nginx.conf"
    settings.write_text(
        NGINX_COMMON.format(folder=folder, processes=processes, servers=servers), encoding="utf-8"
    )
    return ["nginx", "-e", str(folder / "error.log"), "-c", str(settings)]


@dataclass(frozen=True)
class Mock:
    """A running upstream mock."""

    program: Program
    port: int


@contextmanager
def static_upstream(folder: Path, core: int) -> Iterator[Mock]:
    """Run the mock for whole answers."""
    port = free_port()
    card = {"id": MODEL, "object": "model", "created": 1_700_000_000, "owned_by": "openai"}
    models = json.dumps({"object": "list", "data": [card]})
    servers = _MOCK.format(port=port, models=models, reply=reply_body().decode())
    command = nginx_command(folder / "mock", "master_process off;", servers)
    with running("mock", command, core, folder) as program:
        program.wait_ready(port, HEALTH_PATH, {})
        yield Mock(program, port)


@contextmanager
def stream_upstream(folder: Path, core: int) -> Iterator[Mock]:
    """Run the mock for streamed answers."""
    port = free_port()
    script = Path(__file__).with_name("streamer.py")
    with running("streamer", [sys.executable, str(script), str(port)], core, folder) as program:
        program.wait_ready(port, HEALTH_PATH, {})
        yield Mock(program, port)
