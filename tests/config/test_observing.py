"""Where unregistered operations go: to deployments of their kind, or the file is refused."""

import pytest

EMBEDDING = """
[operations."support.embedding"]
kind = "embedding"
purpose = "support"
deployments = ["vectors"]
"""
VECTORS = (
    '\n[deployments.vectors]\nprovider = "up"\nmodel = "text-embedding-3-small"\nregion = "us"\n'
)
CLAUDE = """
[providers.claude]
kind = "anthropic"
base_url = "http://127.0.0.1:9"

[deployments.claude]
provider = "claude"
model = "claude-haiku-4-5"
region = "us"
"""


def listing(workspace, lines):
    workspace.append("verismo.toml", VECTORS)
    workspace.replace("verismo.toml", 'chat = ["chat"]', lines)
    return workspace


def test_each_kind_has_its_list_in_fallback_order(workspace):
    listing(workspace, 'chat = ["claude", "chat"]\nembedding = ["vectors"]\ngraphql = ["graph"]')
    workspace.append("verismo.toml", CLAUDE)
    assert workspace.load().plan.observe_deployments == {
        "chat": ("claude", "chat"),
        "embedding": ("vectors",),
        "graphql": ("graph",),
    }


def test_a_mixed_list_is_sorted_by_provider_and_by_what_is_registered(workspace):
    listing(workspace, 'deployments = ["chat", "vectors", "graph", "claude"]')
    workspace.append("verismo.toml", CLAUDE)
    workspace.append("operations/chat.toml", EMBEDDING)
    loaded = workspace.load()
    assert loaded.plan.observe_deployments == {
        "chat": ("chat", "claude"),
        "embedding": ("vectors",),
        "graphql": ("graph",),
    }
    assert loaded.warnings == ()


def test_an_agent_that_speaks_openai_makes_its_deployment_one_for_chats(workspace):
    listing(workspace, 'deployments = ["chat"]\nembedding = ["vectors"]')
    workspace.replace("operations/chat.toml", 'kind = "chat"', 'kind = "agent"')
    assert workspace.load().plan.observe_deployments["chat"] == ("chat",)


def test_a_mixed_list_that_does_not_tell_the_kind_is_refused_with_the_next_step(workspace):
    listing(workspace, 'deployments = ["chat", "vectors"]')
    assert workspace.problems() == [
        "verismo.toml:2: observe.deployments[1]: nothing says whether vectors serves chats or "
        'embeddings: take it from here and write `chat = ["vectors"]` or '
        '`embedding = ["vectors"]` under [observe]'
    ]


def test_both_forms_side_by_side_name_a_deployment_once(workspace):
    listing(
        workspace, 'deployments = ["vectors", "chat"]\nembedding = ["vectors"]\nchat = ["chat"]'
    )
    found = workspace.load().plan.observe_deployments
    assert found == {"chat": ("chat",), "embedding": ("vectors",)}


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (
            'chat = ["graph"]',
            "chat[0]: graph is at a provider of kind graphql, which cannot run chat operations",
        ),
        (
            'embedding = ["claude"]',
            "embedding[0]: claude is at a provider of kind anthropic, which cannot run embedding",
        ),
        (
            'graphql = ["chat"]',
            "graphql[0]: chat is at a provider of kind openai, which cannot run graphql operations",
        ),
        ('embedding = ["vectrs"]', "embedding[0]: there is no deployment 'vectrs'; did you mean"),
        ('deployments = ["vectrs"]', "deployments[0]: there is no deployment 'vectrs'; did you"),
    ],
)
def test_a_list_holds_deployments_that_exist_and_fit_its_kind(workspace, lines, problem):
    listing(workspace, lines)
    workspace.append("verismo.toml", CLAUDE)
    (found,) = workspace.problems()
    assert found.startswith(f"verismo.toml:2: observe.{problem}")


def test_a_model_that_is_registered_for_another_kind_only_is_warned_of(workspace):
    listing(workspace, 'chat = ["chat", "vectors"]')
    workspace.append("operations/chat.toml", EMBEDDING)
    assert workspace.warnings() == [
        "verismo.toml:2: observe.chat[1]: registered operations use this for embedding, not chat"
    ]


def test_a_list_and_an_operation_say_the_same_of_a_deployment_that_does_not_fit(workspace):
    listing(workspace, 'chat = ["graph"]')
    workspace.replace("operations/chat.toml", 'deployments = ["chat"]', 'deployments = ["graph"]')
    by_operation, by_list = workspace.problems()
    said = "graph is at a provider of kind graphql, which cannot run chat operations; that takes"
    assert by_operation.partition(": graph")[2] == by_list.partition(": graph")[2]
    assert said in by_list


def test_a_mixed_list_may_name_what_only_registered_calls_reach(workspace):
    listing(workspace, 'deployments = ["plain"]\nchat = ["chat"]\nembedding = ["vectors"]')
    workspace.append(
        "verismo.toml",
        '\n[providers.plain]\nkind = "http"\nbase_url = "http://127.0.0.1:9"\n'
        '\n[deployments.plain]\nprovider = "plain"\nregion = "us"\n',
    )
    assert workspace.warnings() == [
        "verismo.toml:2: observe.deployments[0]: plain is at a provider of kind http: only "
        "registered calls run"
    ]
