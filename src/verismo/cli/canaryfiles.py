"""`verismo canary export`, `replay`, `calibrate` and `simulate-day`: rollouts in files."""

from pathlib import Path

import click
import msgspec

from verismo.adapt.canarycalibration import STRETCH_LOOKS, STRETCHES_MIN, Calibration, calibrate
from verismo.adapt.canaryfile import VERSION, CanaryFile, Replayed, replay
from verismo.adapt.canarysettings import CanarySettings
from verismo.cli.options import config_option, json_option, printable
from verismo.config.load import load_config
from verismo.control.reasonwords import in_words
from verismo.control.rolloutfile import rollout_file
from verismo.model.canonical import NotCanonical
from verismo.model.decision import SettingsRefused, Subject
from verismo.model.errors import NotFound, OperatorError
from verismo.model.ids import OperationId
from verismo.simulate.releaseday import DaySettings, read_trace, release_day
from verismo.wiring.decisionaudit import recorded_decisions

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


class ReplayReport(msgspec.Struct, frozen=True):
    """What `replay --json` prints.

    Args:
        origin: where the windows come from.
        decisions: how many.
        differing: numbers of those that come out otherwise, from 1.
        concluded: whether the file's own end follows from them.
        verdict: what the file says in the end.
    """

    origin: str
    decisions: int
    differing: tuple[int, ...]
    concluded: bool
    verdict: str


@click.command("export")
@config_option
@click.option("--operation", required=True, help="Whose requests were split.")
@click.option("--tenant", default="", help="Of one tenant; default: of all of them.")
@click.option("--baseline", default="", help="Default: the operation's first deployment.")
@click.option("--candidate", default="", help="Default: the operation's only candidate.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Takes the rollout, as JSON.",
)
def export_rollout(config: Path, out: Path, **named: str) -> None:
    """Write the last rollout of an operation from its recorded decisions, to be replayed.

    It goes from the start, or the last exchange of a deployment, up to what a person did next, to a
    clock that was set back, or up to now.
    """
    loaded = load_config(config)
    operation = loaded.plan.operations.get(OperationId(named["operation"]))
    deployments = () if operation is None else operation.deployments
    candidates = () if operation is None else operation.candidates
    subject = Subject(
        named["tenant"],
        named["operation"],
        named["baseline"] or next(iter(deployments), ""),
        named["candidate"] or next(iter(candidates), ""),
    )
    try:
        with recorded_decisions(loaded.data) as reader:
            found = rollout_file(reader, subject)
    except NotFound as error:
        raise OperatorError(
            error.detail, next_step="`verismo decisions --controller canary` lists them."
        ) from error
    _write(out, found)
    _name_origin(found)
    _end(found)


@click.command("replay")
@click.argument("file", type=_FILE)
@json_option
@click.pass_context
def replay_file(ctx: click.Context, file: Path, as_json: bool) -> None:
    """Decide everything in a file of windows anew, and compare.

    Exit code 1 if a decision, or what the file says in the end, comes out otherwise.
    """
    read = _read(file)
    found = _replayed(file, read)
    report = ReplayReport(
        read.origin, len(found.looks), found.differing, found.is_concluded, read.verdict
    )
    if as_json:
        click.echo(msgspec.json.encode(report))
    else:
        _show(read, found)
    ctx.exit(0 if found.is_concluded and not found.differing else 1)


@click.command("calibrate")
@click.argument("files", type=_FILE, nargs=-1, required=True)
@click.option(
    "--stretch",
    type=click.IntRange(10),
    default=STRETCH_LOOKS,
    show_default=True,
    help="Looks of one stretch that is judged by itself.",
)
@click.pass_context
def calibrate_files(ctx: click.Context, files: tuple[Path, ...], stretch: int) -> None:
    """Find the tolerance of p95 from rollouts whose two arms were alike.

    FILES hold windows of two equal deployments (A/A). Exit code 1 if no tolerance does.
    """
    pairs, settings = [], CanarySettings()
    for file in files:
        read = _read(file)
        _name_origin(read)
        pairs += [one.observation for one in read.decisions]
        settings = read.score
    try:
        found = calibrate(pairs, settings, stretch)
    except SettingsRefused as error:
        raise OperatorError(str(error), next_step="Mend `score` in the last file.") from error
    _show_calibration(found, stretch)
    ctx.exit(0 if found.tolerance_ppm is not None else 1)


