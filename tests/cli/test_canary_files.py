"""Rollouts in files are replayed, calibrated from and simulated; what is simulated is named so."""

import csv
import gzip
import random

import msgspec
import pytest

from verismo.adapt.canaryfile import CanaryFile
from verismo.simulate.releaseday import CLIENT, CONVERSATIONS, MODEL, RATES


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    """Traces in the shape of the public ones, drawn anew."""
    folder, chance = tmp_path_factory.mktemp("traces"), random.Random(1)
    write(
        folder / CONVERSATIONS,
        ("TIMESTAMP", "ContextTokens", "GeneratedTokens"),
        [(0, chance.randrange(50, 2_000), chance.randrange(5, 400)) for _ in range(2_000)],
    )
    rates = [(MODEL, CLIENT, at * 600, 8.0) for at in range(144)]
    write(folder / RATES, ("model", "client", "t_s", "rate_rps"), rates)
    return folder


def write(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8", newline="") as lines:
        csv.writer(lines).writerows([header, *rows])


@pytest.fixture
def day(verismo, traces, tmp_path):
    def simulate(name="day.json", **options):
        out = tmp_path / name
        words = [word for key, value in options.items() for word in (f"--{key}", value)]
        found = verismo("canary", "simulate-day", "--traces", traces, "--out", out, *words)
        assert found.code == 0
        assert found.out.startswith("SIMULATED")
        return out

    return simulate


@pytest.mark.slow
def test_a_simulated_day_says_so_in_the_file_and_gives_the_same_verdicts_again(verismo, day):
    file = day(slower=1.4)
    read = msgspec.json.decode(file.read_bytes(), type=CanaryFile)
    assert read.origin == "simulated"
    assert "SIMULATED" in read.note
    assert read.verdict == "ROLLBACK"
    found = verismo("canary", "replay", file)
    assert found.code == 0
    assert found.out.startswith("SIMULATED")
    assert "come out the same, byte for byte" in found.out
    report = msgspec.json.decode(verismo("canary", "replay", file, "--json").out)
    assert report["origin"] == "simulated"
    assert (report["differing"], report["concluded"]) == ([], True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("decisions", 3, "verdict"), "PROMOTE"),
        (("decisions", 3, "observation", "candidate", "errors"), 9),
        (("decisions", 3, "digest"), "0" * 64),
        (("score", "threshold_ppm"), 1),
        (("verdict",), "PROMOTE"),
        (("started_ms",), 0),
    ],
)
def test_an_altered_file_is_told_from_the_true_one(verismo, day, path, value):
    file = day(slower=2.5)
    text = msgspec.json.decode(file.read_bytes())
    *above, last = path
    place = text
    for step in above:
        place = place[step]
    assert place[last] != value
    place[last] = value
    file.write_bytes(msgspec.json.encode(text))
    assert verismo("canary", "replay", file).code == 1


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"\xff\xfe",
        b'{"v": 1}',
        b"[" * 100_000,
        b'{"v":NaN}',
    ],
)
def test_what_is_no_file_of_a_rollout_is_refused(verismo, tmp_path, text):
    file = tmp_path / "bad.json"
    file.write_bytes(text)
    for command in ("replay", "calibrate"):
        found = verismo("canary", command, file)
        assert found.code == 2
        assert "is no file of a rollout" in found.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value", "told"),
    [("v", 2, "format 2"), ("alpha_hold_ppm", -1, "alpha_hold_ppm"), ("holds_max", 2**60, "")],
)
def test_a_file_of_another_format_or_with_wrong_settings_is_refused(
    verismo, day, name, value, told
):
    file = day(slower=2.5)
    text = msgspec.json.decode(file.read_bytes())
    (text if name in text else text["score"])[name] = value
    file.write_bytes(msgspec.json.encode(text))
    found = verismo("canary", "replay", file)
    assert found.code == 2
    assert told in found.err


@pytest.mark.slow
def test_calibration_finds_the_tolerance_that_equal_arms_ask_for(verismo, day):
    files = [day(f"{seed}.json", seed=seed) for seed in range(1, 4)]
    found = verismo("canary", "calibrate", *files, "--stretch", 10)
    assert found.code == 0
    assert "SIMULATED" in found.out
    assert "p95_tolerance_ppm = " in found.out


@pytest.mark.slow
def test_calibration_from_too_few_windows_says_so(verismo, day):
    found = verismo("canary", "calibrate", day())
    assert found.code == 1
    assert "insufficient data" in found.out


def test_traces_that_are_not_there_are_asked_for(verismo, tmp_path):
    out = tmp_path / "x.json"
    found = verismo("canary", "simulate-day", "--traces", tmp_path, "--out", out)
    assert found.code == 2
    assert "has not the traces" in found.err
    assert not out.exists()
