"""`verismo budget simulate`: what the rules would have done to a tenant's spend, as a report."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
from click.core import ParameterSource

from verismo.adapt.budget import BudgetSettings
from verismo.adapt.budgetlimit import LimitSettings
from verismo.adapt.budgetreplay import replay
from verismo.adapt.budgetreport import Report, Settings, report_of
from verismo.cli.options import columns, config_option, moment
from verismo.config.install import install, prepare
from verismo.config.load import FILE_NAME, load_config
from verismo.config.scaffold import recipe_for
from verismo.config.schema import Config
from verismo.config.writing import write_whole
from verismo.model.errors import OperatorError
from verismo.model.ids import TenantId
from verismo.wiring.budgetdata import simulation_data

PPM_PER_PERCENT = 10_000
DEFAULT = ParameterSource.DEFAULT


@click.command()
@config_option
@click.option(
    "--simulate", is_flag=True, help="Taken for the command line of the specification: always on."
)
@click.option("--tenant", required=True, help="Whose budget.")
@click.option(
    "--window",
    type=click.IntRange(10, 3_600),
    default=120,
    show_default=True,
    help="Seconds within which a breach has to be throttled.",
)
@click.option(
    "--trace",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A CSV: start_ms,operation,offered_usd_micros. Default: the tenant's own records, and "
    "where there are none, spend that is made up.",
)
@click.option(
    "--report",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the JSON report goes.",
)
def simulate(
    config: Path, simulate: bool, tenant: str, window: int, trace: Path | None, file: Path | None
) -> None:
    """Replay spend through the budgets' own rules, plant breaches, and report what came of it."""
    is_default = click.get_current_context().get_parameter_source("config") == DEFAULT
    with _configured(config, has_sample=is_default) as loaded:
        data = simulation_data(loaded, TenantId(tenant), trace)
    settings = Settings(tenant, window, BudgetSettings(), LimitSettings())
    outcomes = [
        (operation, route.cap_usd_micros, replay(route, settings.budget, settings.limit))
        for operation, route in data.routes
    ]
    report = report_of(settings, data.source, outcomes)
    if file is not None:
        _write(file, report)
    _tell(report, file)


@contextmanager
def _configured(path: Path, *, has_sample: bool) -> Iterator[Config]:
    """Load the configuration, or that of the samples where there is none and none was named."""
    if path.exists() or not has_sample:
        yield load_config(path)
        return
    click.echo(f"no {path} here: this is the sample configuration of `verismo init`", err=True)
    with tempfile.TemporaryDirectory() as folder:
        install(prepare(Path(folder), recipe_for("simulator")))
        yield load_config(Path(folder) / FILE_NAME)


def _write(file: Path, report: Report) -> None:
    text = msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, text, 0o644)
    except OSError as error:
        raise OperatorError(
            f"the report cannot be written to {file}: {error.strerror}",
            next_step="Name another file with --report.",
        ) from error


def _tell(report: Report, file: Path | None) -> None:
    data = report.data
    click.echo(
        f"{report.tenant}: {data.kind} spend, {moment(data.start_ms)} to "
        f"{moment(data.end_ms)}, under test from {moment(data.test_start_ms)}"
    )
    click.echo(f"({data.detail})")
    click.echo(
        f"throttled {report.throttle_events} times with no breach planted; false positives "
        f"{_percent(report.false_positive_mean_ppm)} of route-hours, p90 route "
        f"{_percent(report.false_positive_p90_ppm)}; legitimate spend shed "
        f"{_percent(report.legitimate_shed_ppm)}"
    )
    header = ("BREACH", "PLANTED", f"IN {report.window_s} s", "MEDIAN s", "MAX s", "OVERSHOOT USD")
    rows = [
        (
            *(f"x{one.multiple}", str(one.planted), str(one.throttled_within_window)),
            *(_seconds(one.time_to_throttle_ms_median), _seconds(one.time_to_throttle_ms_max)),
            ""
            if one.overshoot_usd_micros_median is None
            else f"{one.overshoot_usd_micros_median / 1_000_000:.4f}",
        )
        for one in report.breaches
    ]
    click.echo(columns(header, rows))
    if file is not None:
        click.echo(f"report: {file}")


def _percent(ppm: int | None) -> str:
    return "unknown" if ppm is None else f"{ppm / PPM_PER_PERCENT:.2f} %"


def _seconds(milliseconds: int | None) -> str:
    return "" if milliseconds is None else f"{milliseconds / 1_000:g}"
