"""Loads the parts of a process that a configuration chooses, with all that they need.

What is not chosen is not imported: HTTP clients and protocols that nothing uses would delay every
start. This is the one place where the composition imports by name.
"""

import importlib
from typing import TYPE_CHECKING

from verismo.config.schema import Config

if TYPE_CHECKING:
    from verismo.ports.spans import SpanCodec
    from verismo.wiring.siem import SiemLoop
    from verismo.wiring.witnessing import WitnessLoop


def protobuf_spans() -> "SpanCodec":
    """Return what reads OTLP in Protocol Buffers; only where agents may report spans."""
    codec: SpanCodec = importlib.import_module("verismo.adapters.otlp_proto").ProtobufSpans()
    return codec


def siem_loop(config: Config) -> "SiemLoop | None":
    """Return what exports to SIEMs; None without a sink."""
    if not config.siem.sinks:
        return None
    loop: SiemLoop = importlib.import_module("verismo.wiring.siem").SiemLoop(config)
    return loop


def witness_loop(config: Config) -> "WitnessLoop | None":
    """Return what asks witnesses; None without a ledger or a policy that names any."""
    policy = config.witness.policy
    if policy is None or not config.ledger.enabled:
        return None
    module = importlib.import_module("verismo.wiring.witnessing")
    loop: WitnessLoop = module.WitnessLoop(config, policy)
    return loop
