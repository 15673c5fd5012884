"""The cards' metrics as OpenMetrics lines. `docs/metrics.md` lists every name."""

from verismo.adapters.telemetry_text import counter_family, gauge_family


def card_lines(sent: int, lost: int, waiting: int) -> list[str]:
    """Return the lines of every family.

    Args:
        sent: cards that Slack took.
        lost: cards that were refused, given up or dropped.
        waiting: cards that are still to be sent.
    """
    return [
        *counter_family(
            "verismo_cards",
            "Cards of decisions, by what became of them: sent, or lost.",
            ("result",),
            {("sent",): sent, ("lost",): lost},
        ),
        *gauge_family(
            "verismo_cards_waiting",
            "Cards of decisions that are still to be sent.",
            (),
            {(): waiting},
        ),
    ]