@click.command("simulate-day")
@click.option(
    "--traces",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="Folder of the public traces; docs/adapt-canary.md says which.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Takes the rollout, as JSON.",
)
@click.option("--seed", default=1, show_default=True, help="Of all draws.")
@click.option(
    "--begin-hour",
    type=click.IntRange(0, 23),
    default=9,
    show_default=True,
    help="When the rollout begins.",
)
@click.option(
    "--slower",
    type=click.FloatRange(0.1, 10),
    default=1.0,
    show_default=True,
    help="Factor on the candidate's latencies.",
)
@click.option(
    "--failing-ppm",
    type=click.IntRange(0, 1_000_000),
    default=1_000,
    show_default=True,
    help="Share of the candidate's requests that fail, in millionths.",
)
@click.option(
    "--dearer",
    type=click.FloatRange(0.1, 10),
    default=1.0,
    show_default=True,
    help="Factor on the candidate's costs.",
)
def simulate_day(traces: Path, out: Path, **options: int | float) -> None:
    """Simulate a rollout on a release day from public traces, as a file to be replayed.

    No gateway served it, and the file says so.
    """
    day = release_day(read_trace(traces), msgspec.convert(options, DaySettings))
    _write(out, day)
    _name_origin(day)
    _end(day)


def _write(out: Path, file: CanaryFile) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(msgspec.json.encode(file) + b"\n")
    except OSError as error:
        raise OperatorError(
            f"{out} cannot be written: {error.strerror}", next_step="Name another file."
        ) from error


def _read(file: Path) -> CanaryFile:
    try:
        read = msgspec.json.decode(file.read_bytes(), type=CanaryFile)
    except (OSError, msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise OperatorError(
            f"{file} is no file of a rollout: {printable(str(error))}",
            next_step="`verismo canary compare --out` and `simulate-day` write such files.",
        ) from error
    if read.v != VERSION:
        raise OperatorError(
            f"{file} has format {read.v}, which is not known here", next_step="Update verismo."
        )
    return read


def _replayed(file: Path, read: CanaryFile) -> Replayed:
    try:
        return replay(read)
    except (SettingsRefused, NotCanonical) as error:
        raise OperatorError(
            f"{file} cannot be decided anew: {error}", next_step="Mend `score` in it."
        ) from error


def _show(read: CanaryFile, found: Replayed) -> None:
    _name_origin(read)
    share = -1
    for number, look in enumerate(found.looks, start=1):
        is_news = look.verdict not in ("CONTINUE", "NODATA") or look.weight_ppm != share
        if is_news and (share >= 0 or number == 1):
            why = printable(look.note or in_words(look.reasons[0]))
            click.echo(f"look {number}, {look.weight_ppm / 10_000:g} %: {look.verdict}, {why}")
        share = look.weight_ppm if read.origin != "scraped" else share
    _end(read)
    if found.differing:
        shown = ", ".join(map(str, found.differing[:20]))
        click.echo(f"{len(found.differing)} decisions come out otherwise: {shown}")
    else:
        click.echo(f"all {len(found.looks)} decisions come out the same, byte for byte")
    if not found.is_concluded:
        click.echo("what the file says in the end does not follow from its decisions")


def _name_origin(read: CanaryFile) -> None:
    if read.origin == "simulated":
        click.echo("SIMULATED: no gateway served these requests")
    click.echo(f"{read.origin}: {printable(read.note)}")


def _end(read: CanaryFile) -> None:
    why = "; ".join(printable(in_words(one)) for one in read.reasons)
    click.echo(f"in the end {read.verdict}: {why}")


def _show_calibration(found: Calibration, stretch: int) -> None:
    if not found.trials:
        click.echo(
            f"insufficient data: {found.stretches} stretches of {stretch} looks with both arms, "
            f"{STRETCHES_MIN} are needed"
        )
        return
    for trial in found.trials:
        percent = trial.tolerance_ppm / 10_000
        click.echo(
            f"tolerance {percent:.1f} %: {trial.held} of {found.stretches} stretches held, upper "
            f"95 % bound {trial.bound_ppm / 10_000:.1f} %"
        )
    if found.tolerance_ppm is None:
        click.echo("no tolerance does: look at what makes the two arms differ")
        return
    click.echo(f"write under [canary]:  p95_tolerance_ppm = {found.tolerance_ppm}")
