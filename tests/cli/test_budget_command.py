"""`verismo budget`: acts that are recorded and told, how routes stand, and the simulation."""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from verismo.adapt.budget import Hand
from verismo.cli.budget import told_of
from verismo.cli.served import served
from verismo.config.load import load_config
from verismo.control.acts import AdaptDesk, DecisionView
from verismo.control.api import ControlDesk, control_app
from verismo.model.decision import Subject
from verismo.model.units import moment_utc
from verismo.wiring.adapt import AdaptLoop
from verismo.wiring.firststart import prepare_data
from verismo.wiring.state import open_state

ROOT = Path(__file__).parents[2]
SHIM = ROOT / "services" / "guard" / "budgets_v2.py"
NOW_MS = 1_790_000_000_000
REASON = ("--reason", "a launch on Friday")
pytestmark = pytest.mark.slow


@contextmanager
def control(config):
    """Run the control API with its loop in a thread of its own; gives the address."""
    began, ending = threading.Event(), threading.Event()
    told = []

    async def work():
        loop = AdaptLoop(config)
        with open_state(config.data) as state:
            desk = ControlDesk(
                admins=state.admins,
                directory=state.directory,
                plan=lambda: config.plan,
                expositions=None,
                unready=list,
                now_ms=lambda: NOW_MS,
                adapt=AdaptDesk(loop.take, loop.decisions, loop.steering),
            )
            async with served(control_app(desk)) as url:
                await loop.round()
                told.append(url)
                began.set()
                await asyncio.to_thread(ending.wait, 60)
        await loop.close()

    thread = threading.Thread(target=asyncio.run, args=(work(),))
    thread.start()
    try:
        assert began.wait(30)
        yield told[0]
    finally:
        ending.set()
        thread.join(30)


@pytest.fixture
def site(initialised, verismo):
    """A folder with a running control API; gives a function that runs budget commands."""
    config = load_config(initialised / "verismo.toml", {})
    prepare_data(config.data, config.keys)
    made = verismo("apikey", "admin", "create", "--name", "ada", "--role", "operator")
    key = next(word for word in made.out.split() if word.startswith("va_"))
    with control(config) as url:

        def run(*words):
            return verismo("budget", *words, "--url", url, "--key", key)

        yield run


def route_of(initialised):
    plan = load_config(initialised / "verismo.toml", {}).plan
    operation = next(
        one.id for one in plan.operations.values() if not one.tenants or "TENANT_001" in one.tenants
    )
    return ("--tenant", "TENANT_001", "--operation", operation)


def test_limits_by_hand_are_recorded_shown_and_ended(site, initialised):
    route = route_of(initialised)
    assert "no route has a budget and was looked at" in site("show").out
    raised = site("raise", *route, "--usd-per-minute", "0.10", "--for", "2h", *REASON)
    assert raised.code == 0, raised.err
    assert "a person set the limit" in raised.out
    shown = json.loads(site("show", "--json").out)
    assert [one["operation"] for one in shown] == [route[3]]
    assert shown[0]["hand"]["action"]["after"] == 100_000
    assert "a person set the limit" in site("show").out
    assert site("static", *route, "--for", "1h", *REASON).code == 0
    assert site("freeze", *route, "--for", "1h", *REASON).code == 0
    resumed = site("resume", *route, *REASON)
    assert resumed.code == 0
    assert "a person ended what was set by hand" in resumed.out


def test_a_mistake_in_the_configuration_keeps_nobody_from_a_limit(site, initialised):
    route = route_of(initialised)
    (initialised / "verismo.toml").write_text("listen = 1\n")
    raised = site("raise", *route, "--usd-per-minute", "0.10", "--for", "2h", *REASON)
    assert (raised.code, "a person set the limit" in raised.out) == (0, True), raised.err
    assert "without the configuration: " in raised.err
    assert site("show").code == 2, "caps are in the configuration"


