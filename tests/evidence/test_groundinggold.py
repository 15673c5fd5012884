"""Measuring grounding: rates, bounds and the gate."""

import msgspec
import pytest

from verismo.evidence.groundinggold import (
    GoldClaim,
    GoldRefused,
    Label,
    measure,
    read_gold,
    upper_bound_ppm,
)

SOURCE = "Each answer has a salt of 32 octets. The salt is not stored."


def claim(number: int, label: Label, text: str, half: str = "") -> GoldClaim:
    value = {"id": str(number), "claim": text, "sources": [SOURCE], "label": label, "half": half}
    return msgspec.convert(value, GoldClaim)


GOOD = (
    claim(1, "supported", "The salt of an answer has 32 octets."),
    claim(2, "altered_number", "The salt of an answer has 64 octets."),
    claim(3, "negated", "The salt is stored."),
    claim(4, "off_topic", "Penguins live in the south."),
)


def test_gold_that_is_judged_rightly_holds() -> None:
    report = measure(GOOD)
    assert (report.failures, report.misjudged) == ((), ())
    assert {rate.label: (rate.passed, rate.count) for rate in report.rates} == {
        "supported": (1, 1),
        "altered_number": (0, 1),
        "negated": (0, 1),
        "off_topic": (0, 1),
        "altered": (0, 2),
    }


def test_each_missed_bar_is_named_with_its_half() -> None:
    wrong = (
        claim(1, "supported", "The salt of an answer has 64 octets.", "held_out"),
        claim(2, "altered_name", "The salt of an answer has 32 octets.", "held_out"),
        claim(3, "off_topic", "The salt is not stored.", "held_out"),
    )
    report = measure(wrong)
    assert len(report.failures) == 3
    assert all("held_out" in failure for failure in report.failures)
    assert [one.id for one in report.misjudged] == ["1", "2", "3"]
    assert report.misjudged[0].reasons[0].kind == "number"


def test_gold_without_a_kind_of_claim_shows_nothing_so_it_fails() -> None:
    assert measure(GOOD[:1]).failures == (
        "no claim with the label altered",
        "no claim with the label off_topic",
    )


def test_each_half_has_to_hold_by_itself() -> None:
    good = [msgspec.structs.replace(one, half="development") for one in GOOD]
    bad = claim(9, "supported", "The salt of an answer has 64 octets.", "held_out")
    report = measure([*good, bad])
    assert report.failures
    assert not any("development" in failure for failure in report.failures)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (b"", "no claim"),
        (b"{}", "line 1"),
        (b'{"id":"1","claim":"a","sources":[],"label":"supported"}', "no source"),
        (b'{"id":"1","claim":"a","sources":["b"],"label":"true"}', "line 1"),
        (b'{"id":"1","claim":"a","sources":["b"],"label":"negated","x":1}', "unknown field"),
        (b"\xff", "line 1"),
    ],
)
def test_what_is_no_gold_is_refused_with_its_line(document: bytes, said: str) -> None:
    with pytest.raises(GoldRefused, match=said):
        read_gold(document)


def test_an_id_that_stands_twice_is_refused() -> None:
    line = msgspec.json.encode(GOOD[0])
    with pytest.raises(GoldRefused, match="line 3"):
        read_gold(line + b"\n\n" + line)


@pytest.mark.parametrize(
    ("events", "count", "percent"),
    # As in tables of exact binomial limits; without events it is 1 - 0.05 ** (1 / count).
    [(0, 20, 13.911), (0, 59, 4.950), (1, 20, 21.611), (5, 50, 19.881), (20, 20, 100.0)],
)
def test_upper_bounds_are_those_of_clopper_and_pearson(
    events: int, count: int, percent: float
) -> None:
    assert upper_bound_ppm(events, count) / 10_000 == pytest.approx(percent, abs=0.01)
