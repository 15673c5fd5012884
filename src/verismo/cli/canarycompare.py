"""`verismo canary compare`: two gateways from outside, by the metrics that they publish.

They are read at two URLs, or out of one Prometheus server that scrapes both.
"""

import asyncio
import re
import sys
import time
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Final, TypedDict, TypeVar, Unpack

import click
import msgspec

from verismo.adapt.canaryfile import OUTSIDE, CanaryFile, FileLook
from verismo.adapt.canarysettings import CanarySettings, check_settings, parse_weights
from verismo.cli.options import printable
from verismo.control.federation import ArmRefused, Federated, federate_url, parse_arm
from verismo.control.metricsaddress import endpoint, is_one_address, shown_address
from verismo.control.metricstext import Selector, TextRefused, parse_selector
from verismo.control.outside import ARMS, Clock, Comparison, OutsideWatch, Telling
from verismo.control.reasonwords import in_words
from verismo.control.scrapes import UNITS_US, Meters
from verismo.model.decision import SettingsRefused
from verismo.model.errors import OperatorError
from verismo.model.units import moment_utc
from verismo.wiring.canary import open_metrics

Command = TypeVar("Command", bound=Callable[..., object])

EXIT_CODES: Final = {"PROMOTE": 0, "HOLD": 3, "ROLLBACK": 4}
TIMEOUT_S: Final = 5.0
LATENCY: Final = "verismo_request_seconds{outcome=answer}"
ERRORS: Final = "verismo_requests_total{status=5..}"
COST: Final = "verismo_cost_usd_total"
_token = re.compile(rb"[!-~]*").fullmatch
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
    baseline_key_file: Path | None
    candidate_key_file: Path | None


def _key_file(name: str, text: str) -> Callable[[Command], Command]:
    path = click.Path(path_type=Path, exists=True, dir_okay=False)
    return click.option(name, type=path, help=text)


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
    help="How many windows are judged, after one that is the reference; PROMOTE needs them all. A "
    "fifth as many more, two at least, make up for thin ones and for those that the baseline "
    "loses; none that the candidate loses is made up for.",
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
@_key_file(
    "--key-file",
    "Holds a key with the role viewer, sent to both URLs, or to the Prometheus server.",
)
@_key_file("--baseline-key-file", "The same for the baseline's URL alone.")
@_key_file("--candidate-key-file", "The same for the candidate's URL alone.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Takes the decisions and the parameters of the score, as JSON; folders of a relative path "
    "are made.",
)
@click.pass_context
def compare(ctx: click.Context, out: Path, **asked: Unpack[Asked]) -> None:
    """Compare two gateways by their metrics and say whether to promote the candidate.

    Both have to get requests of the same kind at the same time, split at random by whatever stands
    before them. Without a path in a URL its `/metrics` is read. With --prometheus both are read out
    of that server's `/federate`; a window should be at least four of its scrapes.

    What is compared, when the first judgement is due and each window go to standard error.

    Exit codes: 0 PROMOTE, 3 HOLD, 4 ROLLBACK, 2 wrong usage. No data is HOLD.
    """
    comparison = _comparison(asked)
    _prepare(out)
    keys = _keys(asked, comparison)
    _say_begin(comparison)
    found = asyncio.run(_run(comparison, keys))
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
    if is_one_address(baseline, candidate):
        what = "one address" if server is None else "one selector"
        raise click.UsageError(
            f"--baseline and --candidate are {what}: nothing can be compared with itself"
        )
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


def _keys(asked: Asked, comparison: Comparison) -> dict[str, str]:
    """Return the key that is sent to each URL.

    Raises:
        UsageError: both arms are at one server and get two keys, or a file holds what is none.
    """
    own = {"baseline": asked["baseline_key_file"], "candidate": asked["candidate_key_file"]}
    if asked["prometheus"] is not None and any(own.values()):
        raise click.UsageError("one Prometheus server is asked for both: it takes --key-file alone")
    urls = zip(ARMS, (comparison.baseline, comparison.candidate), strict=True)
    return {url: _read_key(own[name] or asked["key_file"]) for name, url in urls}


def _read_key(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise click.UsageError(f"{path} cannot be read: {error.strerror}") from error
    if _token(key) is None:
        # What it holds instead is not shown: it may be half a key.
        raise click.UsageError(f"{path} holds something else than one key")
    return key.decode("ascii")


def _say_begin(comparison: Comparison) -> None:
    """Say what is compared and when there will be something to see, before anything is read."""
    window_s, windows = comparison.window_ms // 1_000, comparison.windows
    now_ms = _now_ms()
    if comparison.federated is None:
        arms = [shown_address(one) for one in (comparison.baseline, comparison.candidate)]
        _say(f"comparing {arms[1]} with the baseline {arms[0]}")
    else:
        _say(f"comparing what is {comparison.federated.note}")
    _say(
        f"a window lasts {window_s} s: the first is the reference, the first judgement is due "
        f"{moment_utc(now_ms + 2 * comparison.window_ms)}, the last of {windows} "
        f"{moment_utc(now_ms + (windows + 1) * comparison.window_ms)}, with up to "
        f"{comparison.spare} more in place of those that do not count"
    )


async def _run(comparison: Comparison, keys: Mapping[str, str]) -> CanaryFile:
    numbers = count()

    def tell(look: FileLook) -> None:
        number = next(numbers)
        name = f"window {number} of {comparison.windows}" if number else "reference window"
        if number > comparison.windows:
            name = f"window {number}, in place of one that does not count"
        _say(f"{name}: {_look_line(look)}")

    async with open_metrics(TIMEOUT_S, keys) as metrics:
        clock, telling = Clock(_now_ms, _until), Telling(tell, _say_fault)
        return await OutsideWatch(comparison, metrics, clock, telling).run()


def _look_line(look: FileLook) -> str:
    score = next((one.values["score_ppm"] for one in look.metrics if one.name == "score"), None)
    told = "no score" if score is None else f"score {score / 1e6:.3f}"
    return f"{look.verdict}, {told}: {printable(look.note or in_words(look.reasons[0]))}"


def _say_fault(fault: str) -> None:
    _say(f"no data yet from the {printable(fault)}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


async def _until(time_ms: int) -> None:
    await asyncio.sleep(max(0, time_ms - _now_ms()) / 1_000)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _prepare(out: Path) -> None:
    """Make sure before the comparison, not after it, that its result can be written."""
    try:
        if not out.is_absolute():
            # Elsewhere a folder that is not there is a slip of the pen.
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
