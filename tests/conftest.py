"""What holds for every test: no settings from outside, named skips, and a limit on quick tests.

`@pytest.mark.external("promtool")` skips a test where the program is missing; the closing summary
says so. With VERISMO_STRICT_TIME=1 a test over 0.25 s without the `slow` mark fails; that is for a
quiet machine, since a busy one makes every test slow.
"""

import gc
import os
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import settings

QUICK_S_MAX = 0.25
REASON = "not installed: "
_FROM_OUTSIDE = ("VERISMO_", "OTEL_", "OPENAI_", "ANTHROPIC_")
ORACLE = Path(sys.prefix) / "oracle"
"""Where scripts/test-tools puts OPA; behind everything else, so that it hides nothing."""
STRICT_TIME = pytest.StashKey[bool]()
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def pytest_configure(config: pytest.Config) -> None:
    """Let nothing of the caller's environment into the tests and the processes they start."""
    config.stash[STRICT_TIME] = os.environ.get("VERISMO_STRICT_TIME") == "1"
    for name in list(os.environ):
        # xdist starts its workers after this hook: they are to find the switch again.
        if name != "VERISMO_STRICT_TIME" and _is_from_outside(name):
            del os.environ[name]
    if ORACLE.is_dir():
        sys.path.append(str(ORACLE))


def _is_from_outside(name: str) -> bool:
    return name.startswith(_FROM_OUTSIDE) or name.lower() in _PROXIES


def missing_programs(item: pytest.Item) -> list[str]:
    """Return the programs that a test needs and that are not on PATH.

    Raises:
        pytest.UsageError: the mark names no program.
    """
    wanted: list[str] = []
    for mark in item.iter_markers("external"):
        if not mark.args:
            raise pytest.UsageError(f"{item.nodeid}: name the program: external('promtool')")
        wanted += mark.args
    return [program for program in wanted if shutil.which(program) is None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a program that this machine lacks."""
    for item in items:
        missing = missing_programs(item)
        if missing:
            item.add_marker(pytest.mark.skip(reason=REASON + ", ".join(missing)))


def pytest_collection_finish() -> None:
    """Keep what was imported and collected out of every later collection of garbage.

    It stays for good, and there are millions of objects to look at otherwise.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Fail a test that takes long without saying so, where that is asked for."""
    report = yield
    too_slow = call.duration > QUICK_S_MAX and item.get_closest_marker("slow") is None
    if item.config.stash[STRICT_TIME] and report.when == "call" and report.passed and too_slow:
        report.outcome = "failed"
        report.longrepr = f"took {call.duration:.2f} s: mark it slow, or make it quicker"
    # xdist sends reports as UTF-8, and what a test logged on purpose may not be that.
    report.sections = [(title, _encodable(text)) for title, text in report.sections]
    return report


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what was not run for want of a program."""
    skipped: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        _, found, programs = reason.partition(REASON)
        if found:
            skipped[programs] = skipped.get(programs, 0) + 1
    for programs, count in sorted(skipped.items()):
        tests = "test" if count == 1 else "tests"
        terminalreporter.write_line(f"not run here: {count} {tests} (needs {programs})")


# No example has a deadline: how fast a machine is says nothing about a property. Continuous
# integration has 15 minutes, so it tries fewer.
settings.register_profile("all", deadline=None)
settings.register_profile("ci", max_examples=40, deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "all")
