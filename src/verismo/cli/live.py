"""One live call for `verismo verify --url`: the answer, the key set and the graph, as an exchange.

Loaded only when a network is wanted, so that verifying offline loads no HTTP client.
"""

import base64
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx2
import msgspec

from verismo.attest.exchange import VERSION, Exchange, SavedRequest, SavedResponse
from verismo.model.errors import OperatorError

JWKS_PATH = "/.well-known/attest/jwks.json"
CHAT_PATH = "/v1/chat/completions"
TIMEOUT_S = 120.0
FETCHED_BYTES_MAX = 33_554_432
"""What the gateway may answer at most (`limits.response_bytes_max`); a verifier must end too."""
PROOF_WAIT_S = 30.0
"""A checkpoint comes every second; a gateway that starts again catches up in some more."""
RETRY_S_MIN = 0.05
RETRY_S_MAX = 5.0
EARLY = 0.25
"""A proof that is pending comes within the second that the header has to be rounded up to."""

_PENDING = frozenset({409, 503})
"""Not under a checkpoint yet; or the ledger cannot be read at this moment."""


class Call(msgspec.Struct, frozen=True):
    """What to ask a gateway.

    Args:
        url: the gateway's address without a path, such as `http://127.0.0.1:8080`.
        key: an API key.
        model: the operation or an alias of it.
        prompt: the user's message.
        stream: whether to ask for a stream.
        nonce: `Attest-Nonce` to send; empty for a fresh random one.
        path: another door than chat completions; `model` then counts for nothing.
        content: the JSON body for that door.
    """

    url: str
    key: str
    model: str
    prompt: str
    stream: bool = False
    nonce: str = ""
    path: str = CHAT_PATH
    content: bytes = b""


class _Provenance(msgspec.Struct, frozen=True):
    """The part of a provenance record that is verified here."""

    graph: msgspec.Raw


def fetch(url: str) -> bytes:
    """Fetch a public document.

    Raises:
        OperatorError: it cannot be had; check the address.
    """
    with _client() as client:
        status, _, body = _send(client, client.build_request("GET", url))
    if status != 200:
        raise OperatorError(f"{url} answers {status}", next_step="Check the address.")
    return body


def fetch_with_key(url: str, key: str) -> bytes | None:
    """Fetch a record that a key may read; None if it answers 404.

    Raises:
        OperatorError: it cannot be had; check the address and the key.
    """
    with _client() as client:
        headers = {"authorization": f"Bearer {key}"}
        status, _, body = _send(client, client.build_request("GET", url, headers=headers))
    if status == 404:
        return None
    if status != 200:
        advice = {401: "Check the API key.", 410: "Its tenant was erased."}
        raise OperatorError(
            f"{url} answers {status}", next_step=advice.get(status, "Check the address.")
        )
    return body


@contextmanager
def open_site(prefix: str) -> Iterator[Callable[[str], bytes | None]]:
    """Open a log at an address; what is yielded returns the file at a path, None if it answers 404.

    Raises:
        OperatorError: by what is yielded: it cannot be had; check the address.
    """
    base = prefix.rstrip("/")
    with _client() as client:

        def read(path: str) -> bytes | None:
            url = f"{base}/{path}"
            status, _, body = _send(client, client.build_request("GET", url))
            if status == 404:
                return None
            if status != 200:
                raise OperatorError(f"{url} answers {status}", next_step="Check the address.")
            return body

        yield read


def with_proof(asked: Call, answered: Exchange) -> Exchange:
    """Return an exchange with its proof file, waiting until it is under a checkpoint.

    Args:
        asked: the call.
        answered: what it brought; unchanged if it names no answer.

    Raises:
        OperatorError: there is none within half a minute, or the gateway has no ledger.
    """
    prov_id = dict(answered.response.headers).get("attest-prov-id", "")
    if not prov_id:
        return answered
    proof = _fetch_proof(asked, prov_id)
    return msgspec.structs.replace(answered, proof=proof)


