"""`verismo scale`: what was decided of replicas, the HPA that follows, and the proof of the gap."""

import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO

import click
import msgspec

from verismo.adapt.hpamanifest import HpaPlace, hpa_manifest
from verismo.adapt.scalingevents import (
    LOG_BYTES_MAX,
    Finding,
    GapReport,
    Scaled,
    read_events,
    verify_gap,
)
from verismo.adapt.scalingsettings import GAP_MS_MIN
from verismo.cli.options import columns, config_option, json_option, printable
from verismo.config.load import load_config
from verismo.config.scalingtable import ScalingTarget
from verismo.config.schema import Config
from verismo.control.reasonwords import in_words
from verismo.model.decision import SettingsRefused
from verismo.model.errors import MalformedRequest, OperatorError
from verismo.model.units import moment_utc
from verismo.simulate.cluster import Cluster
from verismo.simulate.kubernetes import running_cluster
from verismo.wiring.scaling import Standing, read_standings

METRIC = "verismo_desired_replicas"
_UNDECIDED = "nothing was decided yet; the control process of `verismo serve` does it"
FINDINGS_MAX = 100
"""Findings that are printed for people; `--json` has them all."""
_PROBLEMS = {
    "breach": "less than the gap apart",
    "too_coarse": "whole seconds do not tell whether the gap was kept",
    "hidden_changes": "one event stands for several changes",
    "missing_event": "the sizes do not continue one another: an event is missing",
    "rolling_update": "two replica sets of one Deployment: a rolling update, or two scalings",
    "unexplained_change": "its autoscaler did not make this change of the Deployment",
}
_DECIDED = {
    "NOOP": "stay",
    "SCALE_UP": "scale up",
    "SCALE_DOWN": "scale down",
    "NODATA": "stay: no data",
}
"""Verdicts of decisions in words; another one is shown as it is."""
_NUMBERS = {
    "in_flight_milli": "requests in flight",
    "queued_milli": "requests in the queue",
    "requests": "requests that began",
    "late": "requests that waited too long",
    "replicas": "replicas",
}
"""Fields of a sample in words; another one is shown as it is."""
_VERDICTS = {
    "kept": "every gap is proven",
    "breached": "the gap was not kept",
    "unproven": "the log does not prove every gap",
    "no_actions": "the log has no change of size and proves nothing",
}


class TargetView(msgspec.Struct, frozen=True):
    """What `show` prints of a target; None where nothing was decided."""

    target: str
    workload: str
    mode: str
    verdict: str | None
    replicas: int | None
    desired: int | None
    reasons: tuple[str, ...]
    headroom_ppm: int | None
    wait_ms: int | None
    at_ms: int | None
    missing: tuple[str, ...]


@click.group()
def scale() -> None:
    """Look at how replicas are decided, and prove that the gap is kept."""


@scale.command()
@config_option
@json_option
def show(config: Path, *, as_json: bool) -> None:
    """Show what was decided last about each [scaling.NAME]."""
    views = [_view(one) for one in read_standings(load_config(config))]
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(views), indent=2))
        return
    if not views:
        click.echo("nothing is scaled: [scaling.NAME] in verismo.toml, docs/adapt-scaling.md")
        return
    rows = [
        (
            one.target,
            one.workload,
            one.mode,
            "undecided" if one.verdict is None else _DECIDED.get(one.verdict, one.verdict),
            _replicas(one),
            f"{one.wait_ms / 1_000:.0f} s" if one.wait_ms else "",
            "" if one.at_ms is None else moment_utc(one.at_ms),
        )
        for one in views
    ]
    header = ("TARGET", "DEPLOYMENT", "MODE", "DECIDED", "REPLICAS", "GAP LEFT", "AT")
    click.echo(columns(header, rows))
    for one in views:
        why = "; ".join(in_words(reason) for reason in one.reasons)
        names = ", ".join(_NUMBERS.get(name, name) for name in one.missing)
        missing = f"; missing: {names}" if names else ""
        click.echo(printable(f"{one.target}: {why or _UNDECIDED}{missing}"))


@scale.command()
@config_option
@click.argument("name")
def manifest(config: Path, name: str) -> None:
    """Print the HorizontalPodAutoscaler that follows the metric of [scaling.NAME]."""
    target = _find(load_config(config), name)
    if target.mode == "strict":
        raise OperatorError(
            f"[scaling.{name}] is strict: the replicas are set at the API server",
            next_step='Set mode = "gauge" for an HPA; both at once undo each other\'s work.',
        )
    place = HpaPlace(target.namespace, target.workload, METRIC, target.hpa_tolerance)
    try:
        click.echo(hpa_manifest(target.settings, place), nl=False)
    except SettingsRefused as error:
        raise OperatorError(error.cause, next_step=error.next_step) from error


