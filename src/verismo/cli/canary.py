"""`verismo canary`: rollouts of candidate deployments, and comparisons of two gateways."""

import click

from verismo.cli.canaryacts import extend, hold, promote, rollback, start, status, stop
from verismo.cli.canarycompare import compare
from verismo.cli.canaryfiles import (
    calibrate_files,
    export_rollout,
    replay_file,
    simulate_day,
)
from verismo.cli.canaryplans import plan_rollout
from verismo.cli.cards import card


@click.group()
def canary() -> None:
    """Roll candidates out, override, plan, compare and replay."""


for command in (
    *(start, stop, promote, hold, rollback, extend, status),
    *(plan_rollout, compare, card, export_rollout, calibrate_files, replay_file, simulate_day),
):
    canary.add_command(command)
