"""`verismo serve`: the supervisor of the processes that answer.

It loads nothing of what they run: each of them loads its own. Only the policy is loaded once before
them, so that a folder which could not answer is left as it is.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import click

from verismo.cli.listener import base_url, hold_address, with_listener
from verismo.cli.options import config_option
from verismo.config.load import load_config
from verismo.config.schema import Config
from verismo.control.supervisor import Child, Supervisor
from verismo.model.errors import OperatorError
from verismo.wiring.chosen import policy_digest
from verismo.wiring.firststart import prepare_data
from verismo.wiring.keys import BACK_IT_UP
from verismo.wiring.logs import set_up_logs


@click.command()
@config_option
@click.option("--host", help="Address to bind.")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port; 0 takes a free one.")
@click.option("--workers", type=click.IntRange(1, 64), help="Worker processes.")
def serve(config: Path, host: str | None, port: int | None, workers: int | None) -> None:
    """Run the gateway: its workers and its control process, until SIGTERM or SIGINT."""
    settings = with_listener(load_config(config), host, port, workers)
    sys.exit(serve_until_told(settings, _say_ready))


Ready = Callable[[Config, Supervisor], Awaitable[None]]
Beside = Callable[[Config], tuple[Child, ...]]


def _nothing(config: Config) -> tuple[Child, ...]:
    return ()


async def _say_ready(config: Config, supervisor: Supervisor) -> None:
    click.echo(f"base URL: {base_url(config)}")


def serve_until_told(config: Config, ready: Ready, beside: Beside = _nothing) -> int:
    """Run everything in child processes until a signal ends it.

    Args:
        config: the validated configuration.
        ready: called once, when every process is ready, with the port that is really bound; if
            it raises, the whole ends with exit code 1.
        beside: gives further processes to run, for the port that is really bound.

    Returns:
        The exit code.

    Raises:
        StateError: the policy is refused, the port is taken, or the data folder cannot be used.
    """
    policy_digest(config)
    set_up_logs(config.log.level)
    for made in prepare_data(config.data, config.keys):
        click.echo(f"made {made} ({BACK_IT_UP})", err=True)
    # The port is held without listening, so that it stays ours while workers are started again.
    with hold_address(config.listen) as listener:
        bound = with_listener(config, None, listener.getsockname()[1], None)
        return asyncio.run(_run(bound, ready, beside(bound)))


def supervise(config: Config, beside: tuple[Child, ...]) -> Supervisor:
    """Return the supervisor of a configuration whose public port is held by this process."""
    listen = config.listen
    program = (sys.executable, "-m", "verismo")
    common = (
        *("--config", str(config.path)),
        *("--data", str(config.data)),
        *("--bound", listen.host, str(listen.port), str(listen.workers)),
    )
    children = [
        *beside,
        *(
            Child(
                name=f"s{index}",
                command=(*program, "worker-process", *common, "--index", str(index)),
            )
            for index in range(config.listen.workers)
        ),
    ]
    children.append(Child(name="control", command=(*program, "control-process", *common)))
    return Supervisor(children, config.limits.drain_ms_max / 1_000)


async def _run(config: Config, ready: Ready, beside: tuple[Child, ...]) -> int:
    supervisor = supervise(config, beside)
    announcing = asyncio.create_task(_announce(config, supervisor, ready))
    try:
        code = await supervisor.run()
    finally:
        announcing.cancel()
    await asyncio.wait({announcing})
    if not announcing.cancelled():
        announcing.result()
    return code


async def _announce(config: Config, supervisor: Supervisor, ready: Ready) -> None:
    if not await supervisor.wait_ready():
        return
    is_done = False
    try:
        await ready(config, supervisor)
        is_done = True
    except OperatorError as error:
        click.echo(f"error: {error.detail}\nnext:  {error.advice}", err=True)
    finally:
        if not is_done:
            supervisor.end(1)
