"""Composes a worker's telemetry, and the socket on which the control process asks for it."""

import asyncio
from pathlib import Path
from random import Random

from verismo.adapters.telemetry import TelemetrySettings, WorkerTelemetry
from verismo.adapters.telemetry_exposition import (
    read_expositions,
    serve_exposition,
    socket_path,
)
from verismo.config.schema import Config
from verismo.ports.telemetry import Telemetry

__all__ = [
    "close_telemetry",
    "open_telemetry",
    "read_expositions",
    "run_folder",
    "serve_telemetry",
    "socket_path",
]


def run_folder(data: Path) -> Path:
    """Return where the workers' sockets are, and what they share in memory."""
    return data / "run"


def open_telemetry(config: Config, slot: str) -> Telemetry:
    """Return a worker's counters, histograms and traces.

    Args:
        config: where traces go, and the names that become labels.
        slot: the worker's, such as `s0`.
    """
    telemetry = WorkerTelemetry(
        TelemetrySettings(
            worker=slot,
            otlp_endpoint=config.telemetry.otlp_endpoint,
            sample_ppm=config.telemetry.sample_ppm,
        ),
        Random(),
    )
    telemetry.know(config.plan)
    return telemetry


async def serve_telemetry(data: Path, slot: str, telemetry: Telemetry) -> asyncio.Server | None:
    """Serve a worker's metrics on its socket; None for a telemetry that has none to show.

    Raises:
        StateError: the socket's path is too long or cannot be written.
    """
    if not isinstance(telemetry, WorkerTelemetry):
        return None
    return await serve_exposition(socket_path(run_folder(data), slot), telemetry.expose)


def close_telemetry(telemetry: Telemetry) -> None:
    """Send the spans that are still queued."""
    if isinstance(telemetry, WorkerTelemetry):
        telemetry.close()
