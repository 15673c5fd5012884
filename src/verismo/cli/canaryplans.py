"""`verismo canary plan`: how long a rollout is likely to take."""

import time
from pathlib import Path

import click
import msgspec

from verismo.adapt.canaryplan import Rung, plan
from verismo.cli.moments import Moment, since
from verismo.cli.options import columns, config_option, json_option
from verismo.config.load import load_config
from verismo.control.reasonwords import spell
from verismo.model.decision import Subject
from verismo.model.errors import OperatorError
from verismo.model.ids import OperationId
from verismo.wiring.canary import read_traffic


class PlanReport(msgspec.Struct, frozen=True):
    """What `plan --json` prints.

    Args:
        requests_per_minute_milli: of the route, in thousandths.
        look_ms: between two looks.
        rungs: with the looks that each takes.
    """

    requests_per_minute_milli: int
    look_ms: int
    rungs: tuple[Rung, ...]


@click.command("plan")
@config_option
@click.option("--operation", required=True, help="Whose requests would be split.")
@click.option("--tenant", default="", help="Of one tenant; default: of all of them.")
@click.option(
    "--since",
    "moment_ms",
    type=Moment(),
    default="24h",
    show_default=True,
    help="The traffic since then counts.",
)
@json_option
def plan_rollout(config: Path, operation: str, tenant: str, moment_ms: int, as_json: bool) -> None:
    """Say how long each share of the ladder takes for a candidate like the baseline.

    The traffic is taken to come evenly, as the mean of what was counted. Exit code 0 also where it
    is too little to leave a rung.
    """
    loaded, now_ms = load_config(config), time.time_ns() // 1_000_000
    if operation not in loaded.plan.operations:
        raise OperatorError(
            f"there is no operation {operation!r}", next_step="`verismo operation list` shows them."
        )
    subject = Subject(tenant, OperationId(operation))
    traffic = read_traffic(loaded, subject, since(moment_ms, now_ms), now_ms)
    look_ms = loaded.canary.look_ms
    rungs = plan(traffic.window, traffic.span_ms, look_ms, loaded.canary.settings)
    per_minute_milli = traffic.window.requests * 60_000_000 // traffic.span_ms
    if as_json:
        click.echo(msgspec.json.encode(PlanReport(per_minute_milli, look_ms, rungs)))
        return
    click.echo(
        f"{traffic.window.requests:,} requests in {minutes(traffic.span_ms)} minutes, "
        f"{spell('milli', per_minute_milli)} a minute; a look every {spell('ms', look_ms)}"
    )
    rows = [(f"{one.weight_ppm / 10_000:g} %", *_told(one, look_ms)) for one in rungs]
    click.echo(columns(("SHARE", "MINUTES", "REQUESTS OF THE CANDIDATE"), rows))
    if any(one.looks is None for one in rungs):
        click.echo("too little traffic to leave that share before the bake is over")
    else:
        total_ms = sum(one.looks or 0 for one in rungs) * look_ms
        click.echo(
            f"{minutes(total_ms)} minutes to all requests, for a candidate like the baseline"
        )


def _told(rung: Rung, look_ms: int) -> tuple[str, str]:
    if rung.looks is None:
        return ("-", "-")
    return (minutes(rung.looks * look_ms), f"{rung.requests:,}")


def minutes(time_ms: int) -> str:
    """Spell a time in minutes with a tenth at most, rounded up: some time is never none."""
    return spell("tenths_milli", -(-time_ms // 6_000) * 100)
