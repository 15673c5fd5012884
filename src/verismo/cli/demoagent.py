"""The process of the demo's agent and of its tools: the example, as its users run it.

What it needs takes longer to load than the gateway takes to start. So it says that it is ready
before it loads anything, and whoever wants an answer waits for its port.
"""

import asyncio
from collections.abc import Awaitable, Callable
from importlib import import_module
from pathlib import Path

import click

from verismo.cli.ending import told_to_end
from verismo.control.supervisor import tell_ready

Serve = Callable[[str, str, int, int, asyncio.Event], Awaitable[None]]


@click.command(hidden=True)
@click.option("--gateway", required=True)
@click.option("--key-file", type=click.Path(path_type=Path), required=True)
@click.option("--agent-port", type=int, required=True)
@click.option("--tools-port", type=int, required=True)
@click.argument("ready", type=int)
def agent_process(
    gateway: str, key_file: Path, agent_port: int, tools_port: int, ready: int
) -> None:
    """Run the demo's agent and its tools; started by the supervisor."""
    api_key = key_file.read_text(encoding="ascii")
    asyncio.run(_run(gateway, api_key, agent_port, tools_port, ready))


async def _run(gateway: str, api_key: str, agent_port: int, tools_port: int, ready: int) -> None:
    with told_to_end() as ended:
        tell_ready(ready)
        module = await asyncio.to_thread(import_module, "verismo.cli.demoparts")
        serve: Serve = module.serve_parts
        await serve(gateway, api_key, agent_port, tools_port, ended)
