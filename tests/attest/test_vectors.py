"""Our vectors: made again byte for byte, and every one judged as it says."""

from collections import Counter
from pathlib import Path

import forge
import generate
import pytest

from verismo.attest.verify import CHECK_NAMES
from verismo.cli.vectors import differs, read_vectors, run_vector

FOLDER = Path(generate.__file__).parent
VECTORS = read_vectors(FOLDER)


@pytest.mark.slow
def test_generating_again_gives_the_same_bytes():
    made = generate.files()
    there = {path.name: path.read_bytes() for path in FOLDER.glob("*.json")}
    assert sorted(made) == sorted(there)
    assert [name for name in made if made[name] != there[name]] == []


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_verdict_is_the_expected_one(vector):
    report = run_vector(vector)
    assert not differs(vector, report), report


def test_there_are_enough_of_each_verdict():
    counts = Counter(vector.verdict for vector in VECTORS)
    assert sum(counts.values()) >= 150
    assert counts["VERIFIED"] >= 25
    assert counts["VERIFIED_PREFIX"] >= 10
    assert counts["UNSIGNED"] >= 3


def test_every_check_is_failed_by_some_vector():
    failed = {number for vector in VECTORS for number in vector.fails}
    assert failed == set(CHECK_NAMES)


def test_no_private_key_is_in_the_files():
    keys = [forge.TOKEN, forge.OTHER, forge.Key("token EdDSA", alg="EdDSA")]
    text = b"".join(path.read_bytes() for path in FOLDER.glob("*.json"))
    for key in keys:
        assert key.seed.hex().encode() not in text
        assert forge.item(key.seed)[1:-2].encode() not in text
        assert forge.base64url.encode(key.seed).encode() not in text
