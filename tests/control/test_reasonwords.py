"""Every reason code that a rule can give has words, and numbers are spelled with their units."""

import ast
import re
from pathlib import Path

import pytest

import verismo.adapt
import verismo.control
from verismo.control.reasonwords import WORDS, code_of, in_words, spell

CORES = Path(verismo.adapt.__file__).parent
CONTROL = Path(verismo.control.__file__).parent
NOT_REASONS = frozenset(
    {
        # Arms, metrics and fields of windows.
        *("baseline", "candidate", "latency", "first_token", "p95", "p99", "error", "cost"),
        *("score", "spend", "limit", "load", "waits", "counts", "window", "number", "weights"),
        # Controllers, ends of rollouts, what a person set, what an action sets.
        *("canary", "budget", "scaling", "promoted", "freeze", "raise", "static", "none"),
        # Values of metrics.
        *("holds", "windows", "requests", "late", "hours", "replicas", "replicas_wished"),
        # What people tell controllers, roles, and the beginning of `rollout_running`.
        *("start", "stop", "promote", "hold", "rollback", "extend", "resume"),
        *("freeze", "raise", "admin", "operator", "rollout"),
        # Modules and parts of manifests.
        *("name", "metadata", "kind", "spec", "type"),
    }
)
"""Words of the rules that are no reasons; a new word has to be put here or into the table."""
UNITS = ("_ppm", "_milli", "_micros", "_ms", "_ms_max", "_ms_min", "_ppm_max", "_ppm_min", "_max")


def words_of_rules():
    """Return every text of the modules that decide which may be a code, with where it stands."""
    found = {}
    for file in sorted(CORES.glob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        functions = (one.name for one in tree.body if isinstance(one, ast.FunctionDef))
        decides = "decide" in functions
        if not decides and file.name not in ("demand.py", "canaryobservation.py"):
            continue
        for text in texts_of(tree):
            if re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", code_of(text)):
                found.setdefault(code_of(text), file.name)
    return found


def texts_of(tree):
    """Return the constants and the f-strings of a module, each number in them as 1."""
    inside = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inside.update(id(one) for one in ast.walk(node) if one is not node)
            parts = [
                one.value if isinstance(one, ast.Constant) else "1"
                for one in node.values
                if isinstance(one, ast.Constant | ast.FormattedValue)
            ]
            yield "".join(parts)
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and id(node) not in inside:
            yield node.value


def test_every_reason_that_a_rule_can_give_has_words():
    found = words_of_rules()
    unknown = {
        code: file
        for code, file in found.items()
        if code not in WORDS and code not in NOT_REASONS and not code.endswith(UNITS)
    }
    assert not unknown, "give these reasons words in control/reasonwords.py"


def test_no_words_are_kept_for_reasons_that_no_rule_gives():
    files = (*CORES.glob("*.py"), CONTROL / "outside.py", CONTROL / "scrapes.py")
    everything = "\n".join(one.read_text(encoding="utf-8") for one in files)
    unused = [code for code in WORDS if not re.search(rf'["]{code}\b|"{code}[_=]', everything)]
    # These are put together from a name and what happened to it.
    assert set(unused) <= {
        *("cost_severe", "error_severe", "p95_severe"),
        *("number_refused", "window_refused"),
        *(f"rollout_{how}" for how in ("promoted", "rolled_back", "running", "stopped")),
    }


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("evidence_open", "the evidence decides nothing yet"),
        ("hold_3", "HOLD number 3, and no more are allowed"),
        ("cooldown ms=120000", "the cooldown of 120 s is not over"),
        ("recovering admit_ppm=900000", "the route may spend 90 % of its limit again"),
        ("toggles=5", "the route went on and off 5 times within an hour and stays limited"),
        ("gap_open_ms=42500", "42.5 s of the gap since the last action are left"),
        ("wish_above_band=12", "the load asks for 12 replicas"),
        ("history_too_short hours=3 min=72", "3 hours of history, 72 are needed"),
        ("insufficient_data", "there are not enough data"),
        (
            "candidate_lost_windows=2",
            "2 windows have no data of the candidate, or pages came late, and are not made up for: "
            "find out why it began anew or could not be read",
        ),
        (
            "too_few_requests requests=253 least=1500",
            "the candidate got 253 requests and needs 1,500",
        ),
        (
            "too_few_windows windows=6 least=8",
            "6 windows could be judged and 8 have to be: a window with few requests is merged with "
            "the next, so make windows longer",
        ),
        (
            "window_refused: candidate: it ends before it starts",
            "a window cannot be counted: candidate: it ends before it starts",
        ),
        ("w600_over", "the last ten minutes were above ten times the limit"),
    ],
)
def test_reason_is_said_in_words_with_its_numbers(reason, words):
    assert in_words(reason) == words


@pytest.mark.parametrize("reason", ["", "made_up", "Made up", "cooldown", "hold", "made_up=3"])
def test_what_is_unknown_is_shown_as_it_is(reason):
    assert in_words(reason) == reason


def test_braces_in_a_text_are_no_placeholders():
    said = in_words("invariant_broken: {value} {0.__class__}")
    assert said.endswith("attestation: {value} {0.__class__}")


@pytest.mark.parametrize(
    ("name", "number", "words"),
    [
        ("effect_ppm", 118_000, "11.8 %"),
        ("effect_ppm", -50_001, "-5.0001 %"),
        ("limit_usd_micros", 1_250_000, "$1.25"),
        ("limit_usd_micros", 2_000_000_000, "$2,000.00"),
        ("w60_usd_micros", 1, "$0.000001"),
        ("bake_ms", 1_500, "1.5 s"),
        ("load_milli", 12_340, "12.34"),
        ("requests", 12_345, "12,345"),
    ],
)
def test_number_is_spelled_exactly_with_its_unit(name, number, words):
    assert spell(name, number) == words
