"""`verismo canary start`, `stop`, `promote`, `hold`, `rollback`, `extend`, `status`.

Each becomes an act of the control API: recorded with its reason and its author, signed, and told to
the gateways before the command answers.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypedDict, TypeVar, Unpack

import click
import msgspec

from verismo.adapt.canaryevent import LACKED
from verismo.cli.controlapi import ControlClient, ToldDecision, control_options, reach_control
from verismo.cli.options import Lifetime, columns, json_option, moment, printable
from verismo.config.schema import Config
from verismo.control.acts import DecisionView, NewAct
from verismo.control.reasonwords import in_words, who_by
from verismo.control.rollouts import RULES
from verismo.model.act import Verb
from verismo.model.decision import Subject
from verismo.model.errors import OperatorError, VerismoError
from verismo.model.ids import OperationId
from verismo.model.operation import Operation
from verismo.model.steering import Rollout
from verismo.wiring.canarypolicy import kept_from_splitting

Command = TypeVar("Command", bound=Callable[..., object])

KEPT_SHOWN_MAX: Final = 3
"""Tenants whose requests cannot be split that are named; the others are counted."""
AT_ONCE_MS: Final = 600_000
"""How long an act that is done at once may take to arrive."""


class Named(TypedDict):
    """Which gateway, and which rollout."""

    config: Path
    url: str | None
    key: str
    operation: str
    tenant: str
    baseline: str
    candidate: str


class Override(Named):
    """What an override needs besides."""

    reason: str
    of: str


def rollout_options(command: Command) -> Command:
    """Add what names a rollout and who asks."""
    for option in (
        click.option("--candidate", default="", help="Default: the operation's only candidate."),
        click.option("--baseline", default="", help="Default: the operation's first deployment."),
        click.option("--tenant", default="", help="Of one tenant; default: of all of them."),
        click.option("--operation", required=True, help="Whose requests are split."),
    ):
        command = option(command)
    return control_options(command)


def override_options(command: Command) -> Command:
    """Add the reason and the decision that is overridden."""
    command = click.option(
        "--of",
        default="",
        metavar="DIGEST",
        help="The decision that is overridden; default: the newest, which is shown.",
    )(command)
    return rollout_options(reason_option(command))


def reason_option(command: Command) -> Command:
    """Add `--reason`."""
    return click.option(
        "--reason", required=True, help="Why; at least 10 characters, kept as evidence."
    )(command)


def until_option(what: str) -> Callable[[Command], Command]:
    """Add `--for`, how long something lasts; the command takes it as `lasting_ms`."""
    return click.option("--for", "lasting_ms", type=Lifetime(), required=True, help=what)


@click.command()
@rollout_options
@reason_option
def start(reason: str, **named: Unpack[Named]) -> None:
    """Begin a rollout: the candidate gets the first share of the ladder."""
    with reach_control(named["config"], named["url"], named["key"]) as (api, config):
        subject = _begun(api, config, named)
        told = _act(api, NewAct("canary", "start", subject, reason, channel="cli"))
        if config is not None and told.verdict == "CONTINUE":
            _warn(config, subject)


@click.command()
@override_options
def stop(**asked: Unpack[Override]) -> None:
    """End a rollout: what the configuration says holds again.

    After the last promotion first make the candidate the operation's first deployment in the
    configuration and start the gateway again, then stop the rollout.
    """
    _override("stop", 0, asked)


@click.command()
@override_options
def promote(**asked: Unpack[Override]) -> None:
    """Give the candidate the next share of the ladder, whatever the evidence says."""
    _override("promote", AT_ONCE_MS, asked)


@click.command()
@override_options
@until_option("How long, such as 2h; a week at most.")
def hold(lasting_ms: int, **asked: Unpack[Override]) -> None:
    """Let the candidate climb no further for a while; it may still be held back or rolled back."""
    _override("hold", lasting_ms, asked)


@click.command()
@override_options
def rollback(**asked: Unpack[Override]) -> None:
    """Take all requests back from the candidate."""
    _override("rollback", AT_ONCE_MS, asked)


@click.command()
@override_options
@until_option("From now on, such as 4h; a week at most.")
def extend(lasting_ms: int, **asked: Unpack[Override]) -> None:
    """Let the bake last longer before it counts as inconclusive."""
    _override("extend", lasting_ms, asked)


@click.command()
@control_options
@json_option
def status(config: Path, url: str | None, key: str, as_json: bool) -> None:
    """Show how each rollout stands, and the decision that an override would name."""
    with reach_control(config, url, key) as (api, loaded):
        found = [view for one in _subjects(api, loaded) if (view := api.newest(RULES, one))]
    if as_json:
        click.echo(_json(found))
        return
    if not found:
        click.echo("no rollout: `verismo canary start --operation NAME --reason WHY` begins one")
        return
    rows = [
        (
            *(one.subject.operation, one.subject.tenant or "all"),
            f"{one.subject.baseline} -> {one.subject.candidate}",
            *(_share(one), one.verdict, moment(one.iat), one.digest),
        )
        for one in found
    ]
    header = ("OPERATION", "TENANT", "ROLLOUT", "SHARE", "VERDICT", "DECIDED", "DECISION")
    click.echo(columns(header, rows))
    for one in found:
        why = "; ".join(printable(in_words(reason)) for reason in one.reasons)
        click.echo(f"{one.subject.operation}, {one.subject.tenant or 'all'}: {why or 'forgotten'}")


def _override(verb: Verb, lasting_ms: int, asked: Override) -> None:
    with reach_control(asked["config"], asked["url"], asked["key"]) as (api, config):
        subject = _meant(api, config, asked)
        newest = api.newest(RULES, subject)
        if newest is None:
            raise _absent(api, subject)
        if not asked["of"]:
            click.echo(f"overrides: {_line(newest)}", err=True)
        expires_ms = _now_ms() + lasting_ms if lasting_ms else 0
        _act(
            api,
            NewAct(
                *("canary", verb, subject, asked["reason"]),
                of=asked["of"] or newest.digest,
                expires_ms=expires_ms,
                channel="cli",
            ),
        )


def _absent(api: ControlClient, subject: Subject) -> OperatorError:
    """Say that there is no such rollout, and whose there is on the operation."""
    whose = sorted(one.tenant for one in _rollouts(api) if one.operation == subject.operation)
    names = " and of ".join(f"tenant {one!r}" if one else "all tenants" for one in whose)
    meant = f"tenant {subject.tenant!r}" if subject.tenant else "all tenants"
    wanted = f"{subject.candidate!r} on {subject.operation!r} of {meant}"
    if not whose or subject.tenant in whose:
        return OperatorError(
            f"there is no rollout of {wanted}",
            next_step="`verismo canary status` shows those that there are.",
        )
    named = f"Add --tenant {whose[0]}." if whose[0] else "Leave --tenant out."
    return OperatorError(
        f"there is no rollout of {wanted}; there is one of {names}", next_step=named
    )


def _warn(config: Config, subject: Subject) -> None:
    """Say if the policy lets nobody's requests go to both deployments; what is done stays done."""
    try:
        kept = kept_from_splitting(config, subject)
    except VerismoError as error:
        click.echo(f"whether the policy allows both is not known: {error}", err=True)
        return
    for one in kept[:KEPT_SHOWN_MAX]:
        click.echo(f"warning: no request of {one.tenant} will be split: {one.why}", err=True)
    if len(kept) > KEPT_SHOWN_MAX:
        click.echo(f"warning: and none of {len(kept) - KEPT_SHOWN_MAX} other tenants", err=True)


