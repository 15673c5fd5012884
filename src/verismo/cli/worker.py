"""`verismo worker-process`: one worker, as the supervisor starts it."""

import asyncio
import gc
import socket
from pathlib import Path

import click
import uvloop

from verismo.cli.listener import at_data, bind_address, with_listener
from verismo.cli.options import config_option
from verismo.config.load import load_config
from verismo.control.supervisor import tell_ready
from verismo.wiring.logs import set_up_logs
from verismo.wiring.worker import run_worker

GC_THRESHOLDS = (10_000, 50, 100)
"""Requests free their objects by reference count; the collector only looks for what cycles."""


@click.command(hidden=True)
@config_option
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--bound", type=(str, int, int), required=True, help="Host, port, workers.")
@click.option("--index", type=int, required=True)
@click.argument("ready", type=int)
def worker_process(
    config: Path, data: Path, bound: tuple[str, int, int], index: int, ready: int
) -> None:
    """Run one worker; started by the supervisor."""
    settings = at_data(with_listener(load_config(config), *bound), data)
    set_up_logs(settings.log.level, f"s{index}")
    # Each worker binds a socket of its own; the kernel shares the connections out among them.
    listener = bind_address(settings.listen, socket.SO_REUSEADDR, socket.SO_REUSEPORT)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_worker(settings, index, listener, lambda: _settled(ready)))


def _settled(ready: int) -> None:
    """Tell that a worker is ready, and leave what it starts with out of garbage collection.

    Modules, price list and policy live as long as the process; looking through them again and
    again only delays requests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    tell_ready(ready)
