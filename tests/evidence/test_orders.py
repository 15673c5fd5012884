"""Before and after."""

import pytest

from verismo.evidence.orders import misorder
from verismo.evidence.words import tokens


@pytest.mark.parametrize(
    ("claim", "source", "expected"),
    [
        ("It is signed before it is sent.", "It is signed before it is sent.", False),
        ("It is signed after it is sent.", "It is signed before it is sent.", True),
        ("It is sent after it is signed.", "It is signed before it is sent.", False),
        ("It is sent before it is signed.", "It is signed before it is sent.", True),
        ("It is read before noon.", "It is signed after it is sent.", False),
        ("It is signed.", "It is signed before it is sent.", False),
    ],
)
def test_before_and_after_are_compared_with_what_they_relate(
    claim: str, source: str, expected: bool
) -> None:
    assert bool(misorder(tokens(claim), [tokens(source)])) is expected