def _act(api: ControlClient, asked: NewAct) -> ToldDecision:
    told = api.act(asked)
    why = in_words(told.decision.reasons[0], who_by(asked.channel))
    before, after = told.decision.action.before, told.decision.action.after
    click.echo(
        f"{told.decision.verdict}: {why}; "
        f"share {before / 10_000:g} % -> {after / 10_000:g} %, record {told.n}, "
        f"steering {told.steering}"
    )
    click.echo(f"decision {told.digest}")
    return told.decision


def _begun(api: ControlClient, config: Config | None, named: Named) -> Subject:
    """Return the rollout that is to begin; what is not named follows from what runs, or is set."""
    if named["baseline"] and named["candidate"]:
        return _named(named)
    operation = _operation(config, named)
    if config is not None and operation is None:
        raise OperatorError(
            f"there is no operation {named['operation']!r}",
            next_step="`verismo operation list` shows them.",
        )
    return _one_of(_running(api, named), named) or _configured(operation, named, ())


def _meant(api: ControlClient, config: Config | None, named: Named) -> Subject:
    """Return the rollout that is meant; what is not named follows from what there is, or is set.

    The configuration comes last: a rollout may be of an operation or of deployments that left it.
    """
    if named["baseline"] and named["candidate"]:
        return _named(named)
    found = _one_of(_running(api, named), named)
    if found is not None:
        return found
    known = _decided(api, named)
    return _one_of(known, named) or _configured(_operation(config, named), named, known)


