"""Merging documents with what is registered: nothing twice, nothing lost, nothing guessed."""

import msgspec
import pytest

from verismo.cli.importing import Settings, merge
from verismo.cli.manifest import Document
from verismo.model.errors import OperatorError
from verismo.model.ids import DeploymentId, OperationId, ProviderId, TenantId
from verismo.model.operation import Deployment, Operation, Provider
from verismo.model.plan import PLAN_VERSION, Plan
from verismo.model.tenant import Tenant

USER = Document("query User { user { id } }", "User", "query")
ID = f"sha256:{USER.digest}"
NAME = f"User-{USER.digest[:12]}"


def plan(*operations, purposes=("support",), graphql=("api",)):
    provider, chat = ProviderId("api"), ProviderId("llm")
    deployments = [Deployment(DeploymentId(name), provider, "graphql", "eu") for name in graphql]
    deployments.append(Deployment(DeploymentId("chat"), chat, "gpt-4o", "eu"))
    return Plan(
        PLAN_VERSION,
        "verismo",
        {TenantId("T"): Tenant(TenantId("T"), "eu", purposes, ("*",), "observe")},
        {
            provider: Provider(provider, "graphql", "https://api.example/graphql"),
            chat: Provider(chat, "openai", "https://llm.example/v1"),
        },
        {deployment.id: deployment for deployment in deployments},
        {operation.id: operation for operation in operations},
    )


def registered(operation_id, **changed):
    fields = {"name": "n", "kind": "graphql", "purpose": "support", "deployments": ("api",)}
    return Operation(id=OperationId(operation_id), **{**fields, **changed})


def test_new_document_is_added_with_the_only_choices_there_are():
    merged = merge([USER], {}, plan(), Settings())
    table = merged.tables[NAME]
    assert (table.purpose, table.deployments, table.id) == ("support", ("api",), ID)
    assert table.document == f"documents/User-{USER.digest[:12]}.graphql"
    assert (merged.added, merged.documents) == ((ID,), (USER,))


def test_same_import_again_changes_nothing():
    first = merge([USER], {}, plan(), Settings())
    again = merge([USER], first.tables, plan(registered(ID)), Settings())
    assert again.tables == first.tables
    assert (again.added, again.changed, again.unchanged) == ((), (), (ID,))


def test_operators_own_changes_survive_another_import():
    tables = merge([USER], {}, plan(), Settings()).tables
    mine = {
        NAME: msgspec.structs.replace(tables[NAME], tenants=("T",), aliases=("user",), name="U")
    }
    assert merge([USER], mine, plan(), Settings()).tables == mine


def test_settings_that_are_given_change_what_stands():
    tables = merge([USER], {}, plan(), Settings()).tables
    world = plan(purposes=("support", "research"), graphql=("api", "spare"))
    merged = merge([USER], tables, world, Settings("research", ("spare", "api")))
    assert merged.changed == (ID,)
    assert merged.tables[NAME].purpose == "research"
    assert merged.tables[NAME].deployments == ("spare", "api")


def test_document_that_left_the_manifest_stays():
    other = Document("{ other }", "", "query")
    tables = merge([USER], {}, plan(), Settings()).tables
    assert list(merge([other], tables, plan(), Settings()).tables) == [
        NAME,
        f"anonymous-{other.digest[:12]}",
    ]


def test_document_registered_in_another_file_is_unchanged():
    merged = merge([USER], {}, plan(registered(ID)), Settings())
    assert (merged.tables, merged.unchanged) == ({}, (ID,))


def test_same_text_twice_is_one_operation_with_both_ids():
    one = msgspec.structs.replace(USER, alias="first")
    other = msgspec.structs.replace(USER, alias="second")
    merged = merge([one, other, one], {}, plan(), Settings())
    assert merged.tables[NAME].aliases == ("first", "second")
    assert (merged.added, merged.changed, merged.unchanged) == ((ID,), (), ())


def test_table_that_the_operator_renamed_is_found_by_its_id():
    tables = {"profile": merge([USER], {}, plan(), Settings()).tables[NAME]}
    merged = merge([USER], tables, plan(registered(ID)), Settings())
    assert (merged.tables, merged.unchanged) == (tables, (ID,))


def test_new_id_of_a_known_document_is_a_change_wherever_it_stands():
    tables = merge([USER], {}, plan(), Settings()).tables
    other = msgspec.structs.replace(USER, alias="second")
    merged = merge([USER, other], tables, plan(registered(ID)), Settings())
    assert (merged.added, merged.changed, merged.unchanged) == ((), (ID,), ())
    assert merged.tables[NAME].aliases == ("second",)


@pytest.mark.parametrize(
    "owner", [registered("gpt-4o"), registered("other", aliases=("gpt-4o",))], ids=["id", "alias"]
)
def test_document_cannot_take_over_the_name_of_another_operation(owner):
    document = msgspec.structs.replace(USER, alias="gpt-4o")
    merged = merge([document], {}, plan(owner), Settings())
    assert merged.tables == {}
    assert owner.id in merged.refused[0].reason


def test_two_documents_cannot_share_one_id():
    one = msgspec.structs.replace(USER, alias="a1")
    other = Document("{ other }", "", "query", alias="a1")
    merged = merge([one, other], {}, plan(), Settings())
    assert list(merged.tables) == [NAME]
    assert [refused.name for refused in merged.refused] == [f"sha256:{other.digest}"]


@pytest.mark.parametrize(
    ("world", "settings", "detail"),
    [
        (plan(purposes=("a", "b")), Settings(), "2 purposes"),
        (plan(graphql=("one", "two")), Settings(), "2 deployments"),
        (plan(graphql=()), Settings(), "0 deployments"),
        (plan(), Settings(purpose="suport"), "did you mean support"),
        (plan(), Settings(deployments=("chat",)), "no deployment 'chat' that runs GraphQL"),
    ],
)
def test_setting_that_is_open_or_wrong_is_asked_for(world, settings, detail):
    with pytest.raises(OperatorError, match=detail):
        merge([USER], {}, world, settings)
