"""What a simulation takes from the journals, and a worker's budgets over a data folder."""

import msgspec
import pytest
from tests.ports.journal_conformance import answer, void
from tests.support.gateway import Setup, configure

from verismo.adapters.budget_leased import LeasedBudget
from verismo.adapters.journal_sqlite import SqliteJournal
from verismo.model.ids import TenantId
from verismo.model.units import UsdMicros
from verismo.ports.budget import Claim
from verismo.wiring.budget import KeptBudget
from verismo.wiring.budgetdata import simulation_data

HOUR_MS = 3_600_000
START_MS = 1_790_000_000_000 // HOUR_MS * HOUR_MS
pytestmark = pytest.mark.slow


@pytest.fixture
def config(tmp_path):
    return configure(tmp_path, "http://127.0.0.1:9", Setup())


async def write(config, hours, slot="s0", operation="support.answer"):
    """Write an answer a minute for some hours, one of 100 micros each."""
    journal = SqliteJournal(config.data, slot, void)
    for n in range(hours * 60 + 1):
        one = answer(n + 1, cost=100)
        statement = msgspec.json.encode({"op": operation, "v": 1})
        at_ms = START_MS + n * 60_000
        await journal.append(msgspec.structs.replace(one, statement=statement, written_ms=at_ms))
    await journal.close()


async def test_tenant_s_own_records_are_replayed_where_there_are_two_hours(config):
    operation = next(iter(config.plan.operations))
    await write(config, 4, operation=operation)
    data = simulation_data(config, TenantId("TENANT_001"), None)
    assert data.source.kind == "recorded"
    assert (data.source.start_ms, data.source.end_ms) == (START_MS, START_MS + 4 * HOUR_MS)
    ((name, route),) = data.routes
    assert name == operation
    assert sum(route.offered) == 4 * 60 * 100
    assert route.history_bins == 720


async def test_records_of_other_tenants_and_of_an_hour_are_not_enough(config):
    operation = next(iter(config.plan.operations))
    await write(config, 4, operation=operation)
    assert simulation_data(config, TenantId("TENANT_002"), None).source.kind == "generated"


async def test_records_of_an_operation_that_is_gone_are_left_out(config):
    await write(config, 4, operation="gone")
    assert simulation_data(config, TenantId("TENANT_001"), None).source.kind == "generated"


def test_worker_that_ends_gives_its_lease_to_the_others(config):
    def limited(slot):
        return KeptBudget(config, slot, LeasedBudget).leased

    tenant = TenantId("TENANT_001")
    limit = config.plan.tenants[tenant].budget_usd_micros_per_day
    first = KeptBudget(config, "s0", LeasedBudget)
    now_ms = START_MS + 86_400_000 * 400
    held = first.leased.reserve(Claim("a", tenant, "chat", UsdMicros(limit)), now_ms)
    first.leased.settle(held, UsdMicros(0))
    first.close()
    second = limited("s1")
    assert second.reserve(Claim("b", tenant, "chat", UsdMicros(limit)), now_ms).amount == limit
    second.close()
