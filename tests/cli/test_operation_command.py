"""`verismo operation` on a real configuration folder: what it writes loads again."""

import hashlib
import json

import pytest
from click.testing import CliRunner

from verismo.cli.operation import operation
from verismo.config.load import load_config
from verismo.model.errors import OperatorError
from verismo.model.ids import TenantId
from verismo.ports.directory import Observation
from verismo.wiring.state import open_state

CONFIG = """
[observe]
chat = ["chat"]

[providers.llm]
kind = "openai"
base_url = "https://llm.example/v1"

[providers.graph]
kind = "graphql"
base_url = "https://graph.example/graphql"

[deployments.chat]
provider = "llm"
model = "gpt-4o"
region = "eu"

[deployments.api]
provider = "graph"
region = "eu"

[tenants.TENANT_001]
region = "eu"
purposes = ["support"]
models = ["*"]

[tenants.TENANT_002]
region = "eu"
purposes = ["support"]
models = ["*"]
"""
OPERATIONS = """
[operations."support.answer"]
kind = "chat"
purpose = "support"
deployments = ["chat"]
aliases = ["gpt-4o"]
tenants = ["TENANT_002"]
"""
QUERY = "query User { user { id } }"
DIGEST = hashlib.sha256(QUERY.encode()).hexdigest()


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "config"
    (root / "policy").mkdir(parents=True)
    (root / "operations").mkdir()
    (root / "verismo.toml").write_text(CONFIG)
    (root / "policy" / "main.rego").write_text("package verismo\n")
    (root / "operations" / "chat.toml").write_text(OPERATIONS)
    return root


@pytest.fixture
def run(root):
    def invoke(*arguments):
        return CliRunner().invoke(operation, [*arguments, "-c", str(root / "verismo.toml")])

    return invoke


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "manifest.json"

    def write(*bodies, **changed):
        operations = [
            {"id": hashlib.sha256(b.encode()).hexdigest(), "body": b, "name": "", **changed}
            for b in bodies
        ]
        head = {"format": "apollo-persisted-query-manifest", "version": 1}
        path.write_text(json.dumps({**head, "operations": operations}))
        return str(path)

    return write


def observe(root, *observations):
    with open_state(root / "var") as state:
        state.directory.observe(observations)


def plan(root):
    return load_config(root / "verismo.toml", {}).plan


def files(root):
    folder = root / "operations"
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_list_shows_each_operation_and_who_may_run_it(run):
    result = run("list")
    assert result.exit_code == 0, result.output
    header, row = result.stdout.splitlines()
    assert header.split() == [
        *("ID", "NAME", "KIND", "PURPOSE", "DEPLOYMENTS", "ALIASES", "TENANTS")
    ]
    assert row.split() == [
        *("support.answer", "support.answer", "chat", "support", "chat", "gpt-4o", "TENANT_002")
    ]


def test_list_as_json_has_whole_ids(run, manifest):
    run("import", manifest(QUERY))
    rows = json.loads(run("list", "--json").stdout)
    assert [row["id"] for row in rows] == [f"sha256:{DIGEST}", "support.answer"]
    assert rows[0]["document"] == QUERY


def test_list_for_a_tenant_shows_what_it_may_run(run):
    assert json.loads(run("list", "--json", "--tenant", "TENANT_001").stdout) == []
    assert len(json.loads(run("list", "--json", "--tenant", "TENANT_002").stdout)) == 1


@pytest.mark.parametrize("command", ["list", "learn"])
def test_unknown_tenant_is_refused_with_the_nearest(run, command):
    result = run(command, "--tenant", "TENANT_0002")
    assert isinstance(result.exception, OperatorError)
    assert "did you mean TENANT_002?" in result.exception.detail


def test_imported_document_is_in_the_plan_byte_for_byte(run, root, manifest):
    result = run("import", manifest(QUERY))
    assert result.exit_code == 0, result.output
    assert result.stdout == "added 1, changed 0, unchanged 0, refused 0\n"
    found = plan(root).operations[f"sha256:{DIGEST}"]
    assert (found.document, found.document_type, found.name) == (QUERY, "query", "User")
    assert (found.purpose, found.deployments) == ("support", ("api",))


def test_importing_twice_writes_nothing_the_second_time(run, root, manifest):
    path = manifest(QUERY, "mutation M { m }")
    run("import", path)
    before = files(root)
    result = run("import", path)
    assert result.stdout == "added 0, changed 0, unchanged 2, refused 0\n"
    assert files(root) == before


