"""Checks `[scaling.NAME]`: each target has what it needs, and none is scaled twice."""

import re
from collections.abc import Mapping
from typing import Final

from verismo.adapt.scalingsettings import ScalingSettings
from verismo.config.addresses import check_url
from verismo.config.locate import KeyPath
from verismo.config.scalingtable import ScalingTable, ScalingTarget
from verismo.config.source import Source, suggestion
from verismo.model.decision import SettingsRefused
from verismo.model.ids import DeploymentId
from verismo.model.units import Milliseconds, Ppm

NAME_CHARS_MAX: Final = 63
"""A name becomes a label's value in Kubernetes."""
_place: Final = re.compile(
    r"([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)/([a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)"
).fullmatch


def check_scaling(
    tables: Mapping[str, ScalingTable], source: Source, deployments: Mapping[str, object]
) -> tuple[ScalingTarget, ...]:
    """Check every target; none may be scaled twice.

    Args:
        tables: `[scaling.NAME]` by name.
        source: verismo.toml; takes the problems.
        deployments: the names that there are.

    Returns:
        The targets by name; to be used only if nothing was found wrong.
    """
    targets: list[ScalingTarget] = []
    for name, table in sorted(tables.items()):
        where: KeyPath = ("scaling", name)
        if len(name) > NAME_CHARS_MAX:
            source.error(where, f"a name of {NAME_CHARS_MAX} characters at most; it is a label")
        if table.deployment not in deployments:
            source.error(
                (*where, "deployment"),
                f"there is no deployment {table.deployment!r}"
                f"{suggestion(table.deployment, deployments)}",
            )
        _check_twice(name, table, tables, source)
        _check_sources(table, source, where)
        targets.append(_target(name, table, source, where))
    return tuple(targets)


def _target(name: str, table: ScalingTable, source: Source, where: KeyPath) -> ScalingTarget:
    found = _place(table.target)
    if found is None:
        source.error((*where, "target"), "write NAMESPACE/NAME of a Kubernetes Deployment")
    settings = ScalingSettings(
        target=name,
        replicas_min=table.replicas_min,
        replicas_max=table.replicas_max,
        slots=table.slots,
        cold_start_ms=Milliseconds(table.cold_start_ms),
        gap_ms=Milliseconds(table.gap_ms),
        late_ppm=Ppm(table.late_ppm),
    )
    try:
        settings.check()
    except SettingsRefused as error:
        source.error(where, str(error))
    root = source.path.parent
    return ScalingTarget(
        name=name,
        deployment=DeploymentId(table.deployment),
        namespace="" if found is None else found[1],
        workload="" if found is None else found[2],
        mode=table.mode,
        settings=settings,
        late_ms=Milliseconds(table.late_ms),
        replicas_from="scale" if table.mode == "strict" else table.replicas_from,
        prometheus_url=_url(table.prometheus_url, source, (*where, "prometheus_url")),
        replicas_query=table.replicas_query,
        queue_query=table.queue_query,
        api_url=_url(table.api_url, source, (*where, "api_url")),
        token_file=root / table.token_file,
        # Without TLS no certificate is looked at, and the usual file is only there in a pod.
        ca_file=root / table.ca_file if table.ca_file and not _is_plain(table) else None,
        hpa_tolerance=table.hpa_tolerance,
    )


def _check_twice(
    name: str, table: ScalingTable, tables: Mapping[str, ScalingTable], source: Source
) -> None:
    for other, also in sorted(tables.items()):
        if other >= name:
            return
        for key in ("target", "deployment"):
            if getattr(also, key) == getattr(table, key):
                source.error(
                    ("scaling", name, key),
                    f"[scaling.{other}] has the same; two rules would undo each other's work",
                )


def _check_sources(table: ScalingTable, source: Source, where: KeyPath) -> None:
    """Say which key is missing for what was asked, or is of no use with it."""
    if table.mode == "strict" and table.replicas_from == "prometheus":
        source.error(
            (*where, "replicas_from"), "strict mode reads the replicas where it sets them: `scale`"
        )
    if table.mode == "gauge" and table.replicas_from == "none":
        source.warn(
            (*where, "replicas_from"),
            "nothing is decided without the replicas: set `scale` or `prometheus`",
        )
    asks_replicas = table.replicas_from == "prometheus"
    if asks_replicas != bool(table.replicas_query):
        source.error(
            (*where, "replicas_query"), 'belongs to replicas_from = "prometheus", and it needs it'
        )
    if (asks_replicas or table.queue_query) and not table.prometheus_url:
        source.error((*where, "prometheus_url"), "is missing: a query needs it")
    if table.prometheus_url and not (asks_replicas or table.queue_query):
        source.error((*where, "prometheus_url"), "is of use with a query only")
    if _is_plain(table):
        source.warn((*where, "api_url"), "the token goes to the API server in clear; use https")
    _check_files(table, source, where)


def _check_files(table: ScalingTable, source: Source, where: KeyPath) -> None:
    """Warn of files without which the API server is never reached; a pod may still get them."""
    if table.mode != "strict" and table.replicas_from != "scale":
        return
    wanted = ("token_file",) if _is_plain(table) else ("token_file", "ca_file")
    for key in wanted:
        name = getattr(table, key)
        file = source.path.parent / name
        if name and not file.is_file():
            source.warn(
                (*where, key), f"there is no file {file}: without it nothing is decided here"
            )


def _is_plain(table: ScalingTable) -> bool:
    return table.api_url.startswith("http://")


def _url(url: str, source: Source, where: KeyPath) -> str:
    return check_url(url, source, where) if url else ""
