"""What every record of erasures must do (port: `verismo.ports.erasures`).

A subclass gives two fixtures: `erasures`, fresh and empty, and `erasures_elsewhere`, a second
opening of the same store.
"""

from verismo.model.ids import TenantId
from verismo.ports.erasures import Erasures

ONE, OTHER = TenantId("TENANT_001"), TenantId("TENANT_002")


class ErasuresConformance:
    def test_nobody_is_erased_at_first(self, erasures: Erasures):
        assert not erasures.is_erased(ONE)
        assert erasures.erased() == {}

    def test_erased_tenant_is_known_everywhere_at_once_and_no_other(
        self, erasures: Erasures, erasures_elsewhere: Erasures
    ):
        assert not erasures_elsewhere.is_erased(ONE)
        erasures.record(ONE, 5_000)
        for one in (erasures, erasures_elsewhere):
            assert one.is_erased(ONE)
            assert not one.is_erased(OTHER)
            assert one.erased() == {ONE: 5_000}

    def test_first_time_stays(self, erasures: Erasures, erasures_elsewhere: Erasures):
        erasures.record(ONE, 5_000)
        erasures_elsewhere.record(ONE, 6_000)
        assert erasures.erased() == {ONE: 5_000}
