"""`verismo operation`: list what is registered, import manifests, learn from what was observed."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import click
import msgspec

from verismo.cli.importing import Merged, Settings, check_purpose, merge
from verismo.cli.learning import Proposal, propose
from verismo.cli.manifest import Refused, read_documents
from verismo.cli.options import columns, config_option, json_option, printable
from verismo.cli.registration import (
    read_registrations,
    registrations_text,
    write_document,
)
from verismo.config.load import load_config
from verismo.config.operations import FOLDER
from verismo.config.schema import Config
from verismo.config.source import suggestion
from verismo.config.writing import write_whole
from verismo.model.errors import OperatorError
from verismo.model.ids import TenantId
from verismo.model.operation import Operation
from verismo.wiring.state import open_state

IMPORTED = "imported.toml"
LEARNED = "learned.toml"

_IMPORTED_HEAD = """\
# Written by `verismo operation import`. Values that you change here are kept when you import again;
# comments are not. A document that left the manifest stays until you remove its table.
"""
_LEARNED_HEAD = """\
# Proposed by `verismo operation learn` from what tenants in `observe` ran. Review every table:
# its purpose, its deployments and who may run it.
"""


@click.group()
def operation() -> None:
    """List, import and learn operations."""


@operation.command("list")
@config_option
@json_option
@click.option("--tenant", help="Only what this tenant may run.")
def list_operations(config: Path, as_json: bool, tenant: str | None) -> None:
    """List the registered operations."""
    plan = load_config(config).plan
    if tenant is not None:
        _check_tenant(tenant, plan.tenants)
    found = [
        op
        for op in plan.operations.values()
        if tenant is None or not op.tenants or tenant in op.tenants
    ]
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)).decode("utf-8"))
        return
    header = ("ID", "NAME", "KIND", "PURPOSE", "DEPLOYMENTS", "ALIASES", "TENANTS")
    click.echo(columns(header, [_row(op) for op in found]))


@operation.command("import")
@config_option
@click.argument("source", metavar="FILE", type=click.Path(exists=True, path_type=Path))
@click.option("--purpose", default="", help="What the documents' data is used for.")
@click.option("--deployment", "deployments", multiple=True, help="In fallback order; repeatable.")
@click.option(
    "--kind",
    type=click.Choice(["graphql"]),
    default="graphql",
    show_default=True,
    expose_value=False,
    help="Only GraphQL has documents.",
)
@click.option(
    "--trust-text",
    is_flag=True,
    help="Register a document whose SHA-256 id does not match, under the id of its text.",
)
def import_documents(
    config: Path,
    source: Path,
    purpose: str,
    deployments: tuple[str, ...],
    trust_text: bool,
) -> None:
    """Register the GraphQL documents of FILE.

    FILE is an Apollo persisted query manifest, a map of id to text as the Relay compiler writes
    it, or a folder of .graphql files. Exit code 1 if a document was refused.
    """
    loaded = load_config(config)
    documents, unusable = read_documents(source, trust_text=trust_text)
    path = loaded.root / FOLDER / IMPORTED
    existing = read_registrations(path)
    merged = merge(documents, existing, loaded.plan, Settings(purpose, deployments))
    # Documents first: a crash in between leaves files that no table names, and the same import
    # completes it.
    for document in merged.documents:
        write_document(loaded.root, document)
    if merged.tables != existing:
        text = _IMPORTED_HEAD + registrations_text(merged.tables)
        write_whole(path, text.encode("utf-8"))
    _report_import(merged, [*unusable, *merged.refused])


@operation.command()
@config_option
@click.option("--tenant", help="Only from what this tenant ran.")
@click.option(
    "--min-count",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Leave out what was run less often.",
)
@click.option("--purpose", default="", help="Default: the first purpose that its tenants share.")
@click.option("--write", is_flag=True, help=f"Append to {FOLDER}/{LEARNED}.")
def learn(config: Path, tenant: str | None, min_count: int, purpose: str, write: bool) -> None:
    """Propose registrations from what tenants in `observe` ran, for your review.

    A tenant without `enforcement` in verismo.toml becomes `safelist` once an operation names it.

    Values are not kept of what was observed, so a GraphQL document with strings, numbers or
    comments in its text is skipped; register the file that its client has by `import`.
    """
    loaded = load_config(config)
    if tenant is not None:
        _check_tenant(tenant, loaded.plan.tenants)
    check_purpose(purpose, loaded.plan)
    with open_state(loaded.data) as state:
        observed = state.directory.observations(None if tenant is None else TenantId(tenant))
    proposals, skipped = propose(observed, loaded.plan, count_min=min_count, purpose=purpose)
    for refusal in skipped:
        click.echo(f"skipped {printable(refusal.name)}: {refusal.reason}", err=True)
    if not proposals:
        click.echo("nothing to propose", err=True)
    elif write:
        _append(loaded, proposals)
    else:
        click.echo(_proposals_text(proposals), nl=False)


def _check_tenant(name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise OperatorError(
            f"there is no tenant {name!r}{suggestion(name, known)}",
            next_step="`verismo tenant list` shows them.",
        )


def _row(op: Operation) -> Sequence[str]:
    shown = f"{op.id[:19]}..." if op.id.startswith("sha256:") else op.id
    tenants = ", ".join(op.tenants) or "all"
    lists = (", ".join(op.deployments), ", ".join(op.aliases), tenants)
    return (shown, op.name, op.kind, op.purpose, *lists)


def _report_import(merged: Merged, refused: Sequence[Refused]) -> None:
    for refusal in refused:
        click.echo(f"refused {printable(refusal.name)}: {refusal.reason}", err=True)
    click.echo(
        f"added {len(merged.added)}, changed {len(merged.changed)}, "
        f"unchanged {len(merged.unchanged)}, refused {len(refused)}"
    )
    if refused:
        raise click.exceptions.Exit(1)


def _proposals_text(proposals: Sequence[Proposal]) -> str:
    return "".join(
        f"\n# observed {proposal.count} times{registrations_text({proposal.name: proposal.table})}"
        for proposal in proposals
    )


def _append(loaded: Config, proposals: Sequence[Proposal]) -> None:
    path = loaded.root / FOLDER / LEARNED
    for proposal in proposals:
        if proposal.document is not None:
            write_document(loaded.root, proposal.document)
    before = path.read_text("utf-8") if path.exists() else _LEARNED_HEAD
    write_whole(path, (before + _proposals_text(proposals)).encode("utf-8"))
    click.echo(f"wrote {len(proposals)} to {path}; review them, then run `verismo config check`")
