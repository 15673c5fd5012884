"""Reading manifests of persisted documents: the three shapes, and what is refused."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.cli.manifest import Document, Refused, read_documents
from verismo.model.errors import OperatorError

QUERY = "query User($id: ID!) {\n  user(id: $id) { name }\n}\n"
MUTATION = "mutation CreateTicket { createTicket { id } }"


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def entry(body, **changed):
    return {"id": sha256(body), "body": body, "name": "", "type": "", **changed}


def write(tmp_path, value):
    path = tmp_path / "manifest.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def apollo(tmp_path, *operations, **changed):
    manifest = {
        "format": "apollo-persisted-query-manifest",
        "version": 1,
        "operations": list(operations),
        **changed,
    }
    return write(tmp_path, manifest)


def read(path, *, trust_text=False):
    return read_documents(path, trust_text=trust_text)


def test_apollo_manifest_gives_its_documents(tmp_path):
    path = apollo(
        tmp_path,
        entry(QUERY, name="User", type="query"),
        entry(MUTATION, name="CreateTicket", type="mutation"),
    )
    assert read(path) == (
        [Document(QUERY, "User", "query"), Document(MUTATION, "CreateTicket", "mutation")],
        [],
    )


def test_digest_is_of_the_exact_bytes():
    assert Document("{ é }\r\n", "", "query").digest == sha256("{ é }\r\n")


def test_relay_map_keeps_its_ids_as_aliases(tmp_path):
    md5 = "0123456789abcdef" * 2
    path = write(tmp_path, {md5: QUERY, sha256(MUTATION): MUTATION})
    assert read(path) == (
        [
            Document(QUERY, "User", "query", alias=md5),
            Document(MUTATION, "CreateTicket", "mutation"),
        ],
        [],
    )


def test_folder_is_read_recursively_in_order_of_paths(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "one.gql").write_text(MUTATION)
    (tmp_path / "a.graphql").write_bytes(QUERY.encode())
    (tmp_path / "readme.md").write_text("not a document")
    documents, refused = read(tmp_path)
    assert [document.name for document in documents] == ["User", "CreateTicket"]
    assert refused == []


def test_line_ends_of_a_file_are_kept(tmp_path):
    (tmp_path / "a.graphql").write_bytes(b"{\r\n a\r\n}")
    assert read(tmp_path)[0][0].text == "{\r\n a\r\n}"


@pytest.mark.parametrize("prefix", ["", "sha256:"])
def test_swapped_text_under_a_known_id_is_refused(tmp_path, prefix):
    path = apollo(tmp_path, entry(QUERY, id=prefix + sha256(MUTATION), name="User"))
    documents, (refused,) = read(path)
    assert documents == []
    assert refused.name == "User"
    assert sha256(MUTATION)[:12] in refused.reason
    assert sha256(QUERY)[:12] in refused.reason


def test_trusted_text_is_taken_under_its_own_id_only(tmp_path):
    path = apollo(tmp_path, entry(QUERY, id=sha256(MUTATION)))
    assert read(path, trust_text=True) == ([Document(QUERY, "User", "query")], [])


@pytest.mark.parametrize("trust_text", [False, True])
def test_mutation_declared_as_a_query_is_refused(tmp_path, trust_text):
    path = apollo(tmp_path, entry(MUTATION, name="CreateTicket", type="query"))
    documents, (refused,) = read(path, trust_text=trust_text)
    assert documents == []
    assert "declared a query" in refused.reason


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "0 operations"),
        ("fragment F on User { id }", "0 operations"),
        ("query A { a } mutation B { b }", "2 operations"),
        ("query A { a", "middle"),
        ("type User { id: ID }", "does not start"),
        ("{ a }" + "#" * 1_048_576, "is over"),
    ],
)
def test_text_that_is_not_one_operation_is_refused(tmp_path, body, reason):
    documents, (refused,) = read(apollo(tmp_path, entry(body, name="X")))
    assert documents == []
    assert reason in refused.reason


def test_id_that_cannot_be_an_alias_is_refused(tmp_path):
    documents, refused = read(write(tmp_path, {"bad id\n": QUERY}))
    assert documents == []
    assert refused == [Refused("bad id\n", "its id is not letters, digits and . _ : / @ -")]


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        ("", "neither"),
        ("[]", "neither"),
        ("{}", "no documents"),
        ('{"id": 1}', "neither"),
        ('{"id": "\\ud800"}', "neither"),
        ("[" * 100_000, "neither"),
        ('{"format": "apollo-persisted-query-manifest"}', "neither"),
        ('{"format": "other", "version": 1, "operations": []}', "'other' version 1"),
        (
            '{"format": "apollo-persisted-query-manifest", "version": 2, "operations": []}',
            "version 2",
        ),
        (
            '{"format": "apollo-persisted-query-manifest", "version": 1, "operations": []}',
            "no documents",
        ),
    ],
)
def test_file_that_is_no_manifest_is_an_operators_error(tmp_path, content, detail):
    with pytest.raises(OperatorError, match=detail):
        read(write(tmp_path, content))


def test_path_and_bytes_that_cannot_be_read_are_operators_errors(tmp_path):
    with pytest.raises(OperatorError, match="cannot be read"):
        read(tmp_path / "missing.json")
    (tmp_path / "latin.graphql").write_bytes(b"{ \xe9 }")
    with pytest.raises(OperatorError, match=r"latin\.graphql"):
        read(tmp_path)


def test_empty_folder_is_an_operators_error(tmp_path):
    with pytest.raises(OperatorError, match="no documents"):
        read(tmp_path)


@given(content=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "fuzzed.json"
    path.write_bytes(content)
    with pytest.raises(OperatorError):
        read(path)