def _fetch_proof(asked: Call, prov_id: str) -> str:
    url = f"{asked.url.rstrip('/')}/v1/attest/{prov_id}/proof"
    ends_s = time.monotonic() + PROOF_WAIT_S
    with _client() as client:
        headers = {"authorization": f"Bearer {asked.key}"}
        while True:
            request = client.build_request("GET", url, headers=headers)
            status, pairs, body = _send(client, request)
            pause_s = _retry_after_s(pairs) * (EARLY if status == 409 else 1)
            if status not in _PENDING or time.monotonic() + pause_s > ends_s:
                break
            time.sleep(pause_s)
    if status != 200:
        raise OperatorError(
            f"{url} answers {status}",
            next_step="Without `--with-proof` it verifies as before; ask for the proof later.",
        )
    return _decoded(url, body)


def _retry_after_s(pairs: tuple[tuple[str, str], ...]) -> float:
    stated = dict(pairs).get("retry-after", "")
    given_s = int(stated) if stated.isascii() and stated.isdigit() else RETRY_S_MAX
    return min(max(given_s, RETRY_S_MIN), RETRY_S_MAX)


def _decoded(url: str, body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise OperatorError(
            f"{url} answers something else than a proof",
            next_step="Check that the address is a Verismo gateway's.",
        ) from error


def call(asked: Call) -> Exchange:
    """Make one call and return it with the gateway's key set and the answer's graph.

    Raises:
        OperatorError: the gateway cannot be reached or publishes no key set.
    """
    base = asked.url.rstrip("/")
    nonce = asked.nonce or secrets.token_urlsafe(24)
    body = asked.content or msgspec.json.encode(
        {
            "model": asked.model,
            "messages": [{"role": "user", "content": asked.prompt}],
            **({"stream": True} if asked.stream else {}),
        }
    )
    authorization = {"authorization": f"Bearer {asked.key}"}
    jwks = fetch(base + JWKS_PATH)
    with _client() as client:
        headers = {"content-type": "application/json", "attest-nonce": nonce, **authorization}
        request = client.build_request("POST", base + asked.path, headers=headers, content=body)
        status, pairs, answer = _send(client, request)
        prov_id = dict(pairs).get("attest-prov-id", "")
        graph = _graph(client, f"{base}/v1/prov/{prov_id}", authorization) if prov_id else None
    return Exchange(
        v=VERSION,
        request=SavedRequest("POST", asked.path, body_text=body.decode("utf-8")),
        response=SavedResponse(status, pairs, body_base64=base64.b64encode(answer).decode("ascii")),
        nonce=nonce,
        jwks=msgspec.Raw(jwks),
        graph=graph,
    )


def _graph(client: httpx2.Client, url: str, headers: dict[str, str]) -> str | None:
    status, _, body = _send(client, client.build_request("GET", url, headers=headers))
    if status != 200:
        return None
    try:
        return bytes(msgspec.json.decode(body, type=_Provenance).graph).decode("utf-8")
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise OperatorError(
            f"{url} answers something else than a record: {error}",
            next_step="Check that the address is a Verismo gateway's.",
        ) from error


def _client() -> httpx2.Client:
    return httpx2.Client(timeout=TIMEOUT_S, headers={"accept-encoding": "identity"})


def _send(
    client: httpx2.Client, request: httpx2.Request
) -> tuple[int, tuple[tuple[str, str], ...], bytes]:
    """Send and read everything; a stream that breaks off gives what arrived."""
    body = bytearray()
    try:
        response = client.send(request, stream=True)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise OperatorError(
            f"{request.url} cannot be reached: {error}", next_step="Check the address."
        ) from error
    try:
        for piece in response.iter_bytes():
            body += piece
            if len(body) > FETCHED_BYTES_MAX:
                break
    except httpx2.HTTPError as error:
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            raise OperatorError(f"{request.url} broke off: {error}", next_step="Retry.") from error
    finally:
        response.close()
    return response.status_code, tuple(response.headers.multi_items()), bytes(body)
