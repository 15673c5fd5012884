"""The key ring's metric as OpenMetrics lines. `docs/metrics.md` lists it."""

from collections.abc import Mapping

from verismo.adapters.telemetry_text import gauge_family
from verismo.attest.keys import Role


def key_lines(ends_ms: Mapping[Role, int]) -> list[str]:
    """Return the lines of the family.

    Args:
        ends_ms: Unix ms when the last published key of each role ends; without roles whose key
            has no end, empty if it cannot be told.
    """
    return gauge_family(
        "verismo_key_ends_timestamp_seconds",
        "When the last published key of a role ends, Unix time; absent for one without an end.",
        ("role",),
        {(role,): end_ms / 1_000 for role, end_ms in ends_ms.items()},
    )
