"""What the request path works with: one desk for each worker, one visit for each request."""

import msgspec

from verismo.gateway.admit import Admission
from verismo.gateway.call import Dispatcher
from verismo.gateway.capture import Capture
from verismo.gateway.choose import Breakers
from verismo.gateway.identify import Caller
from verismo.gateway.observe import Observer
from verismo.gateway.report import Reporter
from verismo.gateway.runs import Runs
from verismo.gateway.seal import Sealer
from verismo.gateway.snapshot import Snapshot, SnapshotCell
from verismo.model.limits import Limits
from verismo.ports.cache import AnswerCache
from verismo.ports.journal import Journal
from verismo.ports.policy import PolicyEngine
from verismo.ports.prices import Prices
from verismo.ports.telemetry import Telemetry


class Visit(msgspec.Struct, frozen=True):
    """Who asks, and the configuration in force when the request began.

    Args:
        snapshot: the whole request keeps it.
        caller: found by the API key.
    """

    snapshot: Snapshot
    caller: Caller


class Desk(msgspec.Struct, frozen=True):
    """Everything that the request path of one worker works with.

    Args:
        snapshot: the configuration and keys in force.
        sealer: signs answers.
        journal: makes them durable.
        policy: decides.
        admission: rates and budgets.
        cache: exact answers.
        breakers: state of the deployments.
        dispatcher: calls them.
        prices: for costs.
        capture: encrypts content for tenants that want it kept.
        observer: counts what observe mode lets through.
        reporter: tells telemetry how each request ended.
        telemetry: counters.
        limits: named limits.
        runs: joins the calls of agents, None where no agent is registered.
    """

    snapshot: SnapshotCell
    sealer: Sealer
    journal: Journal
    policy: PolicyEngine
    admission: Admission
    cache: AnswerCache
    breakers: Breakers
    dispatcher: Dispatcher
    prices: Prices
    capture: Capture
    observer: Observer
    reporter: Reporter
    telemetry: Telemetry
    limits: Limits
    runs: Runs | None = None
