"""The demo's folder: a valid configuration whose own parts follow the ports of each start."""

import re

import pytest

from verismo.cli.demofolder import Ports, prepare_folder
from verismo.cli.demostart import TENANT
from verismo.cli.regressionfolder import prepare_regression
from verismo.config.load import load_config

ALL = Ports(simulator=20_001, tools=20_002, agent=20_003)
PLAIN = Ports(simulator=20_001)


def operations(path) -> dict[str, tuple[str, ...]]:
    return {one.id: one.deployments for one in load_config(path).plan.operations.values()}


def urls(path) -> dict[str, str]:
    return {one.id: one.base_url for one in load_config(path).plan.providers.values()}


def test_the_agents_parts_are_registered_where_they_listen(tmp_path):
    path = prepare_folder(tmp_path, ALL)
    assert {"support.answer", "docs.agent", "docs.tools", "docs.reader"} <= set(operations(path))
    assert urls(path)["docs-tools"] == "http://127.0.0.1:20002"
    assert urls(path)["docs-agent"] == "http://127.0.0.1:20003"
    assert urls(path)["simulator"] == "http://127.0.0.1:20001/v1"


def test_the_next_start_has_its_own_ports_and_nothing_twice(tmp_path):
    prepare_folder(tmp_path, ALL)
    path = prepare_folder(tmp_path, Ports(simulator=20_011, tools=20_012, agent=20_013))
    assert urls(path)["docs-tools"] == "http://127.0.0.1:20012"
    assert urls(path)["simulator"] == "http://127.0.0.1:20011/v1"
    assert not {"127.0.0.1:20001", "127.0.0.1:20002", "127.0.0.1:20003"} & set(
        re.findall(r"127\.0\.0\.1:\d+", path.read_text())
    )


def test_what_a_user_changed_in_the_folder_stays(tmp_path):
    path = prepare_folder(tmp_path, ALL)
    changed = path.read_text().replace("budget_usd_per_day = 10\n", "budget_usd_per_day = 11\n")
    path.write_text(changed)
    prepare_folder(tmp_path, ALL)
    assert "budget_usd_per_day = 11\n" in path.read_text()


def test_a_folder_from_before_there_was_an_agent_gets_its_parts(tmp_path):
    path = prepare_folder(tmp_path, PLAIN)
    assert "docs.agent" not in operations(path)
    prepare_folder(tmp_path, ALL)
    assert "docs.agent" in operations(path)


def test_without_the_extra_the_agents_parts_go(tmp_path):
    prepare_folder(tmp_path, ALL)
    path = prepare_folder(tmp_path, PLAIN)
    assert "docs.agent" not in operations(path)
    assert "docs-tools" not in urls(path)


def test_a_model_on_this_machine_reads_for_the_agent(tmp_path):
    ports = Ports(simulator=20_001, tools=20_002, agent=20_003, model=20_004)
    path = prepare_folder(tmp_path, ports)
    assert operations(path)["docs.reader"] == ("smollm2",)
    assert operations(path)["support.small"] == ("smollm2",)
    assert urls(path)["smollm2"] == "http://127.0.0.1:20004/v1"


@pytest.mark.parametrize("ports", [ALL, PLAIN])
def test_the_tenant_may_reach_the_demos_models(tmp_path, ports):
    config = load_config(prepare_folder(tmp_path, ports))
    assert {"simulated-*", "smollm2-*"} <= set(config.plan.tenants[TENANT].models)


def candidates(path) -> tuple[str, ...]:
    return load_config(path).plan.operations["support.answer"].candidates


def test_commands_find_the_control_api_in_the_configuration(tmp_path):
    for port in (20_005, 20_006):
        path = prepare_folder(tmp_path, Ports(simulator=20_001, control=port))
        assert load_config(path).control.port == port


def test_the_demos_operation_has_one_candidate_however_often_it_starts(tmp_path):
    for _ in range(3):
        path = prepare_folder(tmp_path, ALL)
    assert candidates(path) == ("chat-us-next",)
    assert path.read_text().count("[deployments.chat-us-next]") == 1


def test_a_folder_from_before_there_was_a_candidate_gets_one(tmp_path):
    path = prepare_folder(tmp_path, PLAIN)
    text, found, after = path.read_text().partition("\n# For `verismo canary start`")
    assert found
    path.write_text(text + after[after.index("\n\n#") :])
    chat = tmp_path / "operations" / "chat.toml"
    chat.write_text(chat.read_text().replace('candidates = ["chat-us-next"]\n', ""))
    assert candidates(path) == ()
    assert candidates(prepare_folder(tmp_path, PLAIN)) == ("chat-us-next",)


def test_an_operation_that_a_user_changed_or_removed_stays_without_a_candidate(tmp_path):
    prepare_folder(tmp_path / "a", PLAIN)
    chat = tmp_path / "a" / "operations" / "chat.toml"
    chat.write_text(chat.read_text().replace('candidates = ["chat-us-next"]\n', "tenants = []\n"))
    assert candidates(prepare_folder(tmp_path / "a", PLAIN)) == ()
    chat.unlink()
    assert "support.answer" not in operations(prepare_folder(tmp_path / "a", PLAIN))


def test_both_scenarios_run_in_one_folder_in_any_order(tmp_path):
    def regression():
        return prepare_regression(tmp_path, 20_005, (20_006, 20_007), "http://127.0.0.1:9/card")

    for _ in range(2):
        assert "docs.agent" in operations(prepare_folder(tmp_path, ALL))
        found = operations(regression())
        assert found["support.rollout"] == ("stable",)
        assert "docs.agent" not in found
