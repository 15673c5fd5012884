"""`verismo simulate`: run a simulated upstream in the foreground until SIGTERM or SIGINT."""

import asyncio
import signal

import click
import msgspec
import uvloop

from verismo.cli.ending import told_to_end
from verismo.control.supervisor import tell_ready
from verismo.simulate.server import running_upstream
from verismo.simulate.settings import SimulatorSettings


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=9090, show_default=True, help="Port; 0 takes a free one.")
@click.option("--seed", default=1, show_default=True, help="Decides answers and faults.")
@click.option("--model", "models", multiple=True, help="Serve only this model; may be repeated.")
@click.option("--answer-tokens", default=0, help="Length of a chat answer; 0 varies it.")
@click.option("--latency-ms-p50", default=0.0, help="Median latency.", show_default=True)
@click.option("--latency-ms-p99", default=0.0, help="99th percentile; 0 is the median's value.")
@click.option("--interval-ms", default=0, help="Time between the events of a stream.")
@click.option("--error-ppm", default=0, help="Share of calls answered 500, 429 or 503, ppm.")
@click.option("--stall-ppm", default=0, help="Share of calls never answered, ppm.")
@click.option("--cut-ppm", default=0, help="Share of calls cut off in the middle, ppm.")
@click.option("--garbage-ppm", default=0, help="Share of calls answered with broken JSON, ppm.")
@click.option("--huge-ppm", default=0, help="Share of calls answered with 64 MiB, ppm.")
@click.option("--keep-requests", default=0, help="Last requests shown by /simulator/stats.")
def simulate(host: str, port: int, models: tuple[str, ...], **options: int | float) -> None:
    """Run a simulated upstream that speaks OpenAI, Anthropic, GraphQL and HTTP.

    No model runs: answers are generated from the seed and the request, and say so. Single faults
    are ordered by the request header `x-simulate` or a text `[simulate: error=500]` in the body.
    """
    settings = msgspec.convert({"models": models, **options}, SimulatorSettings)
    uvloop.run(_serve(settings, host, port))


async def _serve(settings: SimulatorSettings, host: str, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running_upstream(settings, host=host, port=port) as base_url:
        click.echo(f"Simulated upstream, no model runs here: {base_url} (Ctrl-C ends it)")
        await stop.wait()


@click.command(hidden=True)
@click.option("--latency-ms-p50", default=0.0)
@click.option("--latency-ms-p99", default=0.0)
@click.argument("port", type=int)
@click.argument("ready", type=int)
def simulator_process(port: int, ready: int, **latencies: float) -> None:
    """Run the demo's simulated upstream; started by the supervisor."""
    settings = msgspec.convert({"seed": 1, **latencies}, SimulatorSettings)
    asyncio.run(_simulate(settings, port, ready))


async def _simulate(settings: SimulatorSettings, port: int, ready: int) -> None:
    with told_to_end() as ended:
        async with running_upstream(settings, port=port):
            tell_ready(ready)
            await ended.wait()
