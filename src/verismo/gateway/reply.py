"""Step 12, reply: the answer with its proof beside it."""

from verismo.attest.headers import stream_headers
from verismo.gateway.journey import Journey
from verismo.gateway.relay import MEDIA
from verismo.gateway.seal import Sealed, proven_headers
from verismo.model.errors import VerismoError
from verismo.model.traffic import Reply

Headers = list[tuple[bytes, bytes]]


def whole_reply(journey: Journey, sealed: Sealed, status: int, media: str, body: bytes) -> Reply:
    """Return a sealed and committed answer with its proof headers."""
    headers = proven_headers(journey, sealed, body)
    headers.append((b"content-type", media.encode("latin-1", "replace")))
    headers.append((b"x-request-id", journey.request.request_id.encode("latin-1")))
    return Reply(status=status, headers=headers, body=body)


def stream_reply_headers(journey: Journey) -> Headers:
    """Return the headers of a stream; its statement and signatures come inside it."""
    return [
        *stream_headers(journey.prov_id, journey.salt),
        (b"content-type", MEDIA.encode("ascii")),
        (b"cache-control", b"no-store"),
        (b"x-accel-buffering", b"no"),
        (b"x-request-id", journey.request.request_id.encode("latin-1")),
    ]


def refusal_headers(error: VerismoError) -> Headers:
    """Return the headers that belong to a refusal whichever door spells it."""
    if error.retry_after_s is None:
        return []
    return [(b"retry-after", str(error.retry_after_s).encode("ascii"))]


def unsigned_refusal(request_id: str, error: VerismoError, media: str, body: bytes) -> Reply:
    """Return a refusal from before identification, or of failing closed (decisions 15)."""
    headers: Headers = [
        (b"content-type", media.encode("ascii")),
        (b"cache-control", b"no-store"),
        (b"x-request-id", request_id.encode("latin-1")),
        *refusal_headers(error),
    ]
    if error.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="verismo"'))
    return Reply(status=error.status, headers=headers, body=body)
