"""The page of conformance: what stands in it adds up, and what was not run is said."""

import msgspec
import pytest
from scripts.conformance import PAGE, SECTIONS, VERDICTS, VERIFIERS, Note, page, tables

STATED = tables(PAGE.read_text(encoding="utf-8"))
OURS = [section for section in SECTIONS if not section.others]
VERSIONS = "Python 3.11, Node 24 and Chromium 150"


def notes_of(sections) -> list[Note]:
    """Return notes with a number in each cell."""
    return [
        Note(one.heading, "tests/x.py::test_x", {"row": dict.fromkeys(one.columns, 1_234)})
        for one in sections
    ]


def test_the_page_has_every_table():
    assert list(STATED) == [section.heading for section in SECTIONS]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.heading)
def test_rows_add_up_to_the_last_and_verdicts_to_the_cases(section):
    rows = dict(STATED[section.heading])
    total = rows.pop("all", None)
    for column in section.columns if total else ():
        assert total[column] == sum(cells[column] for cells in rows.values()), column
    for cells in rows.values():
        outcomes = [one for one in cells if one not in VERIFIERS][1:]
        if outcomes:
            assert sum(cells[one] for one in outcomes) == cells[section.columns[0]]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.heading)
def test_every_verifier_agrees_on_every_case(section):
    for label, cells in STATED[section.heading].items():
        agreed = {cells[one] for one in VERIFIERS if one in cells}
        assert agreed <= {cells[section.columns[0]]}, label


def test_valid_and_tampered_vectors_are_both_there():
    assert all(STATED["Our vectors"]["all"][verdict] > 0 for verdict in VERDICTS)


def test_what_is_laid_out_is_read_back():
    noted = notes_of(SECTIONS)
    assert tables(page(noted, VERSIONS)) == {note.section: note.rows for note in noted}


def test_a_collection_that_is_not_there_is_named_as_not_run():
    text = page(notes_of(OURS), VERSIONS)
    assert text.count("Not run: ") == len(SECTIONS) - len(OURS) > 0
    assert tables(text)["W3C PROV-JSON"] == {}


@pytest.mark.parametrize("column", OURS[0].columns)
def test_no_page_is_made_where_a_number_is_missing(column):
    first, *rest = notes_of(OURS)
    cells = {name: 1 for name in OURS[0].columns if name != column}
    with pytest.raises(LookupError, match=column):
        page([msgspec.structs.replace(first, rows={"row": cells}), *rest], VERSIONS)


def test_no_page_is_made_where_a_test_of_ours_did_not_run():
    with pytest.raises(LookupError, match=OURS[0].heading):
        page(notes_of(OURS[1:]), VERSIONS)
