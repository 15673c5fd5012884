"""Names across tables: they exist, they fit, and each means one thing to a tenant."""

import pytest

SECOND = '[operations.second]\nkind = "chat"\npurpose = "support"\ndeployments = ["chat"]\n'


@pytest.mark.parametrize(
    ("name", "old", "new", "problem"),
    [
        (
            "verismo.toml",
            'provider = "up"',
            'provider = "upp"',
            "verismo.toml:13: deployments.chat.provider: there is no provider 'upp'; "
            "did you mean up?",
        ),
        (
            "verismo.toml",
            'chat = ["chat"]',
            'chat = ["chat", "chta"]',
            "verismo.toml:2: observe.chat[1]: there is no deployment 'chta'; did you mean chat?",
        ),
        (
            "operations/chat.toml",
            'aliases = ["gpt-4o"]',
            'tenants = ["TENANT_01"]',
            'operations/chat.toml:5: operations."support.answer".tenants[0]: '
            "there is no tenant 'TENANT_01'; did you mean TENANT_001?",
        ),
        (
            "operations/chat.toml",
            'deployments = ["chat"]',
            'deployments = ["graph"]',
            'operations/chat.toml:4: operations."support.answer".deployments[0]: graph is at a '
            "provider of kind graphql, which cannot run chat operations; "
            "that takes openai or anthropic",
        ),
        (
            "verismo.toml",
            'model = "gpt-4o-mini"\n',
            "",
            "verismo.toml:12: deployments.chat: model is missing: a provider of kind openai is "
            "asked for one",
        ),
    ],
)
def test_dangling_and_unfitting_names_are_refused(workspace, name, old, new, problem):
    workspace.replace(name, old, new)
    assert workspace.problems() == [problem]


@pytest.mark.parametrize(
    ("kind", "operation", "fits"),
    [
        ("openai", "chat", True),
        ("openai", "embedding", True),
        ("openai", "http", False),
        ("anthropic", "chat", True),
        ("anthropic", "embedding", False),
        ("http", "http", True),
        ("http", "chat", False),
        ("http", "agent", True),
        ("openai", "agent", True),
        ("anthropic", "agent", False),
    ],
)
def test_each_kind_of_operation_needs_its_kind_of_provider(workspace, kind, operation, fits):
    workspace.replace("verismo.toml", 'chat = ["chat"]', "")
    workspace.replace("verismo.toml", 'kind = "openai"', f'kind = "{kind}"')
    workspace.replace("verismo.toml", '"gpt-4o-mini"', '"/path"')
    workspace.replace("operations/chat.toml", 'kind = "chat"', f'kind = "{operation}"')
    if fits:
        assert workspace.load().plan.operations["support.answer"].kind == operation
    else:
        assert f"cannot run {operation} operations" in workspace.problems()[0]


def test_an_agent_at_the_client_needs_no_deployment_and_nothing_else_goes_without(workspace):
    workspace.replace("operations/chat.toml", 'deployments = ["chat"]\naliases = ["gpt-4o"]\n', "")
    assert workspace.problems() == [
        'operations/chat.toml:1: operations."support.answer".deployments: must name at least one '
        "deployment"
    ]
    workspace.replace("operations/chat.toml", 'kind = "chat"', 'kind = "agent"')
    assert workspace.load().plan.operations["support.answer"].deployments == ()


NEW = '\n[deployments.new]\nprovider = "up"\nmodel = "gpt-4o"\nregion = "us"\n'


def with_candidates(workspace, names):
    workspace.append("verismo.toml", NEW)
    workspace.replace("operations/chat.toml", '["chat"]\n', f'["chat"]\ncandidates = {names}\n')


def test_a_candidate_is_a_deployment_that_is_used_though_it_serves_nothing_yet(workspace):
    with_candidates(workspace, '["new"]')
    loaded = workspace.load()
    assert loaded.plan.operations["support.answer"].candidates == ("new",)
    assert loaded.warnings == ()


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ('["newer"]', "candidates[0]: there is no deployment 'newer'; did you mean new?"),
        ('["new", "chat"]', "candidates[1]: 'chat' is among the deployments: it serves already"),
        ('["new", "new"]', "candidates[1]: 'new' stands twice"),
        (
            '["new", "graph"]',
            "candidates[1]: graph is at a provider of kind graphql, which cannot run chat "
            "operations; that takes openai or anthropic",
        ),
    ],
)
def test_candidates_exist_fit_and_do_not_serve_already(workspace, names, problem):
    with_candidates(workspace, names)
    (found,) = workspace.problems()
    assert found == f'operations/chat.toml:5: operations."support.answer".{problem}'


def test_an_agent_at_the_client_has_nothing_that_a_candidate_is_compared_with(workspace):
    with_candidates(workspace, '["new"]')
    workspace.replace("operations/chat.toml", 'deployments = ["chat"]\ncandidates', "candidates")
    workspace.replace("operations/chat.toml", 'kind = "chat"', 'kind = "agent"')
    (problem,) = workspace.problems()
    assert "candidates: need a deployment that they are compared with" in problem


