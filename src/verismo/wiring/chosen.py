"""Loads the parts of a process that a configuration chooses, with all that they need.

What is not chosen is not imported: HTTP clients and protocols that nothing uses would delay every
start. This is the one place where the composition imports by name. The policy is always chosen, but
what looks at it before anything starts also runs where the interpreter is not installed.
"""

import importlib
from contextlib import closing
from typing import TYPE_CHECKING

from verismo.config.schema import Config
from verismo.model.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Callable

    from verismo.control.scaling import ScalingShell
    from verismo.control.windowreads import WindowReads
    from verismo.ports.decisions import DecisionReader
    from verismo.ports.policy import PolicyEngine
    from verismo.ports.spans import SpanCodec
    from verismo.wiring.cards import Cards
    from verismo.wiring.scaling import ScalingGauges
    from verismo.wiring.siem import SiemLoop
    from verismo.wiring.slo import SloLoop
    from verismo.wiring.witnessing import WitnessLoop


def protobuf_spans() -> "SpanCodec":
    """Return what reads OTLP in Protocol Buffers; only where agents may report spans."""
    codec: SpanCodec = importlib.import_module("verismo.adapters.otlp_proto").ProtobufSpans()
    return codec


def policy_digest(config: Config) -> str:
    """Load the policy as a worker would, to find out whether one could, and return its digest.

    Raises:
        StateError: the bundle is refused; the detail names file and line.
        OperatorError: the interpreter is not installed, or broken.
    """
    with closing(loaded_policy(config)) as engine:
        return engine.bundle


def loaded_policy(config: Config) -> "PolicyEngine":
    """Return the policy as a worker would load it, for the calling thread; close it.

    Raises:
        StateError: the bundle is refused; the detail names file and line.
        OperatorError: the interpreter is not installed, or broken.
    """
    try:
        engine: PolicyEngine = importlib.import_module("verismo.wiring.policy").open_policy(
            config.policy
        )
    except ImportError as error:
        raise OperatorError(
            f"the policy cannot be loaded without its interpreter: {error}",
            next_step="Run: pip install 'verismo[gateway]'",
        ) from error
    return engine


def scaling_shell(
    config: Config, decisions: "DecisionReader", reads: "WindowReads", now_ms: "Callable[[], int]"
) -> "ScalingShell | None":
    """Return what decides about replicas; None without a target."""
    if not config.scaling:
        return None
    module = importlib.import_module("verismo.wiring.scaling")
    shell: ScalingShell = module.open_scaling(config, decisions, reads, now_ms)
    return shell


def scaling_gauges(config: Config) -> "ScalingGauges | None":
    """Return what shows the replicas that are decided; None without a target."""
    if not config.scaling:
        return None
    gauges: ScalingGauges = importlib.import_module("verismo.wiring.scaling").ScalingGauges(config)
    return gauges


def slo_loop(config: Config) -> "SloLoop | None":
    """Return what keeps error budgets; None without an objective."""
    if not config.slos:
        return None
    loop: SloLoop = importlib.import_module("verismo.wiring.slo").SloLoop(config)
    return loop


def slack_cards(config: Config) -> "Cards | None":
    """Return what posts cards of decisions; None without a webhook."""
    webhook = config.slack.webhook
    if webhook is None:
        return None
    cards: Cards = importlib.import_module("verismo.wiring.cards").Cards(config.slack, webhook)
    return cards


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
