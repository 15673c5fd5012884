"""An exchange out of what curl kept of it: headers by `-D`, the body by `-o`."""

import base64
from pathlib import Path

import msgspec

from verismo.attest.exchange import VERSION, Exchange, SavedRequest, SavedResponse
from verismo.model.errors import OperatorError


class Kept(msgspec.Struct, frozen=True):
    """What curl kept.

    Args:
        headers: as `curl -D FILE` writes them.
        body: as `curl -o FILE` writes it.
        request: the request's body; None if it was not kept.
        method: of the request.
        path: of the request, with its query if it had one.
    """

    headers: Path
    body: Path
    request: Path | None = None
    method: str = "POST"
    path: str = ""


def read_kept(kept: Kept) -> Exchange:
    """Return the exchange.

    Raises:
        OperatorError: the headers are not what curl writes.
    """
    status, headers = _curl_headers(kept.headers)
    request = None
    if kept.request is not None:
        path, _, query = kept.path.partition("?")
        body = _base64(kept.request.read_bytes())
        request = SavedRequest(kept.method.upper(), path, query, body)
    body = _base64(kept.body.read_bytes())
    return Exchange(
        v=VERSION, request=request, response=SavedResponse(status, headers, body_base64=body)
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _curl_headers(path: Path) -> tuple[int, tuple[tuple[str, str], ...]]:
    """Read what `curl -D` wrote: the last block counts, those before are interim answers."""
    text = path.read_bytes().decode("latin-1").replace("\r\n", "\n")
    blocks = [block for block in text.split("\n\n") if block.startswith("HTTP/")]
    if not blocks:
        raise OperatorError(
            f"{path} holds no response headers", next_step="Write it with `curl -D FILE`."
        )
    first, *lines = blocks[-1].strip("\n").split("\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not (words[1].isascii() and words[1].isdigit()):
        raise OperatorError(f"{path} has no status line", next_step="Write it with `curl -D FILE`.")
    pairs = [line.partition(":") for line in lines]
    return int(words[1]), tuple((name, value.strip(" \t")) for name, _, value in pairs)
