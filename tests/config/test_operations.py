"""Registered operations and their documents."""

import hashlib

import pytest

from verismo.config.operations import RESERVED
from verismo.gateway.resolve import UNREGISTERED

DOCUMENT = "query User($id: ID!) { user(id: $id) { id } }\n"
DOCUMENT_ID = f"sha256:{hashlib.sha256(DOCUMENT.encode()).hexdigest()}"


def test_a_chat_operation_is_read_whole(workspace):
    operation = workspace.load().plan.operations["support.answer"]
    assert operation.name == "support.answer"
    assert operation.kind == "chat"
    assert operation.purpose == "support"
    assert operation.deployments == ("chat",)
    assert operation.aliases == ("gpt-4o",)
    assert operation.tenants == ()


def test_the_id_of_a_document_is_the_hash_of_its_exact_bytes(workspace):
    operation = workspace.load().plan.operations[DOCUMENT_ID]
    assert (operation.name, operation.document_type) == ("User", "query")
    assert operation.document == DOCUMENT


@pytest.mark.parametrize(
    "changed", [DOCUMENT + "\n", DOCUMENT.replace("\n", "\r\n"), DOCUMENT[:-1]]
)
def test_white_space_in_a_document_makes_another_id(workspace, changed):
    workspace.write("operations/user.graphql", changed)
    assert DOCUMENT_ID not in workspace.load().plan.operations


def test_a_document_that_changed_under_its_recorded_id_is_refused(workspace):
    workspace.replace(
        "operations/chat.toml", '"user.graphql"', f'"user.graphql"\nid = "{DOCUMENT_ID}"'
    )
    assert DOCUMENT_ID in workspace.load().plan.operations
    workspace.write("operations/user.graphql", DOCUMENT.replace("{ id }", "{ id password }"))
    (problem,) = workspace.problems()
    assert problem.startswith(
        "operations/chat.toml:12: operations.user.id: user.graphql has changed"
    )


@pytest.mark.parametrize(
    ("document", "part"),
    [
        (b"\xff", "not UTF-8"),
        (b"query A { a } query B { b }", "2 operations"),
        (b"", "0 operations"),
        (b"x" * 1_048_577, "over 1048576 bytes"),
    ],
)
def test_a_document_that_cannot_be_registered_is_refused(workspace, document, part):
    workspace.write("operations/user.graphql", document)
    (problem,) = workspace.problems()
    assert problem.startswith("operations/chat.toml:11: operations.user.document: ")
    assert part in problem


def test_a_missing_document_is_refused(workspace):
    (workspace.root / "operations/user.graphql").unlink()
    assert "user.graphql cannot be read" in workspace.problems()[0]
    workspace.replace("operations/chat.toml", 'document = "user.graphql"', "")
    assert "document is missing" in workspace.problems()[0]


@pytest.mark.parametrize("path", ["../outside.graphql", "/etc/hostname"])
def test_path_traversal_by_a_document_is_refused(workspace, path):
    workspace.write("outside.graphql", DOCUMENT)
    workspace.replace("operations/chat.toml", '"user.graphql"', f'"{path}"')
    assert "must stay inside operations/" in workspace.problems()[0]


def test_path_traversal_by_a_symbolic_link_is_refused(workspace):
    target = workspace.write("outside.graphql", DOCUMENT)
    link = workspace.root / "operations/user.graphql"
    link.unlink()
    link.symlink_to(target)
    assert "must stay inside operations/" in workspace.problems()[0]


def test_a_document_that_nothing_names_is_a_warning(workspace):
    workspace.write("operations/documents/lost.graphql", "{ a }")
    assert workspace.warnings() == [
        "operations/documents/lost.graphql:1: no operation names this document, so it cannot be run"
    ]


def test_one_operation_in_two_files_is_refused_with_both_places(workspace):
    table = '[operations."support.answer"]\nkind="chat"\npurpose="support"\ndeployments=["chat"]\n'
    workspace.write("operations/more.toml", table)
    assert workspace.problems() == [
        'operations/more.toml:1: operations."support.answer": '
        "the same operation stands at operations/chat.toml:1"
    ]


def test_one_document_under_two_names_is_refused(workspace):
    workspace.append(
        "operations/chat.toml",
        '[operations.again]\nkind="graphql"\npurpose="support"\ndeployments=["graph"]\n'
        'document="user.graphql"\n',
    )
    assert "the same operation stands at operations/chat.toml:7" in workspace.problems()[0]


@pytest.mark.parametrize("name", ["a b", "naïve", "a/b", ""])
def test_operation_ids_outside_the_alphabet_are_refused(workspace, name):
    workspace.replace("operations/chat.toml", '"support.answer"', f'"{name}"')
    assert "a name has letters" in workspace.problems()[0]


@pytest.mark.parametrize(("key", "value"), [("document", "x.graphql"), ("id", DOCUMENT_ID)])
def test_keys_of_documents_are_refused_on_other_kinds(workspace, key, value):
    workspace.replace("operations/chat.toml", 'kind = "chat"', f'kind = "chat"\n{key} = "{value}"')
    assert "is for kind graphql, not chat" in workspace.problems()[0]


def test_an_operation_needs_a_deployment(workspace):
    workspace.replace("operations/chat.toml", 'deployments = ["chat"]', "deployments = []")
    assert "must name at least one deployment" in workspace.problems()[0]


def test_the_name_of_unregistered_operations_cannot_be_registered(workspace):
    """A registered operation of that id would make statements about unknown calls look known."""
    assert RESERVED == UNREGISTERED
    workspace.replace("operations/chat.toml", '"support.answer"', f'"{RESERVED}"')
    assert "is reserved" in workspace.problems()[0]


def test_a_folder_without_operations_is_allowed(workspace):
    for path in (workspace.root / "operations").iterdir():
        path.unlink()
    (workspace.root / "operations").rmdir()
    assert workspace.load().plan.operations == {}


def test_a_folder_mounted_from_kubernetes_is_read_once(workspace):
    """A ConfigMap volume: links beside a hidden folder that holds the files themselves."""
    folder = workspace.root / "operations"
    hidden = folder / "..2026_01_01"
    hidden.mkdir()
    (folder / "..data").symlink_to("..2026_01_01")
    for name in ("chat.toml", "user.graphql"):
        (folder / name).rename(hidden / name)
        (folder / name).symlink_to(f"..data/{name}")
    config = workspace.load()
    assert set(config.plan.operations) == {"support.answer", DOCUMENT_ID}
    assert config.warnings == ()
