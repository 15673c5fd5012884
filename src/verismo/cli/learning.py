"""Proposes registrations from what tenants in `observe` ran. A person reviews them."""

import hashlib
from collections.abc import Sequence

import msgspec

from verismo.cli.importing import fitting_deployments
from verismo.cli.manifest import Document, Refused
from verismo.cli.registration import document_file, document_table, safe_name
from verismo.config.operationtable import OperationTable
from verismo.config.tables import Alias
from verismo.model.document import NotOneOperation, count_values, outline, without_end_blank
from verismo.model.ids import DeploymentId, TenantId
from verismo.model.operation import OperationKind
from verismo.model.plan import Plan
from verismo.ports.directory import Observation


class Proposal(msgspec.Struct, frozen=True):
    """One registration for review.

    Args:
        name: of the table; the operation's id unless it is a GraphQL document.
        table: what would stand in the file.
        count: how often it was observed.
        document: for GraphQL the text, else None.
    """

    name: str
    table: OperationTable
    count: int
    document: Document | None = None


class Skipped(Exception):
    """An observation from which no registration follows; its text says why."""


class _Seen(msgspec.Struct, frozen=True):
    """One operation as all tenants together ran it."""

    observation: Observation
    tenants: tuple[TenantId, ...]
    count: int


def propose(
    observations: Sequence[Observation], plan: Plan, *, count_min: int = 1, purpose: str = ""
) -> tuple[list[Proposal], list[Refused]]:
    """Turn observations into registrations, the most frequent first.

    Args:
        observations: what was run, in any order.
        plan: tenants, deployments and what is registered.
        count_min: observed less often is left out without a word.
        purpose: of the new registrations; empty takes the first that all its tenants have.

    Returns:
        Proposals with ids and aliases that do not clash, and what was skipped with the reason.
    """
    proposals: list[Proposal] = []
    skipped: list[Refused] = []
    labels = _labels(plan)
    for seen in _together(observations, plan):
        if seen.count < count_min or _is_registered(seen, plan):
            continue
        try:
            proposal = _proposal(seen, plan, labels, purpose)
        except Skipped as reason:
            label = seen.observation.name or "(no name)"
            skipped.append(Refused(label, f"observed {seen.count} times; {reason}"))
            continue
        labels.update((proposal.table.id or proposal.name, *proposal.table.aliases))
        proposals.append(proposal)
    return proposals, skipped


def _labels(plan: Plan) -> set[str]:
    return {label for o in plan.operations.values() for label in (o.id, *o.aliases)}


def _together(observations: Sequence[Observation], plan: Plan) -> list[_Seen]:
    groups: dict[tuple[str, str, str], list[Observation]] = {}
    for seen in observations:
        if seen.tenant in plan.tenants:
            # A document is itself whatever its clients called it.
            key = (seen.kind, "" if seen.document else seen.name, seen.document)
            groups.setdefault(key, []).append(seen)
    found = [
        _Seen(
            group[0],
            tuple(sorted({seen.tenant for seen in group})),
            sum(seen.count for seen in group),
        )
        for group in groups.values()
    ]
    return sorted(found, key=lambda s: (-s.count, s.observation.name, s.observation.document))


def _is_registered(seen: _Seen, plan: Plan) -> bool:
    observation = seen.observation
    text = without_end_blank(observation.document)
    return any(
        (
            text == without_end_blank(operation.document)
            if text
            else observation.name in (operation.id, *operation.aliases)
        )
        and (not operation.tenants or set(seen.tenants) <= set(operation.tenants))
        for operation in plan.operations.values()
    )


def _proposal(seen: _Seen, plan: Plan, labels: set[str], purpose: str) -> Proposal:
    observation = seen.observation
    document = _document_of(observation)
    wanted = document.id if document else observation.name
    name = document_table(document) if document else _safe_id(wanted, labels)
    if wanted in labels or name in labels:
        raise Skipped(
            "is registered, but not for every tenant that ran it "
            f"({', '.join(seen.tenants)}); see `tenants` of that operation"
        )
    table = OperationTable(
        kind=observation.kind,
        purpose=purpose or _common_purpose(seen, plan),
        deployments=_deployments_for(observation, plan),
        aliases=() if document or name == wanted else (wanted,),
        tenants=seen.tenants,
        name=document.name if document else "",
        document=document_file(document) if document else "",
        id=document.id if document else "",
    )
    return Proposal(name, table, seen.count, document)


def _document_of(observation: Observation) -> Document | None:
    if observation.kind != "graphql":
        return None
    if not observation.document:
        raise Skipped("its text is not GraphQL, so it was not kept")
    try:
        found = outline(observation.document)
        values = count_values(observation.document)
    except NotOneOperation as error:
        raise Skipped(str(error)) from error
    if values:
        raise Skipped(
            f"has {values} {'value' if values == 1 else 'values'} in its text (strings, numbers or "
            "comments), which are not kept: make them variables, or register its file with "
            "`verismo operation import`"
        )
    return Document(observation.document, found.name, found.kind)


def _safe_id(name: str, labels: set[str]) -> str:
    """Return an id of letters, digits, `.`, `_` and `-`; another one if that is taken."""
    found = safe_name(name)
    if not found:
        raise Skipped("has no letter or digit to name an operation by")
    if found == name:
        return found
    try:
        msgspec.convert(name, Alias)
    except msgspec.ValidationError as error:
        raise Skipped("cannot be an alias: only letters, digits and . _ : / @ -") from error
    if found in labels:
        found = f"{found}-{hashlib.sha256(name.encode('utf-8')).hexdigest()[:6]}"
    return found


def _deployments_for(observation: Observation, plan: Plan) -> tuple[str, ...]:
    """Of the deployments that serve its kind prefer those of the very model, then those that
    observed calls go to; failing both, the only one.
    """
    kind = observation.kind
    serving = _serving(kind, plan)
    named = tuple(name for name in serving if plan.deployments[name].model == observation.name)
    observed = plan.observe_deployments.get(kind, ())
    found = named or observed or (serving if len(serving) == 1 else ())
    if not found:
        raise Skipped(f"[observe] names no deployment for {kind}")
    return found


def _serving(kind: OperationKind, plan: Plan) -> tuple[DeploymentId, ...]:
    """Return the deployments that are known to serve a kind. Providers of kind `openai` have models
    of several, so there only what is registered or listed by kind tells.
    """
    registered = (one for one in plan.operations.values() if one.kind == kind)
    found = {name for one in registered for name in (*one.deployments, *one.candidates)}
    found.update(plan.observe_deployments.get(kind, ()))
    found.update(
        name
        for name in fitting_deployments(kind, plan)
        if plan.providers[plan.deployments[name].provider].kind != "openai"
    )
    return tuple(sorted(found))


def _common_purpose(seen: _Seen, plan: Plan) -> str:
    first, *others = (plan.tenants[tenant].purposes for tenant in seen.tenants)
    for purpose in first:
        if all(purpose in other for other in others):
            return purpose
    raise Skipped(f"{', '.join(seen.tenants)} share no purpose; add --purpose")
