"""JSON without two readings: a member twice is refused at every depth and in every spelling."""

import pytest

from verismo.attest.onereading import MemberTwice, check_members


@pytest.mark.parametrize(
    "document",
    [
        '{"a":1,"a":1}',
        '{"a":1,"b":2,"a":3}',
        '[{"b":{"a":1,"a":2}}]',
        '{"a":1,"\\u0061":1}',
        '{"":1,"":1}',
    ],
)
def test_member_twice_is_refused(document):
    with pytest.raises(MemberTwice, match="twice"):
        check_members(document.encode())


@pytest.mark.parametrize(
    "document",
    [
        '{"a":1,"A":1}',
        '{"a":{"a":{"a":1}}}',
        '[{"a":1},{"a":1}]',
        '{"\u00e9":1,"e\u0301":1}',
        f'{{"a":{"1" * 5_000},"b":-0.5e9}}',
        "1",
    ],
)
def test_names_that_differ_and_endless_numbers_pass(document):
    check_members(document.encode())


@pytest.mark.parametrize("document", [b"", b"{", b"\xff", b'{"a":"\xff"}', b"[" * 100_000])
def test_what_is_no_json_is_refused_by_the_one_error(document):
    with pytest.raises(MemberTwice):
        check_members(document)
