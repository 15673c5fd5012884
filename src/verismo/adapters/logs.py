"""Structured logs: one JSON object a line on standard error, and never any content.

A record of ours says what happened in its message and gives facts in `fields`. What other people's
code puts into messages and exceptions may quote a request, so an exception is logged by its types
and places without its words, and of a foreign message only the first line is kept.

A line: `{"time": ..., "level": ..., "logger": ..., "message": ..., <fields>, "error": [...],
"stack": [...]}`.
"""

import json
import logging
import math
import sys
import traceback
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import TextIO

OURS = "verismo"
FOREIGN_CHARACTERS_MAX = 300
FRAMES_MAX = 20
CAUSES_MAX = 8

_QUIET = (
    "httpx2",
    "httpcore2",
    "httpx",
    "httpcore",
    "uvicorn",
    "uvicorn.error",
    "asyncio",
    "alembic",
)
"""Foreign loggers that say nothing of use below a warning; some name URLs there."""
_SILENT = "uvicorn.access"
"""Logs paths and addresses; our own `request` line stands for it."""

_Plain = str | int | float | bool | None


def set_up_logs(level: str, worker: str = "", stream: TextIO | None = None) -> logging.Handler:
    """Send every logger of this process to one JSON stream; call it once, before the first log.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        worker: the slot, put on every line; empty for none.
        stream: where to; standard error by default.

    Returns:
        The handler, so that a test can take it away again.
    """
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonFormatter({"worker": worker} if worker else {}))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(max(logging.WARNING, root.level))
    logging.getLogger(_SILENT).disabled = True
    return handler


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON.

    Args:
        constant: fields of every line.
    """

    def __init__(self, constant: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._constant = dict(constant or {})

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        moment = datetime.fromtimestamp(record.created, tz=UTC)
        line: dict[str, _Plain | list[str]] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
            **self._constant,
        }
        fields = getattr(record, "fields", None)
        if isinstance(fields, Mapping):
            for name, value in fields.items():
                line.setdefault(str(name), _plain(value))
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = list(_types(record.exc_info[1]))
            line["stack"] = _places(record.exc_info[2])
        return json.dumps(line, allow_nan=False, separators=(",", ":"))


def _message(record: logging.LogRecord) -> str:
    try:
        message = record.getMessage()
    except (TypeError, ValueError):
        # Arguments that do not fit their template: a mistake, but no reason to lose the record.
        message = str(record.msg)
    if record.name == OURS or record.name.startswith(f"{OURS}."):
        return message
    # asyncio appends the repr of a task, and with it an exception's words, on further lines.
    return message.partition("\n")[0][:FOREIGN_CHARACTERS_MAX]


def _plain(value: object) -> _Plain:
    """Return a value that JSON can say; anything else by its `str`, which masks secrets."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return str(value)


def _types(error: BaseException) -> Iterator[str]:
    """Yield the names of an exception's type and of what caused it."""
    current: BaseException | None = error
    for _ in range(CAUSES_MAX):
        if current is None:
            return
        yield f"{type(current).__module__}.{type(current).__qualname__}"
        current = current.__cause__ or current.__context__


def _places(trace: TracebackType | None) -> list[str]:
    """Return where an exception came through, innermost last, without source lines or values."""
    frames = traceback.extract_tb(trace)[-FRAMES_MAX:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
