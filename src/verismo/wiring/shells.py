"""Composes the controllers' shells: one line for each, named as acts name them."""

from collections.abc import Callable

import msgspec

from verismo.config.schema import Config
from verismo.control.budget import BudgetShell, BudgetTerms
from verismo.control.budgetrecords import BudgetRecords
from verismo.control.canary import CanaryShell
from verismo.control.flags import Flags
from verismo.control.looks import Shell
from verismo.control.rollouts import Rollouts
from verismo.control.windowreads import ArmReads, WindowReads
from verismo.model.decision import Controller
from verismo.ports.decisions import DecisionReader
from verismo.wiring.chosen import scaling_shell


class ShellParts(msgspec.Struct, frozen=True):
    """What shells are made with.

    Args:
        config: the validated configuration.
        decisions: what was decided; every shell goes on from there.
        reads: what gateways counted.
        now_ms: returns Unix ms; only for what must not be done late.
    """

    config: Config
    decisions: DecisionReader
    reads: WindowReads
    now_ms: Callable[[], int]


def open_shells(parts: ShellParts) -> dict[Controller, Shell]:
    """Return the controllers that the configuration has, in the order in which they decide.

    Args:
        parts: what they are made with.
    """
    shells: dict[Controller, Shell] = {}
    shells["canary"] = CanaryShell(
        Rollouts(parts.decisions),
        ArmReads(parts.reads),
        lambda: parts.config.plan,
        parts.config.canary.settings,
        parts.config.canary.look_ms,
        Flags(parts.config.canary.flags, parts.decisions),
    )
    shells["budget"] = BudgetShell(
        BudgetRecords(parts.decisions), parts.reads, budget_terms(parts.config)
    )
    scaling = scaling_shell(parts.config, parts.decisions, parts.reads, parts.now_ms)
    if scaling is not None:
        shells["scaling"] = scaling
    return shells


def budget_terms(config: Config) -> BudgetTerms:
    """Return what budgets go by in a configuration."""
    return BudgetTerms(config.plan, config.budgets.cap_share_ppm, config.budgets.caps)
