"""The suite that every adapter of the upstream port passes, over real sockets.

An adapter's test module derives one class from `UpstreamConformance` and defines `make`.
"""

from tests.ports.upstream_exchanges import Exchanges


class UpstreamConformance(Exchanges):
    """All groups together."""
