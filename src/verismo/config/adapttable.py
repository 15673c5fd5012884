"""The shape of `[adapt]` in verismo.toml."""

from typing import Annotated

import msgspec

from verismo.config.source import Source

WINDOWS_S = (1, 2, 5, 10)
"""Lengths of an interval: those that divide the 10 s of a bin of spend."""


class AdaptTable(msgspec.Struct, frozen=True):
    """The controllers: whether they decide, and how long what they decided from is kept.

    Args:
        enabled: count windows, decide and tell the gateways. Off: rollouts stand at their
            baselines, and only what the configuration says limits a tenant.
        window_s: length of the intervals that gateways count in, seconds: 1, 2, 5 or 10. Shorter
            ones let a rollout be judged sooner and cost more space.
        keep_days: how long the observations, states and settings of decisions are kept, days. After
            that `verismo audit` checks the signatures and the order of those decisions, and cannot
            compute them again. The records themselves are kept for ever.
    """

    enabled: bool = True
    window_s: Annotated[int, msgspec.Meta(ge=1, le=10)] = 10
    keep_days: Annotated[int, msgspec.Meta(ge=1, le=3_660)] = 400


def check_adapt(table: AdaptTable, source: Source) -> AdaptTable:
    """Return the table after a look at what its types cannot say."""
    if table.window_s not in WINDOWS_S:
        source.error(("adapt", "window_s"), "must divide 10: 1, 2, 5 or 10 seconds")
    return table
