"""`[slack]`: the webhook's address comes from outside, and shows nowhere."""

import json

import pytest

from verismo.config.effective import effective
from verismo.config.slack import is_webhook
from verismo.model.errors import ConfigError

ADDRESS = "https://hooks.slack.example/services/T0/B0/SECRET"
BY_ENV = '[slack]\nwebhook_url_env = "SLACK_WEBHOOK_URL"\n'
BY_FILE = '[slack]\nwebhook_url_file = "slack.url"\n'


def refused(workspace, text, environ, **options):
    workspace.append("verismo.toml", text)
    with pytest.raises(ConfigError) as caught:
        workspace.load(environ, **options)
    return caught.value.detail


def test_no_card_is_sent_unless_it_is_asked_for(workspace):
    assert workspace.load().slack.webhook is None


def test_address_is_read_from_the_environment_and_shown_nowhere(workspace):
    workspace.append("verismo.toml", BY_ENV)
    config = workspace.load({"SLACK_WEBHOOK_URL": f" {ADDRESS}\n"})
    assert config.slack.webhook.reveal() == ADDRESS
    assert config.slack.controllers == ("canary", "budget")
    assert "SECRET" not in json.dumps(effective(config)) + repr(config)


def test_address_is_read_from_a_file_of_its_owner(workspace):
    workspace.append("verismo.toml", BY_FILE)
    file = workspace.root / "slack.url"
    file.write_text(ADDRESS + "\n")
    file.chmod(0o600)
    assert workspace.load().slack.webhook.reveal() == ADDRESS


def test_file_that_others_can_read_is_refused(workspace):
    file = workspace.root / "slack.url"
    file.write_text(ADDRESS)
    file.chmod(0o644)
    assert "chmod 600" in refused(workspace, BY_FILE, {})


def test_missing_address_is_a_warning_until_it_is_needed(workspace):
    workspace.append("verismo.toml", BY_ENV)
    config = workspace.load({})
    assert config.slack.webhook is None
    assert "SLACK_WEBHOOK_URL is not set" in str(config.warnings)
    with pytest.raises(ConfigError, match="SLACK_WEBHOOK_URL is not set"):
        workspace.load({}, require_credentials=True)


def test_two_sources_are_refused(workspace):
    text = BY_ENV + 'webhook_url_file = "slack.url"\n'
    assert "not both" in refused(workspace, text, {"SLACK_WEBHOOK_URL": ADDRESS})


def test_bad_address_is_refused_without_being_shown(workspace):
    address = "http://hooks.slack.example/services/SECRET"
    detail = refused(workspace, BY_ENV, {"SLACK_WEBHOOK_URL": address})
    assert "https://" in detail
    assert "SECRET" not in detail


def test_unknown_controller_is_refused(workspace):
    assert "controllers" in refused(workspace, '[slack]\ncontrollers = ["cache"]\n', {})


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        (ADDRESS, True),
        ("http://127.0.0.1:8000/services/x", True),
        ("http://[::1]:8000/services/x", True),
        ("http://localhost/services/x", True),
        ("http://10.0.0.1/services/x", False),
        ("ftp://127.0.0.1/x", False),
        ("https:///services", False),
        ("https://host:99999/", False),
        ("https://host/a b", False),
        ("https://[host/", False),
        ("", False),
    ],
)
def test_cards_are_posted_by_https_or_within_this_machine(url, taken):
    assert is_webhook(url) is taken
