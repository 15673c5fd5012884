"""The shape of `[slack]` in verismo.toml."""

from typing import Annotated

import msgspec

from verismo.config.siemtable import VariableName
from verismo.model.decision import Controller


class SlackTable(msgspec.Struct, frozen=True):
    """Cards of decisions to a Slack channel, by an incoming webhook.

    Args:
        webhook_url_env: name of the environment variable that holds the webhook's address. The
            address is a secret: whoever has it can post.
        webhook_url_file: file that holds it instead (mode 0600 or 0400).
        timeout_ms: for each step with Slack.
        controllers: whose decisions become cards; replicas change too often to be news.
    """

    webhook_url_env: VariableName = ""
    webhook_url_file: str = ""
    timeout_ms: Annotated[int, msgspec.Meta(ge=100, le=60_000)] = 5_000
    controllers: tuple[Controller, ...] = ("canary", "budget")