def test_show_says_until_when_what_was_set_by_hand_holds_by_whom_and_why(site, initialised):
    route = route_of(initialised)
    before_ms = time.time_ns() // 1_000_000
    assert site("raise", *route, "--usd-per-minute", "0.10", "--for", "2h", *REASON).code == 0
    [row] = json.loads(site("show", "--json").out)
    hand = row["hand"]
    assert (hand["person"], hand["why"]) == ("ada", "a launch on Friday")
    held = hand["set_by_hand"]
    assert (held["kind"], held["limit_usd_micros"]) == ("raise", 100_000)
    assert 7_200_000 <= held["expires_ms"] - before_ms < 7_200_000 + 60_000
    shown = site("show").out
    assert "a person set the limit; by ada: a launch on Friday; " in shown
    until = moment_utc(held["expires_ms"])
    assert f"the limit of 0.1 USD a minute holds until {until}" in shown
    assert site("static", *route, "--for", "1h", *REASON).code == 0
    assert "USD a minute alone holds until " in site("show").out
    assert site("resume", *route, "--reason", "the launch is over").code == 0
    shown = site("show").out
    assert "a person ended what was set by hand; by ada: the launch is over" in shown
    assert "holds until" not in shown
    assert json.loads(site("show", "--json").out)[0]["hand"]["set_by_hand"] is None


def view_of(hand, **changed):
    view = DecisionView(
        *(1, 1, "decision", "budget-act", 1, Subject("T", "chat"), "CONTINUE"),
        *("", "", "", 1, None, ("frozen_by_hand",)),
        set_by_hand=hand,
    )
    return msgspec.structs.replace(view, **changed)


def test_what_was_set_by_hand_and_has_ended_is_said_to_be_over():
    view = view_of(Hand("freeze", 2_500_000, NOW_MS))
    assert told_of(view, NOW_MS - 1).endswith(
        "a person froze the limit; the limit frozen at 2.5 USD a minute "
        "holds until 2026-09-21 14:13:20.000Z"
    )
    assert told_of(view, NOW_MS).endswith("is over since 2026-09-21 14:13:20.000Z")


def test_what_was_refused_leaves_what_was_set_before_with_its_end():
    hand = Hand("raise", 100_000, NOW_MS)
    view = view_of(hand, verdict="NOOP", reasons=("refused", "expired"), person="bob", why="more")
    told = told_of(view, NOW_MS - 1)
    assert "refused; it is no longer meant to hold; by bob: more; the limit of 0.1" in told


def test_reason_of_a_person_cannot_steer_the_terminal():
    assert "\x1b" not in told_of(view_of(None, person="eve", why="a \x1b[2J launch"), NOW_MS)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("raise", "--usd-per-minute", "0", "--for", "2h", *REASON), "US dollars above 0"),
        (("raise", "--usd-per-minute", "x", "--for", "2h", *REASON), "is no amount"),
        (("raise", "--usd-per-minute", "1", "--for", "2h", "--reason", "short"), "characters"),
        (("raise", "--usd-per-minute", "1", "--for", "52w", *REASON), "within a week"),
        (("freeze", *REASON), "--for"),
        (("raise", "--for", "2h", *REASON), "--usd-per-minute"),
    ],
)
def test_what_cannot_be_done_is_refused_with_what_would_be(site, initialised, words, told):
    outcome = site(words[0], *route_of(initialised), *words[1:])
    assert outcome.code == 2
    assert told in outcome.err


def test_route_that_does_not_exist_is_refused_with_where_to_look(site):
    outcome = site("resume", "--tenant", "TENANT_9", "--operation", "x", *REASON)
    assert outcome.code == 2
    assert "there is no such route with a budget" in outcome.err
    assert "`verismo budget show`" in outcome.err


def test_a_configuration_of_another_gateway_keeps_nobody_from_a_limit(site, initialised):
    route = route_of(initialised)
    file = initialised / "verismo.toml"
    file.write_text(file.read_text().replace("TENANT_001", "TENANT_ELSEWHERE"))
    raised = site("raise", *route, "--usd-per-minute", "0.10", "--for", "2h", *REASON)
    assert (raised.code, "a person set the limit" in raised.out) == (0, True), raised.err


