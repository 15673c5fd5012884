"""pyreqwest behind the upstream port: conformance."""

from tests.ports.upstream_conformance import UpstreamConformance

from verismo.adapters.upstream_pyreqwest import PyreqwestUpstream
from verismo.adapters.upstream_settings import UpstreamSettings
from verismo.model.operation import Timeouts
from verismo.ports.upstream import Upstream


class TestConformance(UpstreamConformance):
    """Falls short: before the headers, only the total deadline breaks an exchange off."""

    slow_head_timeouts = Timeouts(connect_ms=4_000, first_byte_ms=60, total_ms=150)
    cancelled_timeouts = Timeouts(connect_ms=4_000, first_byte_ms=4_000, total_ms=150)

    def make(self, settings: UpstreamSettings) -> Upstream:
        return PyreqwestUpstream(settings)
