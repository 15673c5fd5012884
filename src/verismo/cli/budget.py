"""`verismo budget`: how routes' budgets stand, limits by hand, and a simulation of the rules.

`freeze`, `raise`, `static` and `resume` become acts of the control API: recorded with their reason
and their author, signed, and told to the gateways before the command answers.
"""

import time
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final, TypedDict, TypeVar, Unpack

import click
import msgspec

from verismo.adapt.budgetact import LIMIT
from verismo.cli.budgetsimulate import simulate
from verismo.cli.controlapi import (
    ControlClient,
    control_options,
    open_control,
    reach_control,
)
from verismo.cli.options import Lifetime, columns, json_option, moment, printable
from verismo.config.schema import Config
from verismo.control.acts import DecisionView, NewAct
from verismo.control.budgetrecords import THROTTLING
from verismo.control.reasonwords import in_words
from verismo.control.rules import BUDGET_ACT, BUDGET_LIMIT
from verismo.model.act import Verb
from verismo.model.decision import Subject
from verismo.model.errors import OperatorError
from verismo.model.ids import TenantId
from verismo.model.steering import Throttle
from verismo.model.units import moment_utc
from verismo.wiring.shells import budget_terms

Command = TypeVar("Command", bound=Callable[..., object])
MICROS: Final = 1_000_000
_SET: Final = {
    "freeze": "the limit frozen at {usd} USD a minute",
    "raise": "the limit of {usd} USD a minute",
    "static": "the static cap of {usd} USD a minute alone",
}
"""What a person set, in words, by its kind."""


class Asked(TypedDict):
    """Which gateway, which route, and why."""

    config: Path
    url: str | None
    key: str
    tenant: str
    operation: str
    reason: str


class RouteView(msgspec.Struct, frozen=True):
    """How a route stands; None where nothing was decided.

    Args:
        tenant, operation: the route.
        cap_usd_micros: static cap of a minute.
        learned_usd_micros: limit that was learned.
        throttled_usd_micros: what its token bucket gets a minute; None while it is open.
        judged: the newest decision on whether it is throttled.
        limit: the newest decision on its learned limit.
        hand: the newest thing that a person wanted, with who and why; what is set since stands in
            it with its end, and may be over.
    """

    tenant: str
    operation: str
    cap_usd_micros: int
    learned_usd_micros: int | None
    throttled_usd_micros: int | None
    judged: DecisionView | None
    limit: DecisionView | None
    hand: DecisionView | None


@click.group()
def budget() -> None:
    """Look at routes' budgets, set limits by hand, simulate the rules."""


def _dollars(_context: click.Context, _option: click.Parameter, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        micros = Decimal(text) * MICROS
    except InvalidOperation as error:
        raise click.BadParameter(f"{text!r} is no amount") from error
    if not micros.is_finite() or micros != micros.to_integral_value() or not 0 < micros < 10**15:
        raise click.BadParameter("US dollars above 0, with six decimal places at most")
    return int(micros)


def route_options(command: Command) -> Command:
    """Add what names a route, why, and who asks."""
    for option in (
        click.option("--reason", required=True, help="Why; at least 10 characters, evidence."),
        click.option("--operation", required=True, help="Of the route."),
        click.option("--tenant", required=True, help="Of the route."),
    ):
        command = option(command)
    return control_options(command)


def until_option(command: Command) -> Command:
    """Add `--for`, how long something lasts; the command takes it as `lasting_ms`."""
    return click.option(
        "--for", "lasting_ms", type=Lifetime(), required=True, help="Such as 2h; a week at most."
    )(command)


@budget.command()
@control_options
@json_option
@click.option("--tenant", default="", help="Only its routes.")
def show(config: Path, url: str | None, key: str, as_json: bool, tenant: str) -> None:
    """Show how each route stands, and the decision behind it."""
    with open_control(config, url, key) as (api, loaded):
        if tenant and TenantId(tenant) not in loaded.plan.tenants:
            raise OperatorError(
                f"there is no tenant {tenant!r}", next_step="`verismo tenant list` shows them."
            )
        found = _views(api, loaded, tenant)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)).decode("utf-8"))
        return
    if not found:
        click.echo("no route has a budget and was looked at: a route needs traffic")
        return
    header = ("TENANT", "OPERATION", "CAP/MIN", "LEARNED", "STATE", "DECIDED", "DECISION")
    rows = [
        (
            *(one.tenant, one.operation, _usd(one.cap_usd_micros), _usd(one.learned_usd_micros)),
            "open"
            if one.throttled_usd_micros is None
            else f"throttled to {_usd(one.throttled_usd_micros)}",
            *(("", "") if one.judged is None else (moment(one.judged.iat), one.judged.digest)),
        )
        for one in found
    ]
    click.echo(columns(header, rows))
    now_ms = _now_ms()
    for one in found:
        for view in (one.judged, one.limit, one.hand):
            if view is not None:
                click.echo(f"{one.tenant} {one.operation}: {told_of(view, now_ms)}")


