"""A gateway's `/v1/traces` on a socket; keeps what agents report, and fails as it is told."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from verismo.gateway.otlp_json import JsonSpans
from verismo.gateway.reported import reported_hop
from verismo.model.run import ReportedHop
from verismo.ports.spans import ReceivedSpan

KEY = "vk_0000_test"


class SpanCollector:
    """What was reported, and what is answered."""

    def __init__(self) -> None:
        self.status = 200
        self.answer = b"{}"
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""

    @property
    def spans(self) -> list[ReceivedSpan]:
        """Every span that was taken, in the order of arrival."""
        return [span for body in self.bodies for span in JsonSpans().read(body, 10_000)]

    @property
    def hops(self) -> list[ReportedHop]:
        """What the gateway makes of them."""
        return [reported_hop(span) for span in self.spans]

    def hop(self, name: str) -> ReportedHop:
        """Return the one hop of that tool, agent or data source."""
        found = [hop for hop in self.hops if name in hop.attrs.values()]
        assert len(found) == 1, (name, found)
        return found[0]


@contextmanager
def collecting() -> Iterator[SpanCollector]:
    """Run a collector while the block runs."""
    collector = SpanCollector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one segment: in two, each answer waits for an ACK

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path == "/v1/traces" and collector.status == 200:
                collector.bodies.append(body)
                collector.headers.append({k.lower(): v for k, v in self.headers.items()})
            self.send_response(collector.status)
            self.send_header("content-length", str(len(collector.answer)))
            self.end_headers()
            self.wfile.write(collector.answer)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