def test_refused_document_is_reported_and_the_others_are_imported(run, root, tmp_path):
    path = tmp_path / "relay.json"
    path.write_text(json.dumps({"a" * 64: QUERY, "b" * 32: "{ other }"}))
    result = run("import", str(path))
    assert result.exit_code == 1
    assert result.stdout == "added 1, changed 0, unchanged 0, refused 1\n"
    assert "its id says aaaaaaaaaaaa" in result.stderr
    assert f"sha256:{DIGEST}" not in plan(root).operations
    other = hashlib.sha256(b"{ other }").hexdigest()
    assert plan(root).operations[f"sha256:{other}"].aliases == ("b" * 32,)


def test_trusted_text_is_imported(run, root, tmp_path):
    path = tmp_path / "relay.json"
    path.write_text(json.dumps({"a" * 64: QUERY}))
    assert run("import", str(path), "--trust-text").exit_code == 0
    assert plan(root).operations[f"sha256:{DIGEST}"].aliases == ()


def test_folder_of_documents_is_imported(run, root, tmp_path):
    (tmp_path / "queries").mkdir()
    (tmp_path / "queries" / "user.graphql").write_bytes(QUERY.encode())
    arguments = ("--purpose", "support", "--deployment", "api", "--kind", "graphql")
    assert run("import", str(tmp_path / "queries"), *arguments).exit_code == 0
    assert f"sha256:{DIGEST}" in plan(root).operations


def test_tampered_document_file_is_refused_when_loading(run, root, manifest):
    run("import", manifest(QUERY))
    (document,) = (root / "operations" / "documents").iterdir()
    document.write_text("mutation Steal { everything }")
    with pytest.raises(OperatorError, match="has changed"):
        plan(root)


def test_learn_prints_what_it_would_register_and_writes_nothing(run, root):
    before = files(root)
    observe(root, Observation(TenantId("TENANT_001"), "chat", "openai/gpt-4o-mini", "", 7, 1))
    result = run("learn")
    assert result.exit_code == 0, result.output
    assert "# observed 7 times" in result.stdout
    assert '[operations."openai-gpt-4o-mini"]' in result.stdout
    assert files(root) == before


def test_learned_operations_load_and_are_not_proposed_again(run, root):
    observe(
        root,
        Observation(TenantId("TENANT_001"), "chat", "openai/gpt-4o-mini", "", 7, 1),
        Observation(TenantId("TENANT_001"), "graphql", "User", QUERY, 2, 1),
    )
    result = run("learn", "--write")
    assert "wrote 2" in result.stdout
    learned = plan(root).operations["openai-gpt-4o-mini"]
    assert learned.aliases == ("openai/gpt-4o-mini",)
    assert learned.tenants == ("TENANT_001",)
    before = files(root)
    assert "nothing to propose" in run("learn", "--write").stderr
    assert files(root) == before


def test_second_learning_is_appended_to_the_first(run, root):
    observe(root, Observation(TenantId("TENANT_001"), "chat", "first", "", 1, 1))
    run("learn", "--write")
    observe(root, Observation(TenantId("TENANT_002"), "chat", "second", "", 1, 1))
    run("learn", "--write")
    assert {"first", "second"} <= plan(root).operations.keys()


def test_learned_document_is_in_the_plan(run, root):
    observe(root, Observation(TenantId("TENANT_001"), "graphql", "User", QUERY, 2, 1))
    assert run("learn", "--write").exit_code == 0
    assert plan(root).operations[f"sha256:{DIGEST}"].document == QUERY


def test_a_document_with_values_is_told_with_its_count_and_not_written(run, root):
    text = 'query User { user(id: "?") { id } }'
    observe(root, Observation(TenantId("TENANT_001"), "graphql", "User", text, 7, 1))
    before = files(root)
    result = run("learn", "--write")
    assert "skipped User: observed 7 times; has 1 value in its text" in result.stderr
    assert "nothing to propose" in result.stderr
    assert files(root) == before


def test_learning_follows_tenant_count_and_purpose(run, root):
    observe(
        root,
        Observation(TenantId("TENANT_001"), "chat", "rare", "", 1, 1),
        Observation(TenantId("TENANT_001"), "chat", "mine", "", 5, 1),
        Observation(TenantId("TENANT_002"), "chat", "theirs", "", 5, 1),
    )
    output = run("learn", "--tenant", "TENANT_001", "--min-count", "2").stdout
    assert "mine" in output
    assert "rare" not in output
    assert "theirs" not in output
    result = run("learn", "--purpose", "suport")
    assert "did you mean support?" in result.exception.detail


def test_escape_sequence_in_an_observed_name_does_not_reach_the_terminal(run, root):
    observe(root, Observation(TenantId("TENANT_001"), "chat", "\x1b[2J evil", "", 1, 1))
    result = run("learn")
    assert "\x1b" not in result.output
    assert "skipped ?[2J evil" in result.stderr
