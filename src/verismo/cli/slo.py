"""`verismo slo`: how fast routes use up their error budgets."""

import time
from pathlib import Path

import click
import msgspec

from verismo.adapt.burn import COVERED_PPM_MIN, PAIRS, SPANS_MS, Burn
from verismo.cli.options import columns, config_option, json_option
from verismo.config.load import load_config
from verismo.control.slo import Standing, span_text
from verismo.wiring.slo import read_standings


class BurnView(msgspec.Struct, frozen=True):
    """What `show --json` prints of one objective over one span."""

    span: str
    covered_ppm: int
    total: int
    bad: int
    burn_milli: int | None


class ObjectiveView(msgspec.Struct, frozen=True):
    """What `show --json` prints of one objective."""

    slo: str
    objective: str
    objective_ppm: int
    burns: tuple[BurnView, ...]
    alarms: tuple[str, ...]


@click.group()
def slo() -> None:
    """Look at error budgets."""


@slo.command()
@config_option
@json_option
def show(config: Path, *, as_json: bool) -> None:
    """Show how fast each [slo.NAME] burns: 1 uses the budget up exactly at the end of its period.

    Read from the windows that gateways keep for a day; a span of which less than half is there has
    no number. The longest span is complete in Prometheus only.
    """
    standings = read_standings(load_config(config), time.time_ns() // 1_000_000)
    views = [view for one in standings for view in views_of(one)]
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(views), indent=2))
        return
    if not views:
        click.echo("nothing is promised: [slo.NAME] in verismo.toml, docs/adapt-scaling.md")
        return
    rows = [
        (
            one.slo,
            one.objective,
            f"{one.objective_ppm / 10_000:g} %",
            *(_spelled(burn) for burn in one.burns),
            ", ".join(one.alarms) or "none",
        )
        for one in views
    ]
    spans = tuple(span_text(span_ms).upper() for span_ms in SPANS_MS)
    click.echo(columns(("SLO", "OBJECTIVE", "PROMISED", *spans, "ALARM"), rows))
    if any(_is_thin(burn) for one in views for burn in one.burns):
        click.echo("seen N %: too little of a span was seen to have a number yet; half is needed.")
    factors = ", ".join(
        f"{pair.factor_milli / 1_000:g} over {span_text(pair.long_ms)} and "
        f"{span_text(pair.short_ms)}"
        for pair in PAIRS
    )
    click.echo(f"An alarm is a burn of at least {factors}.")


def views_of(standing: Standing) -> list[ObjectiveView]:
    """Return what is shown of a route, by objective."""
    objectives = standing.promise.objectives
    promised = {"latency": objectives.latency_ppm, "errors": objectives.error_ppm}
    kinds = dict.fromkeys(one.kind for one in standing.burns)
    return [
        ObjectiveView(
            slo=standing.promise.name,
            objective=kind,
            objective_ppm=promised[kind],
            burns=tuple(_view(one) for one in standing.burns if one.kind == kind),
            alarms=tuple(
                f"{one.pair.severity} at {one.pair.factor_milli / 1_000:g}"
                for one in standing.alarms
                if one.kind == kind
            ),
        )
        for kind in kinds
    ]


def _view(burn: Burn) -> BurnView:
    return BurnView(
        span_text(burn.span_ms), burn.covered_ppm, burn.total, burn.bad, burn.burn_milli
    )


def _spelled(burn: BurnView) -> str:
    if burn.burn_milli is not None:
        return f"{burn.burn_milli / 1_000:.2f}"
    # A share that is rounded up to a half would look like enough.
    return f"seen {burn.covered_ppm // 10_000} %" if _is_thin(burn) else ""


def _is_thin(burn: BurnView) -> bool:
    return burn.total > 0 and burn.covered_ppm < COVERED_PPM_MIN
