"""The gold is what its script makes of its claims."""

from collections import Counter

from scripts.grounding_gold import TARGET, gold

from verismo.evidence.groundinggold import read_gold


def test_the_file_is_what_the_script_makes() -> None:
    assert TARGET.read_bytes() == gold(), "run: make grounding-gold"


def test_there_are_enough_claims_of_each_kind_in_each_part() -> None:
    claims = read_gold(TARGET.read_bytes())
    counts = Counter((claim.half, claim.label) for claim in claims)
    assert len(claims) >= 300
    assert min(counts.values()) >= 20
    assert len(counts) == 18


def test_a_claim_and_its_alterations_are_in_one_part() -> None:
    parts: dict[str, set[str]] = {}
    for claim in read_gold(TARGET.read_bytes()):
        base = (
            claim.id if claim.label in ("supported", "off_topic") else claim.id.rpartition("-")[0]
        )
        parts.setdefault(base, set()).add(claim.half)
    assert all(len(found) <= 1 for found in parts.values())