@budget.command()
@route_options
@until_option
@click.option(
    "--usd-per-minute", "limit", callback=_dollars, help="Default: the limit in force now."
)
def freeze(lasting_ms: int, limit: int | None, **asked: Unpack[Asked]) -> None:
    """Let the limit stay as it is for a while, whatever is learned."""
    _act("freeze", lasting_ms, {} if limit is None else {LIMIT: limit}, asked)


@budget.command("raise")
@route_options
@until_option
@click.option("--usd-per-minute", "limit", required=True, callback=_dollars, help="The limit.")
def raise_limit(lasting_ms: int, limit: int, **asked: Unpack[Asked]) -> None:
    """Set the limit for a while; the static cap of the configuration holds all the same."""
    _act("raise", lasting_ms, {LIMIT: limit}, asked)


@budget.command()
@route_options
@until_option
def static(lasting_ms: int, **asked: Unpack[Asked]) -> None:
    """Let only the static cap hold for a while, not what was learned."""
    _act("static", lasting_ms, {}, asked)


@budget.command()
@route_options
def resume(**asked: Unpack[Asked]) -> None:
    """End what was set by hand."""
    _act("resume", 0, {}, asked)


budget.add_command(simulate)


def _act(verb: Verb, lasting_ms: int, values: dict[str, int], asked: Asked) -> None:
    with reach_control(asked["config"], asked["url"], asked["key"]) as (api, _):
        subject = Subject(tenant=asked["tenant"], operation=asked["operation"])
        newest = api.newest(THROTTLING, subject)
        if newest is not None:
            click.echo(f"as it stands: {_line(newest)}", err=True)
        told = api.act(
            NewAct(
                *("budget", verb, subject, asked["reason"]),
                of="" if newest is None else newest.digest,
                expires_ms=_now_ms() + lasting_ms if lasting_ms else 0,
                values=values,
                channel="cli",
            )
        )
    before, after = told.decision.action.before, told.decision.action.after
    why = "; ".join(in_words(one) for one in told.decision.reasons)
    click.echo(
        f"{told.decision.verdict}: {why}; limit {_usd(before)} -> {_usd(after)} USD a minute, "
        f"record {told.n}, steering {told.steering}"
    )
    click.echo(f"decision {told.digest}")


def _views(api: ControlClient, config: Config, tenant: str) -> list[RouteView]:
    terms = budget_terms(config)
    steering = api.steering().steering
    throttles: Sequence[Throttle] = () if steering is None else steering.throttles
    rates = {(one.tenant, one.operation): one.usd_micros_per_minute for one in throttles}
    found = []
    for name in sorted(config.plan.tenants):
        for operation in sorted(config.plan.operations):
            cap = terms.cap((name, operation))
            if tenant not in ("", name) or not cap:
                continue
            subject = Subject(tenant=name, operation=operation)
            judged, limit, hand = (
                api.newest(rules, subject)
                for rules in (THROTTLING, (BUDGET_LIMIT.name,), (BUDGET_ACT.name,))
            )
            if judged is None and limit is None and hand is None:
                continue
            learned = limit.action.after if limit is not None and limit.action else None
            rate = rates.get((name, operation))
            found.append(
                RouteView(name, operation, cap, learned or None, rate, judged, limit, hand)
            )
    return found


def told_of(view: DecisionView, now_ms: int) -> str:
    """Say what was decided and why, and what a person set, by whom and until when.

    Args:
        view: of any rule.
        now_ms: Unix ms.
    """
    said = ["; ".join(in_words(reason) for reason in view.reasons) or "forgotten"]
    if view.person:
        said.append(f"by {view.person}: {view.why}")
    hand = view.set_by_hand
    if hand is not None:
        end = moment_utc(hand.expires_ms)
        holds = f"holds until {end}" if now_ms < hand.expires_ms else f"is over since {end}"
        said.append(f"{_SET[hand.kind].format(usd=_usd(hand.limit_usd_micros))} {holds}")
    return printable(f"{view.rule} {view.verdict}: {'; '.join(said)}")


def _line(view: DecisionView) -> str:
    why = printable(in_words(view.reasons[0])) if view.reasons else "forgotten"
    return f"record {view.n}, {moment(view.iat)}, {view.verdict}: {why} ({view.digest})"


def _usd(micros: int | None) -> str:
    return "-" if micros is None else f"{Decimal(micros) / MICROS:f}"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
