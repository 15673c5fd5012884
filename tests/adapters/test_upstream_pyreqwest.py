"""pyreqwest behind the upstream port: conformance."""

from tests.ports.upstream_conformance import UpstreamConformance

from verismo.adapters.upstream_pyreqwest import PyreqwestUpstream
from verismo.adapters.upstream_settings import UpstreamSettings
from verismo.ports.upstream import Upstream


class TestConformance(UpstreamConformance):
    def make(self, settings: UpstreamSettings) -> Upstream:
        return PyreqwestUpstream(settings)
