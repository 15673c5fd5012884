"""`verismo canary card`: the card of a comparison, printed or posted."""

import json

import msgspec
import pytest
from click.testing import CliRunner

from verismo.adapt.canaryfile import CanaryFile, FileLook
from verismo.adapt.canaryobservation import CanaryObservation
from verismo.adapt.canarysettings import CanarySettings
from verismo.cli.cards import card
from verismo.config.environment import secret_of
from verismo.model.decision import Metric, Subject
from verismo.model.errors import OperatorError
from verismo.simulate.slack import Planned, message_fault, running_slack


@pytest.fixture
def decisions(tmp_path):
    metric = Metric("p95", "WORSE", {"effect_ppm": 200_000, "score_ppm": 0})
    seen = CanaryObservation(None, None)
    look = FileLook(1, "HOLD", ("evidence_worse",), 500_000, (metric,), seen, "d" * 64)
    file = tmp_path / "canary-decisions.json"
    found = CanaryFile(
        v=1,
        origin="scraped",
        note="",
        subject=Subject("", "outside", "baseline", "candidate"),
        score=CanarySettings(),
        started_ms=1_790_000_000_000,
        decisions=(look,),
        verdict="HOLD",
        reasons=("evidence_worse",),
    )
    file.write_bytes(msgspec.json.encode(found))
    return file


def run(decisions, *arguments, **environ):
    arguments = ["--decision", str(decisions), *arguments]
    return CliRunner().invoke(card, arguments, env=environ)


def test_card_is_printed_without_a_webhook(decisions):
    result = run(decisions, "--link", "https://ci.example/1")
    assert result.exit_code == 0
    assert message_fault(result.output.encode()) == ""
    assert json.loads(result.output)["text"].startswith("HOLD: outside / candidate")


def test_card_is_posted(decisions):
    with running_slack() as slack:
        result = run(decisions, "--webhook-env", "HOOK", HOOK=slack.url)
        assert (result.exit_code, result.output) == (0, "the card was posted\n")
        assert len(slack.taken) == 1


def test_refused_card_is_told_without_the_address(decisions):
    with running_slack() as slack:
        slack.plan(Planned(410, "channel_is_archived"))
        result = run(decisions, "--webhook-env", "HOOK", HOOK=slack.url)
        assert result.exit_code == 1
        assert "410 channel_is_archived" in result.output
        assert "SIMULATED" not in result.output


@pytest.mark.parametrize("address", ["", "http://hooks.slack.example/SECRET", "hooks"])
def test_address_that_is_none_is_refused_without_being_shown(decisions, address):
    result = run(decisions, "--webhook-env", "HOOK", HOOK=address)
    assert isinstance(result.exception, OperatorError)
    assert "SECRET" not in str(result.exception)


def test_file_without_decisions_is_refused(tmp_path):
    file = tmp_path / "other.json"
    file.write_text("{}")
    assert isinstance(run(file).exception, OperatorError)


def test_secret_of_an_empty_variable_is_none():
    assert secret_of("HOOK", {"HOOK": " "}) is None
    assert secret_of("HOOK", {"HOOK": "x\n"}).reveal() == "x"
