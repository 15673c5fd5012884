"""Registrations as TOML: what is written is read back, whatever a client called it."""

import string
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.cli.manifest import Document
from verismo.cli.registration import (
    document_file,
    read_registrations,
    registrations_text,
    safe_name,
    write_document,
)
from verismo.config.operationtable import OperationTable
from verismo.model.errors import OperatorError

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
tables = st.builds(
    OperationTable,
    kind=st.sampled_from(["chat", "embedding", "graphql", "http"]),
    purpose=st.just("support"),
    deployments=st.lists(st.just("main"), min_size=1, max_size=3).map(tuple),
    aliases=st.lists(st.sampled_from(["gpt-4o", "openai/gpt-4o"]), max_size=2).map(tuple),
    name=texts,
)


@given(st.dictionaries(texts, tables, max_size=4))
def test_written_registrations_are_read_back(tmp_path_factory, registrations):
    path = tmp_path_factory.getbasetemp() / "operations.toml"
    path.write_text(registrations_text(registrations), encoding="utf-8")
    assert read_registrations(path) == registrations


@given(texts)
def test_clients_name_cannot_start_a_table_of_its_own(name):
    text = registrations_text({"a": OperationTable("chat", "p", ("d",), name=name)})
    assert list(tomllib.loads(text)["operations"]) == ["a"]


@pytest.mark.parametrize("character", ["\x1b", "\x7f", "\x9b", "\u202e", "\U000e0001"])
def test_what_a_terminal_obeys_is_escaped(character):
    text = registrations_text({f"a{character}": OperationTable("chat", "p", ("d",))})
    assert character not in text
    assert list(tomllib.loads(text)["operations"]) == [f"a{character}"]


@given(st.text(max_size=200))
def test_safe_name_is_a_file_name_below_its_folder(text):
    name = safe_name(text)
    assert len(name) <= 64
    assert set(name) <= set(string.ascii_letters + string.digits + "._-")
    assert not name.startswith((".", "-"))


def test_safe_name_keeps_a_name_that_is_safe():
    assert safe_name("support.answer-v2_b") == "support.answer-v2_b"
    assert safe_name("openai/gpt 4o") == "openai-gpt-4o"


def test_document_is_written_byte_for_byte(tmp_path):
    document = Document("{\r\n é }", "", "query")
    write_document(tmp_path, document)
    (file,) = (tmp_path / "operations" / "documents").iterdir()
    assert file.read_bytes() == "{\r\n é }".encode()
    assert document_file(document) == f"documents/anonymous-{document.digest[:12]}.graphql"


def test_file_that_is_not_there_has_no_registrations(tmp_path):
    assert read_registrations(tmp_path / "none.toml") == {}


@pytest.mark.parametrize("text", ["[operations", '[operations."a"]\nkind = "opera"\n', "\xff"])
def test_broken_file_is_an_operators_error(tmp_path, text):
    path = tmp_path / "imported.toml"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(OperatorError, match="cannot be read") as caught:
        read_registrations(path)
    assert "config check" in caught.value.advice
