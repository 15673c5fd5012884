"""`verismo control-process`: the control process, as the supervisor starts it."""

import asyncio
from pathlib import Path

import click

from verismo.cli.listener import at_data, with_listener
from verismo.cli.options import config_option
from verismo.config.load import load_config
from verismo.control.supervisor import tell_ready
from verismo.wiring.control import run_control
from verismo.wiring.logs import set_up_logs


@click.command(hidden=True)
@config_option
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--bound", type=(str, int, int), required=True, help="Host, port, workers.")
@click.argument("ready", type=int)
def control_process(config: Path, data: Path, bound: tuple[str, int, int], ready: int) -> None:
    """Run the control process; started by the supervisor."""
    settings = at_data(with_listener(load_config(config), *bound), data)
    set_up_logs(settings.log.level, "control")
    asyncio.run(run_control(settings, lambda: tell_ready(ready)))
