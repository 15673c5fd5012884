"""`verismo serve`: the supervisor, and the two kinds of process that it starts."""

import asyncio
import errno
import gc
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import click
import msgspec
import uvloop

from verismo.cli.options import config_option
from verismo.config.load import load_config
from verismo.config.schema import Config, Listen
from verismo.control.supervisor import Child, Supervisor, tell_ready
from verismo.model.errors import OperatorError, StateError
from verismo.wiring.control import run_control
from verismo.wiring.logs import set_up_logs
from verismo.wiring.worker import prepare_data, run_worker

GC_THRESHOLDS = (10_000, 50, 100)
"""Requests free their objects by reference count; the collector only looks for what cycles."""


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


async def _say_ready(config: Config, supervisor: Supervisor) -> None:
    click.echo(f"base URL: {base_url(config)}")


def serve_until_told(config: Config, ready: Ready, beside: tuple[Child, ...] = ()) -> int:
    """Run everything in child processes until a signal ends it.

    Args:
        config: the validated configuration.
        ready: called once, when every process is ready, with the port that is really bound; if
            it raises, the whole ends with exit code 1.
        beside: further processes to run.

    Returns:
        The exit code.

    Raises:
        StateError: the port is taken, or the data folder cannot be used.
    """
    set_up_logs(config.log.level)
    for made in prepare_data(config.data, config.keys):
        click.echo(f"made {made} (back it up: what it signs is verified for years)", err=True)
    # The port is held without listening, so that it stays ours while workers are started again.
    with _held(config.listen) as held:
        bound = with_listener(config, None, held.getsockname()[1], None)
        return asyncio.run(_run(bound, ready, beside))


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
    listener = _bound(settings.listen, socket.SO_REUSEADDR, socket.SO_REUSEPORT)
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


def _held(listen: Listen) -> socket.socket:
    """Return a socket that holds the public address for this program and its workers.

    Ports that are shared (SO_REUSEPORT) are shared with any program of this user, so that a second
    instance would take half of the first one's requests. One attempt that shares nothing finds
    every other program; without SO_REUSEADDR the held port then is found by others too.

    Raises:
        StateError: the port is taken.
    """
    probe = _bound(listen, socket.SO_REUSEADDR)
    probe.close()
    try:
        return _bind(listen, socket.SO_REUSEPORT)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise _unbindable(listen, error) from error
    # Only connections that another program has closed are left there.
    return _bound(listen, socket.SO_REUSEADDR, socket.SO_REUSEPORT)


def _bound(listen: Listen, *options: int) -> socket.socket:
    """Return a socket bound to the public address.

    Raises:
        StateError: the port is taken.
    """
    try:
        return _bind(listen, *options)
    except OSError as error:
        raise _unbindable(listen, error) from error


def _bind(listen: Listen, *options: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        for option in options:
            listener.setsockopt(socket.SOL_SOCKET, option, 1)
        listener.bind((listen.host, listen.port))
    except OSError:
        listener.close()
        raise
    return listener


def _unbindable(listen: Listen, error: OSError) -> StateError:
    is_taken = error.errno == errno.EADDRINUSE
    reason = "the port is taken" if is_taken else error.strerror
    return StateError(
        f"cannot bind {listen.host}:{listen.port}: {reason}",
        next_step="Choose another port with --port, or end the program that has it.",
    )


def with_listener(
    config: Config, host: str | None, port: int | None, workers: int | None
) -> Config:
    """Return the configuration with what the command line says about the listener."""
    listen = config.listen
    changed = {
        "host": listen.host if host is None else host,
        "port": listen.port if port is None else port,
        "workers": listen.workers if workers is None else workers,
    }
    return msgspec.structs.replace(config, listen=msgspec.structs.replace(listen, **changed))


def at_data(config: Config, data: Path) -> Config:
    """Return the configuration with another data folder."""
    return msgspec.structs.replace(config, data=data)


def base_url(config: Config) -> str:
    """Return the public base URL as a client on this machine would use it."""
    scheme = "https" if config.listen.tls_cert is not None else "http"
    host = "127.0.0.1" if config.listen.host in ("", "0.0.0.0") else config.listen.host
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{config.listen.port}"