def test_a_candidate_of_an_agent_speaks_the_same_protocol(workspace):
    workspace.append(
        "verismo.toml",
        '\n[providers.plain]\nkind = "http"\nbase_url = "http://127.0.0.1:9"\n'
        '\n[deployments.plain]\nprovider = "plain"\nregion = "us"\n',
    )
    workspace.replace("operations/chat.toml", 'kind = "chat"', 'kind = "agent"')
    workspace.replace("operations/chat.toml", '["chat"]', '["chat"]\ncandidates = ["plain"]')
    (problem,) = workspace.problems()
    assert "an agent speaks one protocol" in problem


def test_an_agent_speaks_one_protocol(workspace):
    workspace.append(
        "verismo.toml",
        '\n[providers.plain]\nkind = "http"\nbase_url = "http://127.0.0.1:9"\n'
        '\n[deployments.plain]\nprovider = "plain"\nregion = "us"\n',
    )
    workspace.replace("operations/chat.toml", 'kind = "chat"', 'kind = "agent"')
    workspace.replace("operations/chat.toml", '["chat"]', '["plain", "chat"]')
    (problem,) = workspace.problems()
    assert "an agent speaks one protocol" in problem


def test_a_path_of_kind_http_starts_with_a_slash_or_is_empty(workspace):
    workspace.replace("verismo.toml", 'chat = ["chat"]', "")
    workspace.replace("verismo.toml", 'kind = "openai"', 'kind = "http"')
    workspace.replace("operations/chat.toml", 'kind = "chat"', 'kind = "http"')
    assert "starts with /" in workspace.problems()[0]
    workspace.replace("verismo.toml", 'model = "gpt-4o-mini"\n', "")
    assert workspace.load().plan.deployments["chat"].model == ""


def test_a_name_whose_table_is_broken_is_not_called_unknown(workspace):
    workspace.replace("verismo.toml", 'kind = "openai"', "kind = 1")
    (problem,) = workspace.problems()
    assert "providers.up.kind" in problem


def test_one_alias_for_two_operations_of_one_tenant_is_refused(workspace):
    workspace.append("operations/chat.toml", SECOND + 'aliases = ["gpt-4o"]\n')
    assert workspace.problems() == [
        "operations/chat.toml:16: operations.second.aliases[0]: 'gpt-4o' is an alias of the "
        "operation at operations/chat.toml:1 for the same tenant"
    ]


@pytest.mark.parametrize(
    ("one", "other", "refused"),
    [
        ('["TENANT_001"]', '["TENANT_002"]', False),
        ('["TENANT_001"]', '["TENANT_001", "TENANT_002"]', True),
        ('["TENANT_001"]', "[]", True),
        ("[]", '["TENANT_001"]', True),
    ],
)
def test_an_alias_may_mean_different_things_to_different_tenants(workspace, one, other, refused):
    workspace.replace("operations/chat.toml", '["gpt-4o"]', f'["gpt-4o"]\ntenants = {one}')
    workspace.append("operations/chat.toml", SECOND + f'aliases = ["gpt-4o"]\ntenants = {other}\n')
    if refused:
        assert "for the same tenant" in workspace.problems()[0]
    else:
        assert len(workspace.load().plan.operations) == 3


def test_an_alias_that_hides_another_operations_id_is_refused(workspace):
    """Otherwise `model="second"` could be made to run something else."""
    workspace.append("operations/chat.toml", SECOND)
    workspace.replace("operations/chat.toml", '["gpt-4o"]', '["second"]')
    assert workspace.problems() == [
        "operations/chat.toml:5: operations.\"support.answer\".aliases[0]: 'second' is the id of "
        "the operation at operations/chat.toml:12"
    ]


def test_an_alias_that_stands_twice_is_refused(workspace):
    workspace.replace("operations/chat.toml", '["gpt-4o"]', '["gpt-4o", "gpt-4o"]')
    assert "stands twice" in workspace.problems()[0]


@pytest.mark.parametrize("alias", ["openai/gpt-4o", "ft:gpt-4o:acme", "claude@2025"])
def test_aliases_take_the_characters_that_vendors_use(workspace, alias):
    workspace.replace("operations/chat.toml", "gpt-4o", alias)
    assert workspace.load().plan.operations["support.answer"].aliases == (alias,)


@pytest.mark.parametrize("alias", ["", "a b", "a\\nb", "a\\n", "é"])
def test_aliases_outside_the_alphabet_are_refused(workspace, alias):
    workspace.replace("operations/chat.toml", "gpt-4o", alias)
    assert "must be 1 to 128 letters" in workspace.problems()[0]


def test_a_purpose_that_no_tenant_has_is_a_warning(workspace):
    workspace.replace("operations/chat.toml", 'purpose = "support"', 'purpose = "suport"')
    assert "did you mean support?" in workspace.warnings()[0]


def test_unused_deployments_and_providers_are_warnings(workspace):
    workspace.append(
        "verismo.toml",
        '[providers.idle]\nkind = "http"\nbase_url = "http://127.0.0.1:1"\n'
        '[deployments.idle]\nprovider = "up"\nmodel = "m"\nregion = "us"\n',
    )
    assert workspace.warnings() == [
        "verismo.toml:30: providers.idle: no deployment uses this provider",
        "verismo.toml:33: deployments.idle: nothing uses this deployment",
    ]


def test_observing_with_nowhere_to_send_is_a_warning(workspace):
    workspace.replace("verismo.toml", 'chat = ["chat"]', "chat = []")
    workspace.replace("verismo.toml", 'region = "eu"', 'region = "eu"\nenforcement = "observe"')
    assert any("nowhere to go" in warning for warning in workspace.warnings())
