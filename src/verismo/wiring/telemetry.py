"""Composes telemetry (interim)."""

import asyncio
from pathlib import Path

from verismo.config.schema import Config
from verismo.ports.telemetry import Answered, Telemetry


class _Silent:
    def answered(self, sample: Answered) -> None: ...
    def tried(self, deployment: str, outcome: str) -> None: ...
    def failed_closed(self, reason: str) -> None: ...
    def unidentified(self, code: str) -> None: ...
    def breaker(self, deployment: str, is_open: bool) -> None: ...
    def in_flight(self, count: int) -> None: ...
    def samples_trace(self, parent_sampled: bool | None) -> bool:
        return False


def open_telemetry(config: Config) -> Telemetry:
    return _Silent()


async def serve_telemetry(data: Path, slot: str, telemetry: Telemetry) -> asyncio.Server:
    (data / "run").mkdir(exist_ok=True)
    return await asyncio.start_unix_server(lambda r, w: w.close(), data / "run" / f"{slot}.sock")
