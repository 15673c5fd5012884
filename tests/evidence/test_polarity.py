"""Negation, opposites and quantifiers."""

import pytest

from verismo.evidence.polarity import contradiction, is_refusal, misquantity, readings
from verismo.evidence.words import tokens


def contradicts(claim: str, *source: str) -> bool:
    return bool(contradiction(tokens(claim), [tokens(sentence) for sentence in source]))


def signs(sentence: str) -> dict[str, int]:
    return {reading.text.lower(): reading.sign for reading in readings(tokens(sentence))}


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("the record is stored", {"record": 1, "stored": 1}),
        ("the record is not stored", {"record": 1, "stored": -1}),
        ("no record is stored", {"record": -1, "stored": -1}),
        ("the record is stored nowhere", {"record": -1, "stored": -1}),
        ("the record never leaves unsigned", {"record": 1, "leaves": -1, "unsigned": 1}),
        ("it is not stored, but it is sent", {"stored": -1, "sent": 1}),
        ("records without a proof", {"records": 1, "proof": -1}),
        ("it is neither read nor kept", {"read": -1, "kept": -1}),
        ("no prompt, no answer and no salt", {"prompt": -1, "answer": -1, "salt": -1}),
        ("no more than five rows", {"more": 1, "rows": 1}),
        ("not only rows", {"rows": 1}),
        ("every file but the manifest", {"file": 1, "manifest": -1}),
        ("the proof instead of the answer", {"proof": 1}),
        ("it doesn't wait", {"wait": -1}),
    ],
)
def test_negations_cover_what_they_deny(sentence: str, expected: dict[str, int]) -> None:
    found = signs(sentence)
    assert {word: found[word] for word in expected} == expected


@pytest.mark.parametrize(
    ("claim", "source"),
    [
        ("The salt is stored.", "The salt is not stored."),
        ("The salt is not stored.", "The salt is stored."),
        ("The salt is stored.", "The salt is stored nowhere."),
        ("Answers wait for a witness.", "Answers never wait for a witness."),
        ("Answers do not wait for a witness.", "Answers wait for a witness."),
        ("Every answer is unsigned.", "Every answer is signed."),
        ("The signed answer leaves.", "The unsigned answer leaves."),
        ("A wrong key is accepted.", "A wrong key is refused."),
        ("Readers keep unknown leaves.", "Readers drop unknown leaves."),
        ("The list includes the manifest.", "The list excludes the manifest."),
        ("Files, including the manifest, are listed.", "Files except the manifest are listed."),
        ("Anybody can undo the lock.", "Nobody can undo the lock."),
        ("The bucket is public.", "The bucket is private."),
        ("It works with a key.", "It works without a key."),
        ("Clients parse comments.", "Clients skip comments."),
    ],
)
def test_a_claim_that_says_the_contrary_is_told(claim: str, source: str) -> None:
    assert contradicts(claim, source)


@pytest.mark.parametrize(
    ("claim", "source"),
    [
        ("The salt is stored nowhere.", "The salt is not stored."),
        ("The salt isn't kept.", "The salt is never stored."),
        ("Nothing leaves unsigned.", "What leaves is signed."),
        ("No content is kept in records.", "Records hold hashes, never content."),
        ("Unknown keys are refused.", "A key that is not known is not accepted."),
        ("Events hold no prompt.", "Events hold no prompt, no answer and no salt."),
        ("The gateway signs each answer.", "Each answer is signed; none is lost."),
        ("It stores not only keys, but names as well.", "It stores keys and names."),
        ("Such a witness adds nothing.", "Such a witness adds nothing to the signature."),
        ("The disk is full.", "Rain is wet."),
    ],
)
def test_a_claim_that_says_the_same_is_not(claim: str, source: str) -> None:
    assert not contradicts(claim, source)


def test_a_denial_elsewhere_in_the_source_does_no_harm() -> None:
    source = ("The salt is not stored.", "The hash is stored.", "Answers are stored.")
    assert not contradicts("The hash is stored.", *source)


@pytest.mark.parametrize(
    ("claim", "source", "expected"),
    [
        ("All clients verify.", "Some clients verify.", True),
        ("All clients verify.", "All clients verify, and some clients complain.", False),
        ("Some clients verify.", "All clients verify.", False),
        ("Every client verifies.", "Most clients verify.", True),
        ("All clients verify.", "Clients verify.", False),
        ("The salt is kept everywhere.", "The salt is kept nowhere.", True),
        ("The salt is not kept everywhere.", "The salt is kept nowhere.", False),
        ("Everybody reads it.", "Nobody writes it, and everybody reads it.", False),
        ("It comes at most once.", "It comes at least once.", True),
        ("It comes at least once.", "It comes at least once, and at most once an hour.", False),
    ],
)
def test_all_is_more_than_some(claim: str, source: str, expected: bool) -> None:
    assert bool(misquantity(tokens(claim), [tokens(source)])) is expected


def test_refusing_is_refusal_and_a_limit_is_not() -> None:
    assert is_refusal(tokens("Larger graphs are refused."))
    assert is_refusal(tokens("Larger graphs are not accepted."))
    assert not is_refusal(tokens("A graph has no more than 5 nodes."))


@pytest.mark.parametrize(
    ("claim", "source"),
    [
        # A denial of something else beside it hides nothing.
        ("If it cannot be reached, the work breaks.", "What is away never breaks the work."),
        # Neither does a word that is denied with the claim and stands in the source as it is.
        ("None of the witnesses has to be outside.", "At least one witness has to be outside."),
    ],
)
def test_a_denial_beside_another_one_is_found(claim: str, source: str) -> None:
    assert contradicts(claim, source)


@pytest.mark.parametrize(
    ("claim", "source"),
    [
        ("Creating a fresh key is discouraged.", "Do not make a new key."),
        ("A valid salt is not refused.", "A valid salt is accepted."),
        ("If it cannot be reached, the work goes on.", "What is away never breaks the work."),
    ],
)
def test_a_denial_in_other_words_is_no_contradiction(claim: str, source: str) -> None:
    assert not contradicts(claim, source)