@scale.command("verify-events")
@json_option
@click.option(
    "--gap-s",
    type=click.IntRange(1, 86_400),
    default=GAP_MS_MIN // 1_000,
    show_default=True,
    help="What is to lie between two changes of one target.",
)
@click.argument("file", type=click.File("rb"))
def verify_events(file: BinaryIO, gap_s: int, *, as_json: bool) -> None:
    """Prove from FILE that no target was scaled twice within the gap.

    FILE is what `kubectl get events -A -o json` prints; `-` reads it from standard input. Exit code
    0 if every gap is proven, 1 if one was not kept or the log does not prove it.
    """
    try:
        changes = read_events(file.read(LOG_BYTES_MAX + 1))
    except MalformedRequest as error:
        raise OperatorError(
            error.detail, next_step="Print the log again: kubectl get events -A -o json"
        ) from error
    report = verify_gap(changes, gap_s * 1_000)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2))
    else:
        _tell(report, gap_s)
    sys.exit(0 if report.verdict == "kept" else 1)


@scale.command("simulate-cluster")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, show_default=True, help="Port; 0 takes a free one.")
@click.option(
    "--replicas",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="What the Deployment is asked to have at first.",
)
@click.option("--token", required=True, help="What `token_file` has to hold.")
@click.argument("workload", metavar="NAMESPACE/NAME")
def simulate_cluster(host: str, port: int, replicas: int, token: str, workload: str) -> None:
    """Run a simulated Kubernetes API with one Deployment, to try strict mode, until Ctrl-C.

    No pod runs. GET /api/v1/events has the events of every change, for `verify-events`.
    """
    namespace, slash, name = workload.partition("/")
    if not (namespace and slash and name):
        raise click.UsageError("write NAMESPACE/NAME, such as prod/reader")
    cluster = Cluster(token, time.time)
    cluster.deploy(namespace, name, replicas)
    with running_cluster(cluster, host=host, port=port) as url:
        click.echo(f"Simulated Kubernetes API, no pod runs here: {url} (Ctrl-C ends it)")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            click.echo("ended")


def _view(standing: Standing) -> TargetView:
    target, decision = standing.target, standing.decision
    state = None if decision is None else decision.state
    action = None if decision is None else decision.action
    return TargetView(
        target=target.name,
        workload=f"{target.namespace}/{target.workload}",
        mode=target.mode,
        verdict=None if decision is None else decision.verdict,
        replicas=None if action is None else action.before or None,
        desired=None if action is None else action.after or None,
        reasons=() if decision is None else decision.reasons,
        headroom_ppm=None if state is None else state.headroom_ppm,
        wait_ms=None if state is None else state.wait_ms,
        at_ms=None if decision is None else decision.at_ms,
        missing=standing.missing,
    )


def _find(config: Config, name: str) -> ScalingTarget:
    for target in config.scaling:
        if target.name == name:
            return target
    known = ", ".join(target.name for target in config.scaling) or "none"
    raise OperatorError(
        f"there is no target {name!r}; there are: {known}",
        next_step="Name one of them, or add [scaling.NAME] to verismo.toml.",
    )


def _tell(report: GapReport, gap_s: int) -> None:
    click.echo(
        f"{report.verdict}: {report.actions} changes of {report.targets} targets, gap {gap_s} s; "
        f"{_VERDICTS[report.verdict]}"
    )
    for finding in report.findings[:FINDINGS_MAX]:
        click.echo(f"  {_spelled(finding)}")
    if len(report.findings) > FINDINGS_MAX:
        click.echo(f"  and {len(report.findings) - FINDINGS_MAX} more; --json has them all")


def _spelled(finding: Finding) -> str:
    first, second = finding.first, finding.second
    apart = f", {finding.gap_us_max / 1_000_000:.3f} s apart at most"
    then = "" if second.place == first.place else f"{second.place} "
    return (
        f"{finding.kind}: {first.place}: {_change(first)}, then {then}{_change(second)}"
        f"{'' if first == second else apart}: {_PROBLEMS[finding.kind]}"
    )


def _change(change: Scaled) -> str:
    before = "" if change.before is None else f"from {change.before} "
    return f"{before}to {change.after} at {moment_utc(change.at_us // 1_000)}"


def _replicas(view: TargetView) -> str:
    if view.replicas is None or view.desired is None:
        return ""
    changes = view.replicas != view.desired
    return f"{view.replicas} -> {view.desired}" if changes else str(view.desired)
