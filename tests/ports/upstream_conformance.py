"""The suite that every adapter of the upstream port passes, over real sockets.

An adapter's test module derives one class from `UpstreamConformance` and defines `make`.
"""

from tests.ports.upstream_exchanges import Exchanges
from tests.ports.upstream_faults import Faults
from tests.ports.upstream_framing import Framing
from tests.ports.upstream_tls import Tls


class UpstreamConformance(Exchanges, Faults, Framing, Tls):
    """All groups together."""
