"""docs/errors.md has every code with its status, title and next step, and no other."""

import re

import pytest
from tests.tidy.source import ROOT

from verismo.model import errors
from verismo.model.errors import VerismoError

PAGE = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")


def codes():
    """Return the class that speaks for each code: the most special one that names it."""
    found = {}

    def walk(kind):
        if "code" in vars(kind):
            found[kind.code] = kind
        for child in kind.__subclasses__():
            if child.__module__ == errors.__name__:
                walk(child)

    walk(VerismoError)
    return found


def faults(page):
    """Return what the page says differently from the code."""
    sections = dict(re.findall(r"(?ms)^## (\S+)\n(.*?)(?=^## |\Z)", page))
    wanted = codes()
    found = [f"{code}: no such code" for code in sections if code not in wanted]
    for code, kind in wanted.items():
        section = sections.get(code, "")
        if f"**{kind.status} {kind.title}.**" not in section:
            found.append(f"{code}: status or title")
        if f"\nNext step: {kind.next_step}\n" not in section:
            found.append(f"{code}: next step")
    return found


def test_every_code_is_documented_as_it_is():
    assert faults(PAGE) == []


@pytest.mark.parametrize("member", ["detail", "message"])
def test_no_next_step_names_a_member_that_only_some_protocols_have(member):
    """RFC 9457 has `detail`; JSON-RPC, GraphQL and OTLP have `message`."""
    assert [code for code, kind in codes().items() if f"`{member}`" in kind.next_step] == []


def test_the_tree_has_the_codes_that_its_docstring_draws():
    drawn = set(re.findall(r"\b(\d{3}) ([a-z_]+)", errors.__doc__))
    served = {(str(kind.status), code) for code, kind in codes().items() if code not in OFFSTAGE}
    assert drawn == served


OFFSTAGE = {"internal_error", "operator_error", "config_error", "state_error"}
"""For operators and for mistakes of ours: no client is meant to handle them."""


@pytest.mark.parametrize(
    ("there", "instead"),
    [
        ("## rate_limited\n", "## rate_limit\n"),
        ("**404 Not found.**", "**410 Not found.**"),
        ("Next step: Send each JSON member once.", "Next step: Try again."),
        ("## erased\n", "## erased\n\ntext\n\n## invented\n"),
    ],
)
def test_a_page_that_differs_is_seen(there, instead):
    assert there in PAGE
    assert faults(PAGE.replace(there, instead))
