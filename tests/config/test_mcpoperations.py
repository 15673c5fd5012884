"""Operations of kind mcp: what they let through is listed, whole, and nothing by accident."""

import pytest
from tests.support.mcpserver import mcp_tables, operation

from verismo.cli.registration import read_registrations, registrations_text
from verismo.config.mcpoperations import TOOL_METHODS
from verismo.config.operationtable import OperationTable

FILE = "operations/tools.toml"


@pytest.fixture
def mcp(workspace):
    workspace.append("verismo.toml", mcp_tables("http://127.0.0.1:9"))
    return workspace


def test_an_operation_lets_tools_through_and_nothing_else_by_default(mcp):
    mcp.write(FILE, operation(param_headers={"search": {"Region": "region"}}))
    found = mcp.load().plan.operations["docs.tools"]
    assert (found.kind, found.methods) == ("mcp", TOOL_METHODS)
    assert found.tools == ("search", "fetch", "crawl", "dump")
    assert found.param_headers == {"search": {"Region": "region"}}
    assert mcp.load().plan.operations["support.answer"].methods == ()


def test_methods_are_named_one_by_one(mcp):
    mcp.write(FILE, operation(methods=["resources/read"], tools=[]))
    assert mcp.load().plan.operations["docs.tools"].methods == ("resources/read",)


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"tools": []}, "tools: must name at least one tool"),
        ({"tools": ["search", "search"]}, "tools[1]: 'search' stands twice"),
        ({"tools": ["*"]}, "tools[0]: must be 1 to 128 letters"),
        ({"methods": ["tools/call", "tools/call"]}, "methods[1]: 'tools/call' stands twice"),
        ({"methods": ["subscriptions/listen"]}, "'subscriptions/listen' is not one of"),
        ({"methods": ["tools/cal"]}, "did you mean"),
        ({"param_headers": {"serch": {"A": "a"}}}, "there is no tool 'serch'; did you mean"),
        ({"param_headers": {"search": {"A": "a", "a": "b"}}}, "names one header twice"),
        ({"param_headers": {"search": {"A b": "a"}}}, "is not a header's name"),
        ({"param_headers": {"search": {"A": ""}}}, "is not a header's name"),
        ({"deployments": ["chat"]}, "which cannot run mcp operations"),
        ({"document": "x.graphql"}, "document: is for kind graphql, not mcp"),
    ],
)
def test_an_operation_that_says_it_wrongly_is_refused(mcp, keys, problem):
    keys = {'"A b"' if key == "A b" else key: value for key, value in keys.items()}
    text = operation(**keys).replace("{ A b =", '{ "A b" =')
    mcp.write(FILE, text)
    assert problem in "\n".join(mcp.problems())


@pytest.mark.parametrize("name", ["team/docs", "docs tools", "docs%2Ftools", "d\u00f6cs"])
def test_evasion_of_rules_by_an_id_that_is_no_part_of_a_path_is_refused(mcp, name):
    """A glob such as `*/delete_*` does not reach over a second slash."""
    mcp.write(FILE, operation(name))
    assert "its id has 1 to 128 letters" in "\n".join(mcp.problems())


@pytest.mark.parametrize("kind", ["chat", "graphql"])
@pytest.mark.parametrize("key", ['tools = ["a"]', 'methods = ["tools/call"]'])
def test_keys_of_mcp_are_refused_on_other_kinds(workspace, kind, key):
    workspace.replace("operations/chat.toml", f'kind = "{kind}"', f'kind = "{kind}"\n{key}')
    (problem,) = workspace.problems()
    assert f"is for kind mcp, not {kind}" in problem


def test_the_path_of_a_server_starts_with_a_slash(mcp):
    mcp.write(FILE, operation())
    mcp.replace("verismo.toml", 'model = "/mcp"\nregion = "us"', 'model = "mcp"\nregion = "us"')
    assert "is the path for kind mcp, so it starts with /" in mcp.problems()[0]


def test_a_table_is_spelled_as_it_was_read(tmp_path):
    table = OperationTable(
        "mcp",
        "support",
        ("docs-us",),
        tools=("search",),
        methods=("tools/call",),
        param_headers={"search": {"Region": "where.region"}},
    )
    path = tmp_path / "tools.toml"
    path.write_text(registrations_text({"docs.tools": table}))
    assert read_registrations(path) == {"docs.tools": table}
