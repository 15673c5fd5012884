"""What an application imports: transports that verify answers first, and the recorder of runs."""

from verismo.client.errors import SealRefused
from verismo.client.recorder import bound, carry, carry_async
from verismo.client.runs import AsyncRun, Run, run
from verismo.client.sealing import Seal
from verismo.client.steps import retrieval, source, step, tool

__all__ = [
    "AsyncRun",
    "Run",
    "Seal",
    "SealRefused",
    "bound",
    "carry",
    "carry_async",
    "retrieval",
    "run",
    "source",
    "step",
    "tool",
]