def _named(named: Named) -> Subject:
    return Subject(named["tenant"], named["operation"], named["baseline"], named["candidate"])


def _operation(config: Config | None, named: Named) -> Operation | None:
    if config is None:
        return None
    return config.plan.operations.get(OperationId(named["operation"]))


def _running(api: ControlClient, named: Named) -> tuple[Subject, ...]:
    """Return the rollouts of a route by which requests are split."""
    route = (named["operation"], named["tenant"])
    return tuple(
        Subject(one.tenant, one.operation, one.baseline, one.candidate)
        for one in _rollouts(api)
        if (one.operation, one.tenant) == route
    )


def _decided(api: ControlClient, named: Named) -> tuple[Subject, ...]:
    """Return the rollouts of a route of which something was decided not long ago, save stopped."""
    route = (named["operation"], named["tenant"])
    newest = {
        one.subject: one
        for one in api.decisions()
        if one.rule in RULES and (one.subject.operation, one.subject.tenant) == route
    }
    return tuple(one for one, view in newest.items() if view.reasons[:1] != ("stopped_by_hand",))


def _one_of(known: tuple[Subject, ...], named: Named) -> Subject | None:
    """Return the only one that has the names that were given; None if none has, or several."""
    found = [
        one
        for one in known
        if named["baseline"] in ("", one.baseline) and named["candidate"] in ("", one.candidate)
    ]
    return found[0] if len(found) == 1 else None


def _configured(operation: Operation | None, named: Named, known: tuple[Subject, ...]) -> Subject:
    """Return the rollout that the configuration makes of the names that were given."""
    deployments, candidates = (
        (operation.deployments, operation.candidates) if operation else ((), ())
    )
    baseline, candidate = named["baseline"], named["candidate"]
    if not baseline and deployments:
        baseline = deployments[0]
    if not candidate and len(candidates) == 1:
        candidate = candidates[0]
    if baseline and candidate:
        return Subject(named["tenant"], named["operation"], baseline, candidate)
    configured = "not known here" if operation is None else ", ".join(candidates) or "none"
    there_are = ", ".join(f"{one.baseline} -> {one.candidate}" for one in known)
    raise OperatorError(
        f"it does not follow which deployments of {named['operation']!r} are meant; its candidates "
        f"are: {configured}" + (f"; its rollouts: {there_are}" if there_are else ""),
        next_step="Name --baseline and --candidate, or set `candidates` of the operation.",
    )


def _subjects(api: ControlClient, config: Config | None) -> list[Subject]:
    """Return what may have a rollout: what is steered, configured, or was decided not long ago."""
    found = {
        Subject(one.tenant, one.operation, one.baseline, one.candidate) for one in _rollouts(api)
    }
    for operation in config.plan.operations.values() if config else ():
        for candidate in operation.candidates:
            found.add(Subject("", operation.id, operation.deployments[0], candidate))
    found |= {one.subject for one in api.decisions() if one.rule in RULES}
    return sorted(found, key=lambda one: (one.operation, one.tenant, one.baseline, one.candidate))


def _rollouts(api: ControlClient) -> tuple[Rollout, ...]:
    steering = api.steering().steering
    return () if steering is None else steering.rollouts


def _line(view: DecisionView) -> str:
    why = printable(in_words(view.reasons[0])) if view.reasons else "forgotten"
    return f"record {view.n}, {moment(view.iat)}, {view.verdict}: {why} ({view.digest})"


def _share(view: DecisionView) -> str:
    if view.reasons[:1] == (LACKED,):
        return "0 %"
    return "-" if view.action is None else f"{view.action.after / 10_000:g} %"


def _json(found: list[DecisionView]) -> str:
    return msgspec.json.format(msgspec.json.encode(found)).decode("utf-8")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
