"""A simulated Kubernetes API server on a socket; `cluster` has what it answers.

It speaks the documented protocol, so that whoever scales Deployments can be tried without a
cluster. Everything that it answers says that it is simulated: the header `server`, the version, and
an annotation of each event.

Source: Kubernetes API, meta/v1 Status; API conventions, "Error codes".
"""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from verismo.model.canonical import Json
from verismo.model.errors import OperatorError
from verismo.simulate.cluster import Cluster, Refused, answer

SERVER: Final = "verismo-simulated-kubernetes"
BODY_BYTES_MAX: Final = 1_048_576
HANG_S_MAX: Final = 30.0
_REASONS: Final = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], cluster: Cluster) -> None:
        self.cluster = cluster
        self.ending = threading.Event()
        super().__init__(address, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that a client or a fault closed is no error here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def version_string(self) -> str:
        return SERVER

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing; `Cluster.asked` has what was asked."""

    def do_GET(self) -> None:
        self._handle()

    def do_PATCH(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()

    def _handle(self) -> None:
        cluster = self.server.cluster
        length = self.headers.get("content-length", "0")
        body = self.rfile.read(min(int(length) if length.isdecimal() else 0, BODY_BYTES_MAX))
        cluster.asked.append((self.command, self.path))
        fault = cluster.faults.popleft() if cluster.faults else "none"
        if fault == "hang":
            self.server.ending.wait(HANG_S_MAX)
        if fault in ("hang", "cut"):
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            if fault.isdecimal():
                raise Refused(int(fault), "a fault was ordered")
            found = answer(cluster, self.command, self.path, headers, body)
        except Refused as refusal:
            self._send(refusal.status, json.dumps(_status(refusal)).encode())
            return
        if fault == "lose":
            self.close_connection = True
            return
        self._send(200, b"<html>" if fault == "garbage" else json.dumps(found).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _status(refusal: Refused) -> dict[str, Json]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": refusal.message,
        "reason": _REASONS[refusal.status],
        "code": refusal.status,
    }


@contextmanager
def running_cluster(
    cluster: Cluster,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
) -> Iterator[str]:
    """Serve a cluster's API from a thread while the block runs.

    Args:
        cluster: what it holds.
        host: address to listen on.
        port: 0 takes a free one.
        tls: speaks HTTPS with it; None for HTTP.

    Yields:
        The base URL without a trailing slash.

    Raises:
        OperatorError: the address cannot be listened on.
    """
    try:
        server = _Server((host, port), cluster)
    except OSError as error:
        raise OperatorError(
            f"cannot listen on {host}:{port}: {error.strerror}",
            next_step="Choose another --port, or 0 for a free one.",
        ) from error
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="kubernetes", daemon=True
    )
    thread.start()
    try:
        yield f"{'http' if tls is None else 'https'}://{host}:{server.server_address[1]}"
    finally:
        server.ending.set()
        server.shutdown()
        server.server_close()
        thread.join()
