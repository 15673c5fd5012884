"""How the control process knows which workers are not ready: each says so on a socket of its own.

The socket is beside that of the worker's metrics and is served in the same way: each connection is
answered with one short text. It is asked every second, so it is not part of the metrics, whose text
may be long.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from verismo.adapters.telemetry_exposition import read_expositions, serve_exposition, socket_path
from verismo.adapters.telemetry_readiness import readiness_lines
from verismo.wiring.telemetry import run_folder

LOOK_S = 1.0
"""How often the control process asks."""
_END = "# EOF"


def readiness_path(data: Path, slot: str) -> Path:
    """Return where a worker says whether it is ready."""
    return socket_path(run_folder(data), _name(slot))


async def serve_readiness(
    data: Path, slot: str, unready: Callable[[], Sequence[str]]
) -> asyncio.Server:
    """Say on a worker's socket why it is not ready, until the returned server is closed.

    Args:
        data: the data folder.
        slot: the worker's.
        unready: returns the reasons, none if it is ready; called in the event loop.

    Raises:
        StateError: the socket's path is too long or cannot be written.
    """

    def said() -> bytes:
        reasons = [reason.replace("\n", " ") for reason in unready()]
        return "".join(f"{line}\n" for line in [*reasons, _END]).encode("utf-8")

    return await serve_exposition(readiness_path(data, slot), said)


class Readiness:
    """What is known of the workers; the control process looks again and again.

    Args:
        data: the data folder.
        slots: the workers there should be.
    """

    def __init__(self, data: Path, slots: Callable[[], Sequence[str]]) -> None:
        self._data = data
        self._slots = slots
        self._said: dict[str, list[str]] = {}

    async def look(self) -> None:
        """Ask every worker; one that hangs is waited for 2 s."""
        slots = self._slots()
        texts = await read_expositions(run_folder(self._data), [_name(slot) for slot in slots])
        self._said = {slot: _reasons(texts[_name(slot)]) for slot in slots}

    def unready(self) -> list[str]:
        """Say which workers are down, as it is now, and why others are not ready, as last seen."""
        reasons: list[str] = []
        for slot in self._slots():
            if self._is_down(slot):
                reasons.append(f"worker {slot} is down")
            else:
                reasons += [f"worker {slot}: {reason}" for reason in self._said.get(slot, ())]
        return reasons

    async def expose(self) -> list[str]:
        """Return which workers are ready, as last seen, as lines of OpenMetrics."""
        up = {slot: said for slot, said in self._said.items() if not self._is_down(slot)}
        return readiness_lines({slot: not said for slot, said in up.items()})

    def _is_down(self, slot: str) -> bool:
        """Say whether a worker takes no connection; local, so it does not wait."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            try:
                probe.connect(str(readiness_path(self._data, slot)))
            except OSError:
                return True
        return False


def _name(slot: str) -> str:
    return f"{slot}.ready"


def _reasons(text: bytes) -> list[str]:
    if not text:
        return ["does not say whether it is ready; if this goes on, see its log"]
    return text.decode("utf-8", "replace").splitlines()[:-1]
