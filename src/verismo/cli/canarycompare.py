"""`verismo canary compare`: two gateways from outside, by the metrics that they publish.

They are read at two URLs, or out of one Prometheus server that scrapes both.
"""

import asyncio
import re
import sys
import time
from pathlib import Path
from typing import Final, TypedDict, Unpack

import click
import msgspec

from verismo.adapt.canaryfile import OUTSIDE, CanaryFile, FileLook
from verismo.adapt.canarysettings import CanarySettings, check_settings, parse_weights
from verismo.cli.options import printable
from verismo.control.federation import ArmRefused, Federated, federate_url, parse_arm
from verismo.control.metricstext import Selector, TextRefused, parse_selector
from verismo.control.outside import Clock, Comparison, OutsideWatch, endpoint
from verismo.control.reasonwords import in_words
from verismo.control.scrapes import UNITS_US, Meters
from verismo.model.decision import SettingsRefused
from verismo.model.errors import OperatorError
from verismo.wiring.canary import open_metrics

EXIT_CODES: Final = {"PROMOTE": 0, "HOLD": 3, "ROLLBACK": 4}
TIMEOUT_S: Final = 5.0
ARMS: Final = ("baseline", "candidate")
LATENCY: Final = "verismo_request_seconds{outcome=answer}"
ERRORS: Final = "verismo_requests_total{status=5..}"
COST: Final = "verismo_cost_usd_total"
_url = re.compile(r"https?://[^\s/?#]+[^\s]*").fullmatch


