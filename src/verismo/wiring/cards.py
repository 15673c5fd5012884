"""Composes the cards: which decisions become one, and the webhook that takes them."""

from collections.abc import Callable

from verismo.adapters.slack_webhook import SlackCards, SlackWebhook, WebhookSettings, post_patiently
from verismo.adapters.telemetry_cards import card_lines
from verismo.config.schema import Secret, Slack
from verismo.config.slack import is_webhook
from verismo.control.cards import CardDesk
from verismo.control.overrides import override_command
from verismo.control.recorder import Recorded
from verismo.model.errors import OperatorError


class Cards:
    """Cards of one control process; close it.

    Args:
        slack: where they are posted; it has a webhook.
        webhook: its address.
    """

    def __init__(self, slack: Slack, webhook: Secret) -> None:
        settings = WebhookSettings(webhook.reveal(), slack.timeout_ms / 1_000)
        self._sink = SlackCards(SlackWebhook(settings))
        self._desk = CardDesk(self._sink, slack.controllers, override_command)

    def told(self, recorded: Recorded) -> None:
        """Be told of a decision; it returns at once and never fails."""
        self._desk.told(recorded.decision, recorded.act)

    def lines(self) -> list[str]:
        """Return how cards went, as metrics."""
        figures = self._sink.figures
        return card_lines(figures.sent, figures.lost, figures.waiting)

    def close(self) -> None:
        """End; cards that wait are lost."""
        self._sink.close()


def open_webhook(url: str, timeout_s: float) -> SlackWebhook:
    """Return a webhook for one card from the command line; close it.

    Args:
        url: its address, a secret.
        timeout_s: for each step of an exchange.

    Raises:
        OperatorError: that is no address of a webhook.
    """
    if not is_webhook(url):
        raise OperatorError(
            "the webhook's address must be https:// with a host and no space",
            next_step="Copy it from the app's page at Slack into the variable or the file.",
        )
    return SlackWebhook(WebhookSettings(url, timeout_s))


def post_card(webhook: SlackWebhook, card: bytes, pause: Callable[[float], bool]) -> None:
    """Post one card, with a few tries.

    Args:
        webhook: from `open_webhook`.
        card: the body.
        pause: waits for so many seconds; True says that waiting has no more sense.

    Raises:
        CardUndelivered: Slack did not take it.
    """
    post_patiently(webhook, card, pause)
