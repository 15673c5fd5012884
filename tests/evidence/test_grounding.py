"""Grounding: each rule by hand-made cases, and what must hold for every claim."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from verismo.evidence.grounding import Claim, Grade, check_answer
from verismo.model.errors import OperatorError, VerismoError

SOURCE = (
    "The gateway draws a salt of 32 octets for each answer. The salt is not stored by the gateway. "
    "It signs every answer with Ed25519 before it sends the answer. "
    "At least two witnesses cosign a checkpoint each hour."
)


def only(answer: str, *sources: str) -> Claim:
    (claim,) = check_answer(answer, sources or (SOURCE,)).claims
    return claim


def kinds(answer: str, *sources: str) -> list[str]:
    return [reason.kind for reason in only(answer, *sources).reasons]


@pytest.mark.parametrize(
    "claim",
    [
        "For each answer a salt of 32 octets is drawn.",
        "A salt of thirty-two bytes is drawn by the gateway.",
        "The gateway never stores the salt.",
        "The salt is stored nowhere.",
        "Every answer is signed with Ed25519.",
        "The answer is signed before it is sent.",
        "The answer is sent after it is signed.",
        "Two or more witnesses cosign a checkpoint each hour.",
    ],
)
def test_an_honest_paraphrase_is_supported(claim: str) -> None:
    found = only(claim)
    assert (found.verdict, found.source, found.reasons) == ("supported", 0, ())


@pytest.mark.parametrize(
    ("claim", "kind"),
    [
        ("For each answer a salt of 64 octets is drawn.", "number"),
        ("A salt of 32 kB is drawn by the gateway.", "number"),
        ("The gateway stores the salt.", "negation"),
        ("The salt is stored by the gateway.", "negation"),
        ("The gateway does not sign every answer with Ed25519.", "negation"),
        ("Every answer is signed with ES256.", "name"),
        ("It signs every answer after it sends the answer.", "order"),
        ("At most two witnesses cosign a checkpoint each hour.", "bound"),
        ("At least two witnesses cosign a checkpoint each day.", "unit"),
        ("Bananas grow in Ecuador.", "off_topic"),
    ],
)
def test_an_altered_claim_is_not_and_the_reason_is_named(claim: str, kind: str) -> None:
    found = only(claim)
    assert found.verdict == "unsupported"
    assert kind in [reason.kind for reason in found.reasons]
    assert all(reason.detail for reason in found.reasons)


def test_all_is_not_supported_by_some() -> None:
    assert kinds("All clients verify answers.", "Some clients verify answers.") == ["quantifier"]


def test_questions_and_empty_phrases_claim_nothing() -> None:
    found = check_answer("Of course. What is a salt of 32 octets? Yes!", [SOURCE])
    assert {claim.verdict for claim in found.claims} == {"no_claim"}
    assert (found.checked, found.ratio_ppm) == (0, None)


def test_an_answer_is_counted_by_its_sentences() -> None:
    found = check_answer("The salt has 32 octets. The salt has 33 octets. Really?", [SOURCE])
    assert (found.supported, found.checked, found.ratio_ppm) == (1, 2, 500_000)


def test_the_source_that_supports_is_named() -> None:
    assert only("The salt has 32 octets.", "Bread is baked.", SOURCE).source == 1


def test_without_sources_nothing_is_supported() -> None:
    (claim,) = check_answer("The salt has 32 octets.", []).claims
    assert (claim.verdict, claim.source) == ("unsupported", None)


def test_a_sentence_that_cites_is_held_against_what_it_cites() -> None:
    answer = "The salt has 32 octets. [2] The salt has 32 octets [1]."
    first, second = check_answer(answer, [SOURCE, "Bread is baked."]).claims
    assert (first.cited, first.verdict) == ((1,), "unsupported")
    assert (second.cited, second.verdict, second.text) == (
        (0,),
        "supported",
        "The salt has 32 octets.",
    )


def test_a_citation_of_a_source_that_is_not_there_is_not_supported() -> None:
    assert kinds("The salt has 32 octets [3].") == ["citation"]
    assert kinds("The salt has 32 octets [0].") == ["citation"]


def test_a_neighbouring_sentence_does_not_blur_a_denial() -> None:
    source = "It shows no name of a client. Which test shows each name, the list says."
    assert kinds("It does show a name of a client.", source) == ["negation"]


def test_a_neighbouring_sentence_may_bring_a_number() -> None:
    source = "The gateway draws a salt for each answer. It has 32 octets."
    assert kinds("For each answer the gateway draws a salt of 32 octets.", source) == []


def test_a_noun_in_the_place_of_another_one_is_named() -> None:
    source = "A witness cosigns a checkpoint only with the keys of its host."
    assert kinds("A client cosigns a checkpoint only with the keys of its host.", source) == [
        "name"
    ]


PLACES = (
    "Marie Curie found polonium and radium.",
    "The profiles are kept in PostgreSQL, the sessions in Valkey.",
    "The main data centre is in Lisbon, its copy in Dublin.",
)


@pytest.mark.parametrize(
    "claim",
    [
        "Einstein found polonium and radium.",
        "Redis keeps the profiles.",
        "Oslo hosts the main data centre.",
    ],
)
def test_a_name_at_the_head_that_stands_nowhere_there_is_named(claim: str) -> None:
    found = only(claim, *PLACES)
    assert found.verdict == "unsupported"
    name = claim.split()[0]
    assert f"name {name!r} is not in the source" in [reason.detail for reason in found.reasons]


@pytest.mark.parametrize(
    "claim",
    [
        "Curie found polonium and radium.",
        "PostgreSQL keeps the profiles.",
        "Lisbon hosts the main data centre.",
        "Profiles are kept in PostgreSQL.",
        "Users have their profiles in PostgreSQL.",
    ],
)
def test_a_name_at_the_head_that_stands_there_is_not(claim: str) -> None:
    assert only(claim, *PLACES).verdict == "supported"


def test_a_name_that_stands_in_the_place_is_no_stray() -> None:
    source = "Safari verifies Ed25519 from version 17 on; Ed25519 needs Firefox of version 129."
    assert kinds("Safari can verify from version 17 on, Firefox from version 129.", source) == []


def test_a_key_of_a_configuration_in_the_place_of_another_is_still_one() -> None:
    source = "Pending before `not_before_ms`, retired from `not_after_ms`."
    assert kinds("A key is pending before `not_after_ms`.", source) == ["name"]


def test_a_number_elsewhere_in_a_long_text_supports_nothing() -> None:
    long = f"{SOURCE} A policy names up to 64 witnesses. Bread needs 64 octets of flour."
    assert kinds("The gateway draws a salt of 64 octets for each answer.", long) == ["number"]


def test_a_table_is_read_with_its_rows() -> None:
    table = (
        "| key | default | meaning |\n|---|---|---|\n"
        "| `connect_ms` | `3000` | until the connection stands |\n"
        "| `total_ms` | `300000` | until the last byte |\n"
    )
    claim = only("A connection has to stand within 3 seconds.", table)
    assert claim.verdict == "supported"
    assert kinds("A connection has to stand within 4 seconds.", table) == ["number"]


class _Asked:
    """A grader that keeps what it was asked."""

    def __init__(self, grade: Grade) -> None:
        self.grade_given = grade
        self.claims: list[tuple[str, str]] = []

    def grade(self, claim: str, source: str) -> Grade:
        self.claims.append((claim, source))
        return self.grade_given


def test_a_grader_is_asked_only_about_what_the_checks_pass() -> None:
    grader = _Asked(Grade(is_supported=True))
    found = check_answer("The salt has 32 octets [1]. The salt has 64 octets.", [SOURCE], grader)
    assert grader.claims == [("The salt has 32 octets.", SOURCE)]
    assert found.supported == 1


def test_a_grader_can_only_take_support_away() -> None:
    grader = _Asked(Grade(is_supported=False, detail="it says otherwise"))
    (claim,) = check_answer("The salt has 32 octets.", [SOURCE], grader).claims
    assert claim.verdict == "unsupported"
    assert [(reason.kind, reason.detail) for reason in claim.reasons] == [
        ("grader", "it says otherwise")
    ]


def test_a_grader_that_cannot_be_asked_gives_no_result() -> None:
    class Broken:
        def grade(self, claim: str, source: str) -> Grade:
            raise OperatorError("away")

    with pytest.raises(VerismoError, match="away"):
        check_answer("The salt has 32 octets.", [SOURCE], Broken())


@pytest.mark.slow
@given(st.integers(2, 10**9), st.integers(2, 10**9))
def test_any_other_number_makes_a_supported_claim_unsupported(one: int, other: int) -> None:
    assume(one != other)
    source = f"The journal keeps {one} records of a tenant."
    assert only(f"The journal keeps {one} records of a tenant.", source).verdict == "supported"
    assert kinds(f"The journal keeps {other:,} records of a tenant.", source) == ["number"]


_SUBJECTS = st.sampled_from(("gateway", "witness", "journal", "client", "ledger"))
_VERBS = st.sampled_from(("store", "sign", "export", "publish", "compare", "delete"))
_OBJECTS = st.sampled_from(("record", "answer", "checkpoint", "salt", "manifest"))


@pytest.mark.slow
@given(_SUBJECTS, _VERBS, _OBJECTS)
def test_a_not_makes_a_supported_claim_unsupported(subject: str, verb: str, thing: str) -> None:
    source = f"The {subject} may {verb} the {thing}."
    assert only(source, source).verdict == "supported"
    assert kinds(f"The {subject} may not {verb} the {thing}.", source) == ["negation"]
    assert kinds(source, f"The {subject} may never {verb} the {thing}.") == ["negation"]


_SOURCES = (
    SOURCE,
    "The salt of a dish has 5 grams.",
    "Witnesses cosign checkpoints of 32 octets in two rows.",
    "Bread is baked from flour.",
)
_CLAIMS = (
    "The salt has 32 octets.",
    "The salt has 5 grams.",
    "Witnesses cosign checkpoints every day.",
    "Bread is not baked.",
)


@pytest.mark.slow
@given(st.permutations(range(len(_SOURCES))), st.sampled_from(_CLAIMS))
def test_the_order_of_the_sources_only_names_them(order: list[int], text: str) -> None:
    straight = only(text, *_SOURCES)
    turned = only(text, *[_SOURCES[index] for index in order])
    assert (turned.verdict, turned.reasons) == (straight.verdict, straight.reasons)
    if turned.source is not None:
        assert order[turned.source] == straight.source


@pytest.mark.slow
@given(st.text(max_size=300), st.lists(st.text(max_size=200), max_size=3))
def test_any_texts_can_be_compared(answer: str, sources: list[str]) -> None:
    found = check_answer(answer, sources)
    assert found.supported <= found.checked <= len(found.claims)
