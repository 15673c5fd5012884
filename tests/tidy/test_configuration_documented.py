"""docs/configuration.md has every field, and is what the schema says today."""

from pathlib import Path

import msgspec
import pytest

from verismo.config.operationtable import OperationsTable
from verismo.config.reference import SECTIONS, descriptions, reference
from verismo.config.tables import MainTable

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
IDS = [title for title, _ in SECTIONS]


def missing_fields(page: str) -> list[str]:
    """Name every field of the files that a page does not list under its table."""
    missing = []
    for title, kind in SECTIONS:
        _, _, section = page.partition(f"\n## {title}\n")
        rows = section.split("\n## ")[0]
        missing += [
            f"{title} {name}" for name in kind.__struct_fields__ if f"\n| `{name}` |" not in rows
        ]
    return missing


def test_every_field_is_documented():
    assert missing_fields(PAGE) == []


def test_a_field_that_is_not_documented_is_seen():
    page = PAGE.replace("| `port` | integer | `8081`", "| `prt` | integer | `8081`")
    assert missing_fields(page) == ["[control] port"]


def test_the_page_is_what_the_schema_says():
    assert reference() == PAGE, "run: verismo config reference > docs/configuration.md"


@pytest.mark.parametrize(("title", "kind"), SECTIONS, ids=IDS)
def test_every_field_has_words_and_no_words_lack_a_field(title, kind):
    texts = descriptions(kind)
    assert set(texts) == {"", *kind.__struct_fields__}, title
    assert all(texts.values()), title


def test_every_table_that_files_may_hold_is_documented():
    known = {kind for _, kind in SECTIONS}
    seen: set[type[msgspec.Struct]] = set()
    waiting: list[object] = [MainTable, OperationsTable]
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            seen.add(kind)
            waiting += [field.type for field in msgspec.structs.fields(kind)]
        else:
            waiting += getattr(kind, "__args__", ())
    assert seen - {OperationsTable} == known
