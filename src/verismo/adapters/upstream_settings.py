"""What an operator may set about the connections to providers; both upstream adapters take it."""

import msgspec


class UpstreamSettings(msgspec.Struct, frozen=True):
    """How connections to providers are pooled and how much an answer's frame may weigh.

    Args:
        connections_max: connections to one origin (scheme, host, port). The keep-alive client
            lets further calls wait their turn; pyreqwest keeps no more than this many idle ones.
            The default equals `limits.in_flight_max`, so that a long stream never makes a short
            call wait.
        idle_ms: how long an unused connection is kept. Below the 5 s after which uvicorn and
            Node.js servers hang up, so that a call rarely meets a connection being closed.
        accept_gzip: ask for compressed answers. Off in the keep-alive client: inflating costs the
            event loop more than loopback or a data centre's network saves.
        roots_pem: further trusted certificates (PEM), beside those of the system.
        head_bytes_max: status line and headers of an answer together, and trailers again.
        headers_max: number of header lines; hyper, below pyreqwest, has the same fixed limit.
        read_ahead_bytes_max: received but unread octets of one answer after which the socket is
            not read any more until the consumer catches up.
    """

    connections_max: int = 1_024
    idle_ms: int = 4_000
    accept_gzip: bool = False
    roots_pem: bytes = b""
    head_bytes_max: int = 65_536
    headers_max: int = 100
    read_ahead_bytes_max: int = 262_144
