"""The own keep-alive client behind the upstream port: conformance."""

from tests.ports.upstream_conformance import UpstreamConformance

from verismo.adapters.upstream_keepalive import KeepAliveUpstream
from verismo.adapters.upstream_settings import UpstreamSettings
from verismo.ports.upstream import Upstream


class TestConformance(UpstreamConformance):
    def make(self, settings: UpstreamSettings) -> Upstream:
        return KeepAliveUpstream(settings)
