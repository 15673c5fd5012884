"""Serves the published logs as they lie in their folder: checkpoint, tiles and entry bundles.

Nothing is computed and nobody is asked who they are: the logs are public, and any static file
server would do the same. Only the paths of the format are looked up, in their one spelling.

Source: C2SP tlog-tiles.
"""

import logging

from verismo.attest.tile import Tile, TileRefused, parse_entries_path
from verismo.model.errors import MethodNotAllowed, NotFound, Overloaded, StateError
from verismo.model.ledger import LogId, read_log_id
from verismo.model.traffic import Reply
from verismo.ports.ledger import TileReader

LOG_PREFIX = "/log/"
CHECKPOINT = "checkpoint"
COSIGNED = "cosigned"
"""The largest checkpoint that a quorum of witnesses has cosigned; no part of the format."""
RETRY_S = 5

_OPEN = (b"access-control-allow-origin", b"*")
_CHECKPOINT_HEADERS = [
    (b"content-type", b"text/plain; charset=utf-8"),
    # A new one comes every second.
    (b"cache-control", b"public, max-age=1"),
    _OPEN,
]
_TILE_HEADERS = [
    (b"content-type", b"application/octet-stream"),
    (b"cache-control", b"public, max-age=31536000, immutable"),
    _OPEN,
]

log = logging.getLogger("verismo.gateway")


class LogFiles:
    """Answers `GET` and `HEAD` of `/log/<region>/<yyyy>/...`.

    Args:
        tiles: reads what is published.
    """

    def __init__(self, tiles: TileReader) -> None:
        self._tiles = tiles

    def answer(self, method: str, path: str) -> Reply:
        """Answer a request.

        Args:
            method: of the request.
            path: as it was sent, beginning with `/log/`.

        Raises:
            NotFound: no such file, or no path of a log.
            MethodNotAllowed: neither GET nor HEAD.
            Overloaded: the folder cannot be read now.
        """
        if method not in ("GET", "HEAD"):
            raise MethodNotAllowed("this path takes GET and HEAD")
        found = _read_path(path)
        content = None if found is None else self._read(*found)
        if found is None or content is None:
            raise NotFound("no such file of a log")
        is_note = found[1] in (CHECKPOINT, COSIGNED)
        headers = _CHECKPOINT_HEADERS if is_note else _TILE_HEADERS
        return Reply(status=200, headers=list(headers), body=content)

    def _read(self, log_id: LogId, path: str) -> bytes | None:
        try:
            return self._tiles.read(log_id, path)
        except StateError as error:
            log.warning("log not readable", extra={"fields": {"error": error.detail}})
            raise Overloaded("the log cannot be read now", retry_after_s=RETRY_S) from error


def _read_path(path: str) -> tuple[LogId, str] | None:
    """Return the log and the path within it, None for anything that is not spelled that way."""
    region, _, rest = path[len(LOG_PREFIX) :].partition("/")
    year, _, name = rest.partition("/")
    log_id = read_log_id(region, year)
    if log_id is None:
        return None
    try:
        if name.startswith("tile/entries/"):
            parse_entries_path(name)
        elif name not in (CHECKPOINT, COSIGNED):
            Tile.from_path(name)
    except TileRefused:
        return None
    return log_id, name