def test_a_tenant_that_does_not_exist_is_not_taken_for_one_without_traffic(site):
    outcome = site("show", "--tenant", "TENANT_9")
    assert outcome.code == 2
    assert "there is no tenant 'TENANT_9'" in outcome.err


def test_without_a_control_process_the_command_says_so(initialised, verismo):
    outcome = verismo("budget", "show", "--url", "http://127.0.0.1:9", "--key", "va_x")
    assert outcome.code == 2
    assert "no control process answers" in outcome.err


def simulated(verismo, *words, file="r.json"):
    outcome = verismo("budget", "simulate", "--tenant", "TENANT_001", "--report", file, *words)
    assert outcome.code == 0, outcome.err
    return outcome, json.loads(Path(file).read_text())


def test_simulation_without_data_says_that_its_spend_is_made_up(initialised, verismo):
    outcome, told = simulated(verismo)
    assert told["data"]["kind"] == "generated"
    assert "generated spend" in outcome.out
    assert told["window_s"] == 120
    assert {one["multiple"] for one in told["breaches"]} == {2, 5, 20}
    first = Path("r.json").read_bytes()
    simulated(verismo)
    assert Path("r.json").read_bytes() == first, "the same data give the same report"


def trace(path, operation, hours=4, level=1_000):
    rows = [f"{n * 10_000},{operation},{level}" for n in range(hours * 360)]
    path.write_text("start_ms,operation,offered_usd_micros\n" + "\n".join(rows) + "\n")
    return path


def test_trace_is_replayed_with_half_of_it_as_history(initialised, verismo, tmp_path):
    operation = route_of(initialised)[3]
    file = trace(tmp_path / "trace.csv", operation)
    _, told = simulated(verismo, "--trace", file)
    assert told["data"]["kind"] == "trace"
    assert told["data"]["test_start_ms"] == 2 * 3_600_000
    assert [one["operation"] for one in told["routes"]] == [operation]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a,b\n1,2\n", "its first line is not start_ms"),
        ("start_ms,operation,offered_usd_micros\n1,x,-5\n", "no time or amount"),
        ("start_ms,operation,offered_usd_micros\n1,x,many\n", "cannot be read"),
        ("start_ms,operation,offered_usd_micros\n1,x\n", "cannot be read"),
        ("start_ms,operation,offered_usd_micros\n0,nobody,1\n", "less than 2 whole hours"),
    ],
)
def test_trace_that_says_nothing_is_refused(initialised, verismo, tmp_path, text, told):
    file = tmp_path / "trace.csv"
    file.write_text(text)
    outcome = verismo("budget", "simulate", "--tenant", "TENANT_001", "--trace", file)
    assert outcome.code == 2
    assert told in outcome.err


@pytest.mark.parametrize(
    ("tenant", "told"), [("TENANT_9", "there is no tenant"), ("FREE", "has no budget")]
)
def test_tenant_without_a_budget_cannot_be_simulated(initialised, verismo, tenant, told):
    with Path("verismo.toml").open("a") as file:
        file.write('\n[tenants.FREE]\nregion = "us"\npurposes = ["support"]\n')
    outcome = verismo("budget", "simulate", "--tenant", tenant)
    assert outcome.code == 2
    assert told in outcome.err


def test_command_of_the_specification_works_in_an_empty_folder(tmp_path):
    words = ("--simulate", "--tenant", "TENANT_001", "--window", "120", "--report", "out/r.json")
    done = subprocess.run(
        [sys.executable, SHIM, *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONWARNINGS": "default"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert "sample configuration" in done.stderr
    told = json.loads((tmp_path / "out" / "r.json").read_text())
    assert (told["tenant"], told["data"]["kind"]) == ("TENANT_001", "generated")
