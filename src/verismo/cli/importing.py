"""Merges documents from a manifest with what is registered already."""

from collections.abc import Mapping, Sequence

import msgspec

from verismo.cli.manifest import Document, Refused
from verismo.cli.registration import document_file, document_table
from verismo.config.operationtable import OperationTable
from verismo.config.references import FITTING
from verismo.config.source import suggestion
from verismo.model.errors import OperatorError
from verismo.model.ids import DeploymentId
from verismo.model.operation import OperationKind
from verismo.model.plan import Plan


class Settings(msgspec.Struct, frozen=True):
    """How imported documents are registered. Empty means: keep what stands, else the only choice.

    Args:
        purpose: the purpose that their data is used for.
        deployments: in fallback order.
    """

    purpose: str = ""
    deployments: tuple[str, ...] = ()


class Merged(msgspec.Struct, frozen=True):
    """What an import comes to.

    Args:
        tables: the whole new content of the file, by the tables' names.
        added, changed, unchanged: ids.
        refused: what was not registered.
        documents: texts of the ids in `added`.
    """

    tables: dict[str, OperationTable]
    added: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]
    refused: tuple[Refused, ...]
    documents: tuple[Document, ...]


def merge(
    documents: Sequence[Document],
    existing: Mapping[str, OperationTable],
    plan: Plan,
    settings: Settings,
) -> Merged:
    """Work out what importing documents changes; importing the same again changes nothing.

    What the operator has changed in the file (tenants, aliases, name) is kept, and a document that
    is no longer in the manifest stays: older clients still send its id.

    Args:
        documents: what the manifest holds.
        existing: the file's tables as they are, by name.
        plan: all that is registered, that file included.
        settings: for new documents, and for the others as far as it is given.

    Raises:
        OperatorError: there are several choices for a setting and none was given, or the one
            given does not exist.
    """
    check_purpose(settings.purpose, plan)
    _check_deployments(settings, plan)
    names = {table.id or name: name for name, table in existing.items()}
    before = {table.id or name: table for name, table in existing.items()}
    after = dict(before)
    seen: dict[str, Document] = {}
    refused: list[Refused] = []
    for document in documents:
        owner = _owner_of_alias(document, after, plan)
        if owner:
            reason = f"its id {document.alias!r} already stands for {owner}"
            refused.append(Refused(document.name or document.id, reason))
            continue
        seen.setdefault(document.id, document)
        if document.id in after:
            after[document.id] = _updated(after[document.id], document, settings)
        elif document.id not in plan.operations:
            after[document.id] = _new_table(document, _complete(settings, plan))
            names[document.id] = document_table(document)
    added = [found for found in after if found not in before]
    changed = [found for found in before if after[found] != before[found]]
    return Merged(
        tables={names[found]: table for found, table in after.items()},
        added=tuple(added),
        changed=tuple(changed),
        unchanged=tuple(found for found in seen if found not in {*added, *changed}),
        refused=tuple(refused),
        documents=tuple(seen[found] for found in added),
    )


def check_purpose(purpose: str, plan: Plan) -> None:
    """Refuse a purpose that no tenant has; empty means that none was given.

    Raises:
        OperatorError: names the nearest one that some tenant has.
    """
    purposes = purposes_of(plan)
    if purpose and purpose not in purposes:
        raise OperatorError(
            f"no tenant has the purpose {purpose!r}{suggestion(purpose, purposes)}",
            next_step="Name a purpose of a tenant, or add it to one in verismo.toml.",
        )


def purposes_of(plan: Plan) -> list[str]:
    """Return every purpose that some tenant has, sorted."""
    return sorted({purpose for tenant in plan.tenants.values() for purpose in tenant.purposes})


def fitting_deployments(kind: OperationKind, plan: Plan) -> list[DeploymentId]:
    """Return the deployments whose provider can run operations of a kind, sorted."""
    return sorted(
        name
        for name, deployment in plan.deployments.items()
        if plan.providers[deployment.provider].kind in FITTING[kind]
    )


def _check_deployments(settings: Settings, plan: Plan) -> None:
    fitting = fitting_deployments("graphql", plan)
    for name in settings.deployments:
        if name not in fitting:
            raise OperatorError(
                f"there is no deployment {name!r} that runs GraphQL{suggestion(name, fitting)}",
                next_step="Name a deployment whose provider is of kind graphql.",
            )


def _complete(settings: Settings, plan: Plan) -> Settings:
    """Fill what was not given with the only choice there is."""
    purposes, fitting = purposes_of(plan), fitting_deployments("graphql", plan)
    if not settings.purpose and len(purposes) != 1:
        raise OperatorError(
            f"tenants have {len(purposes)} purposes; which one do these documents serve?",
            next_step=f"Add --purpose, one of: {', '.join(purposes)}.",
        )
    if not settings.deployments and len(fitting) != 1:
        raise OperatorError(
            f"{len(fitting)} deployments run GraphQL; which one runs these documents?",
            next_step=f"Add --deployment, one or more of: {', '.join(fitting)}."
            if fitting
            else "Add a provider of kind graphql and a deployment of it to verismo.toml.",
        )
    return Settings(settings.purpose or purposes[0], settings.deployments or (str(fitting[0]),))


def _new_table(document: Document, settings: Settings) -> OperationTable:
    return OperationTable(
        kind="graphql",
        purpose=settings.purpose,
        deployments=settings.deployments,
        aliases=(document.alias,) if document.alias else (),
        name=document.name,
        document=document_file(document),
        id=document.id,
    )


def _updated(before: OperationTable, document: Document, settings: Settings) -> OperationTable:
    extra = (document.alias,) if document.alias and document.alias not in before.aliases else ()
    return msgspec.structs.replace(
        before,
        purpose=settings.purpose or before.purpose,
        deployments=settings.deployments or before.deployments,
        aliases=before.aliases + extra,
    )


def _owner_of_alias(document: Document, tables: Mapping[str, OperationTable], plan: Plan) -> str:
    """Return the id of another operation that this alias names already, else nothing."""
    alias = document.alias
    if not alias:
        return ""
    owners = [found for found, table in tables.items() if alias in table.aliases]
    owners += [o.id for o in plan.operations.values() if alias == o.id or alias in o.aliases]
    return next((owner for owner in owners if owner != document.id), "")
