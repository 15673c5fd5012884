"""The demo's folder: a valid configuration whose own parts follow the ports of each start."""

import re

import pytest

from verismo.cli.demofolder import Ports, prepare_folder
from verismo.cli.demostart import TENANT
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
