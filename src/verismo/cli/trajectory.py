"""`verismo trajectory`: record the shape of a run, and compare later runs with it."""

from pathlib import Path

import click
import msgspec

from verismo.attest.provenance import GraphRefused, read_graph
from verismo.cli.options import Command, config_option, json_option, printable
from verismo.cli.provsource import folder, gateway, read_saved
from verismo.config.load import load_config
from verismo.config.writing import write_whole
from verismo.evidence.trajectory import (
    Golden,
    Hop,
    TrajectoryRefused,
    read_golden,
    trajectory,
    write_golden,
)
from verismo.evidence.trajectorydiff import Difference, Line, compare, spell
from verismo.model.errors import OperatorError
from verismo.model.ids import is_prov_id

DIFFERS_EXIT = 1


class Asked(msgspec.Struct, frozen=True):
    """Where graphs are found; see `--help`."""

    config: Path
    data: Path | None
    url: str | None
    key: str | None


class Compared(msgspec.Struct, frozen=True):
    """What `check --json` prints for each graph.

    Args:
        graph: as it was named.
        matches: whether nothing differs.
        changes: the lines that differ.
    """

    graph: str
    matches: bool
    changes: tuple[Line, ...]


@click.group("trajectory")
def trajectory_group() -> None:
    """Record the shape of a run and compare others with it."""


def place_options(command: Command) -> Command:
    """Add the options that say where a prov_id is looked up."""
    for option in (
        click.option(
            "--key",
            metavar="vk_...",
            envvar="VERISMO_API_KEY",
            show_envvar=True,
            help="With --url.",
        ),
        click.option("--url", help="A gateway: ask it for the graph; needs --key."),
        click.option("--data", type=click.Path(path_type=Path), help="A gateway's data folder."),
    ):
        command = option(command)
    return config_option(command)


@trajectory_group.command()
@click.argument("graph")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The golden file to write."
)
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@place_options
def record(graph: str, out: Path, *, force: bool, **given: object) -> None:
    """Write the shape of a run as a golden file, to be loosened by hand.

    GRAPH is a prov_id or a file: a record as /v1/prov/ serves it, a saved exchange, PROV-JSON or
    the graph alone. A prov_id is looked up in the data folder of the configuration, or in --data or
    --url.
    """
    if out.exists() and not force:
        raise OperatorError(
            f"{out} is there already",
            next_step="What was loosened by hand would be lost: write elsewhere, or add --force.",
        )
    hops = _shape_of(graph, _asked(given))
    write_whole(out, write_golden(hops, f"Trajectory of {Path(graph).name}").encode("utf-8"))
    click.echo(f"wrote {out}: {sum(hop.size for hop in hops)} hops")


@trajectory_group.command()
@click.argument("golden", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("graphs", nargs=-1, required=True, metavar="GRAPH...")
@place_options
@json_option
def check(golden: Path, graphs: tuple[str, ...], *, as_json: bool, **given: object) -> None:
    """Compare runs with a golden file and show what differs.

    GRAPH is as in `verismo trajectory record`. Marks: - missing, + not expected, ~ another name,
    > in another place.

    Exit codes: 0 all match, 1 one differs, 2 wrong usage.
    """
    expected = _golden(golden)
    asked = _asked(given)
    found = [(graph, compare(expected, _shape_of(graph, asked))) for graph in graphs]
    if as_json:
        rows = [
            Compared(graph, one.matches, tuple(line for line in one.lines if line.change != "same"))
            for graph, one in found
        ]
        click.echo(msgspec.json.encode(rows))
    else:
        for graph, one in found:
            text = f"{graph}: matches {golden}" if one.matches else _differing(graph, golden, one)
            click.echo("\n".join(printable(line) for line in text.split("\n")))
    if not all(one.matches for _, one in found):
        raise click.exceptions.Exit(DIFFERS_EXIT)


def _differing(graph: str, golden: Path, difference: Difference) -> str:
    changes = sum(line.change != "same" for line in difference.lines)
    head = f"{graph}: differs from {golden} in {changes} {'hop' if changes == 1 else 'hops'}"
    return f"{head}\n{spell(difference)}"


def _golden(path: Path) -> Golden:
    try:
        return read_golden(path.read_text(encoding="utf-8"))
    except (TrajectoryRefused, UnicodeDecodeError) as error:
        raise OperatorError(
            f"{path}: {error}", next_step="docs/trajectories.md has every key of a golden file."
        ) from error


def _asked(given: dict[str, object]) -> Asked:
    asked = msgspec.convert(given, Asked)
    if asked.url is not None and asked.data is not None:
        raise click.UsageError("give one of --data and --url")
    if asked.url is not None and not asked.key:
        raise click.UsageError("--url needs --key, or VERISMO_API_KEY")
    return asked


def _shape_of(name: str, asked: Asked) -> tuple[Hop, ...]:
    """Return the trajectory of a graph that is named by a prov_id or lies in a file."""
    if not is_prov_id(name):
        if not Path(name).is_file():
            raise OperatorError(
                f"{name} is neither a prov_id nor a file", next_step="Name one of both."
            )
        return _shape(read_saved(Path(name)).graph, name)
    if asked.url is not None:
        opened = gateway(asked.url, asked.key or "")
    else:
        opened = folder(asked.data if asked.data is not None else load_config(asked.config).data)
    with opened as place:
        signed = place.find(name)
    if signed is None:
        raise OperatorError(
            f"{place.name} has no answer {name}",
            next_step="Check the identifier; records of other tenants are not shown.",
        )
    return _shape(signed.graph, name)


def _shape(graph: bytes, name: str) -> tuple[Hop, ...]:
    try:
        return trajectory(read_graph(graph)[0])
    except (GraphRefused, TrajectoryRefused) as error:
        raise OperatorError(
            f"the graph of {name} cannot be read: {error}", next_step="`verismo verify` says more."
        ) from error