class Weights(click.ParamType[CanarySettings]):
    """Weights of the score, as the settings that they belong to."""

    name = "weights"

    def convert(
        self,
        value: str | CanarySettings,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> CanarySettings:
        """Return the settings of a comparison with these weights."""
        if isinstance(value, CanarySettings):
            return value
        try:
            settings = msgspec.structs.replace(OUTSIDE, weights=parse_weights(value))
            check_settings(settings)
        except SettingsRefused as error:
            self.fail(str(error), param, ctx)
        return settings


class Series(click.ParamType[Selector]):
    """A selector of series, such as `NAME{label=expression}`."""

    name = "selector"

    def convert(
        self, value: str | Selector, param: click.Parameter | None, ctx: click.Context | None
    ) -> Selector:
        """Return the selector."""
        if isinstance(value, Selector):
            return value
        try:
            return parse_selector(value)
        except TextRefused as error:
            self.fail(str(error), param, ctx)


class Asked(TypedDict):
    """What `compare` is told."""

    baseline: str
    candidate: str
    prometheus: str | None
    stale_s: int | None
    window: int
    window_s: int
    score_weights: CanarySettings
    requests_min: int
    latency: Selector
    errors: Selector
    cost: Selector | None
    latency_unit: str
    key_file: Path | None


@click.command()
@click.option(
    "--baseline",
    required=True,
    help="URL of the one that serves now; with --prometheus a selector of its targets.",
)
@click.option("--candidate", required=True, help="The same of the one to be judged.")
@click.option(
    "--prometheus",
    metavar="URL",
    help="A Prometheus server that scrapes both; then --baseline and --candidate are selectors of "
    "its targets, such as 'job=\"blue\"'.",
)
@click.option(
    "--stale-s",
    type=click.IntRange(1, 3_600),
    help="With --prometheus: how old a sample may be, seconds; two scrapes are meant.  [default: "
    "half a window]",
)
@click.option(
    "--window",
    type=click.IntRange(1, 1_000),
    default=10,
    show_default=True,
    help="How many windows are judged, after one that is the reference.",
)
@click.option(
    "--window-s",
    type=click.IntRange(1, 3_600),
    default=60,
    show_default=True,
    help="How long each window is, seconds.",
)
@click.option(
    "--score-weights",
    type=Weights(),
    default="p95=0.5,error=0.3,cost=0.2",
    show_default=True,
    help="Weights of the score; they sum to 1. p99 may be named too.",
)
@click.option(
    "--requests-min",
    type=click.IntRange(1),
    default=OUTSIDE.requests_min,
    show_default=True,
    help="Requests of the candidate without which nothing is promoted.",
)
@click.option(
    "--latency",
    type=Series(),
    default=LATENCY,
    show_default=True,
    help="Classic histogram of answers that did not fail.",
)
@click.option(
    "--latency-unit",
    type=click.Choice(sorted(UNITS_US)),
    default="s",
    show_default=True,
    help="Unit of its bounds.",
)
@click.option(
    "--errors", type=Series(), default=ERRORS, show_default=True, help="Counters of failures."
)
@click.option(
    "--cost", type=Series(), default=COST, show_default=True, help="Counters of US dollars."
)
@click.option(
    "--key-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Holds a key with the role viewer, sent to both URLs, or to the Prometheus server.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Takes the decisions and the parameters of the score, as JSON.",
)
@click.pass_context
def compare(ctx: click.Context, out: Path, **asked: Unpack[Asked]) -> None:
    """Compare two gateways by their metrics and say whether to promote the candidate.

    Both have to get requests of the same kind at the same time, split at random by whatever stands
    before them. Without a path in a URL its `/metrics` is read. With --prometheus both are read out
    of that server's `/federate`; a window should be at least four of its scrapes.

    Exit codes: 0 PROMOTE, 3 HOLD, 4 ROLLBACK, 2 wrong usage. No data is HOLD.
    """
    comparison = _comparison(asked)
    _prepare(out)
    key_file = asked["key_file"]
    key = "" if key_file is None else key_file.read_text(encoding="utf-8").strip()
    found = asyncio.run(_run(comparison, key))
    _write(out, found)
    click.echo(f"{found.note}", err=True)
    click.echo(f"{found.verdict}: {'; '.join(printable(in_words(one)) for one in found.reasons)}")
    ctx.exit(EXIT_CODES[found.verdict])


def _comparison(asked: Asked) -> Comparison:
    """Return what is compared.

    Raises:
        BadParameter: a URL or a selector that is none.
        UsageError: options that do not fit together.
    """
    meters = Meters(asked["latency"], asked["errors"], asked["cost"], asked["latency_unit"])
    server = asked["prometheus"]
    baseline, candidate = [_source(name, asked[name], server, meters) for name in ARMS]
    return Comparison(
        baseline=baseline,
        candidate=candidate,
        windows=asked["window"],
        window_ms=asked["window_s"] * 1_000,
        meters=meters,
        score=msgspec.structs.replace(asked["score_weights"], requests_min=asked["requests_min"]),
        federated=_federated(asked),
    )


def _source(name: str, value: str, server: str | None, meters: Meters) -> str:
    """Return the URL at which an arm is read."""
    if server is None:
        if _url(value) is None:
            told = " (a selector needs --prometheus)" if "=" in value else ""
            raise click.BadParameter(
                f"{value!r} is no http or https URL{told}", param_hint=f"--{name}"
            )
        return endpoint(value)
    try:
        arm = parse_arm(value)
    except ArmRefused as error:
        raise click.BadParameter(str(error), param_hint=f"--{name}") from error
    try:
        return federate_url(server, arm, meters)
    except ArmRefused as error:
        raise click.BadParameter(str(error), param_hint="--prometheus") from error


def _federated(asked: Asked) -> Federated | None:
    """Return how pages of a Prometheus server are taken; None without one."""
    server, stale_s, window_s = asked["prometheus"], asked["stale_s"], asked["window_s"]
    if server is None:
        if stale_s is not None:
            raise click.UsageError("--stale-s goes with --prometheus")
        return None
    if stale_s is not None and stale_s > window_s:
        raise click.UsageError(
            f"--stale-s {stale_s} is longer than a window of {window_s} s; make windows longer "
            "with --window-s"
        )
    stale_ms = window_s * 500 if stale_s is None else stale_s * 1_000
    arms = " and ".join(f"{{{parse_arm(asked[name])}}}" for name in ARMS)
    return Federated(stale_ms, f"read from the Prometheus server {server}: {arms}")


async def _run(comparison: Comparison, key: str) -> CanaryFile:
    async with open_metrics(TIMEOUT_S, key) as metrics:
        clock = Clock(_now_ms, _until)
        return await OutsideWatch(comparison, metrics, clock, _tell).run()


def _tell(look: FileLook) -> None:
    score = next((one.values["score_ppm"] for one in look.metrics if one.name == "score"), None)
    told = "no score" if score is None else f"score {score / 1e6:.3f}"
    why = printable(look.note or in_words(look.reasons[0]))
    print(f"{look.verdict}, {told}: {why}", file=sys.stderr, flush=True)


async def _until(time_ms: int) -> None:
    await asyncio.sleep(max(0, time_ms - _now_ms()) / 1_000)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _prepare(out: Path) -> None:
    """Make sure before the comparison, not after it, that its result can be written."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("ab"):
            pass
    except OSError as error:
        raise _unwritable(out, error) from error


def _write(out: Path, found: CanaryFile) -> None:
    text = msgspec.json.format(msgspec.json.encode(found))
    try:
        out.write_bytes(text + b"\n")
    except OSError as error:
        raise _unwritable(out, error) from error


def _unwritable(out: Path, error: OSError) -> OperatorError:
    return OperatorError(
        f"{out} cannot be written: {error.strerror}", next_step="Name another file with --out."
    )
