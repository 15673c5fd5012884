"""Loads a configuration folder: everything is checked, and everything wrong is told at once."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from verismo.attest.succession import KeyRules
from verismo.config.adapttable import check_adapt
from verismo.config.addresses import check_listeners, check_url
from verismo.config.archivetable import check_archive
from verismo.config.budgettable import check_budgets
from verismo.config.canarytable import check_canary
from verismo.config.compiler import compile_plan
from verismo.config.credentials import read_credentials
from verismo.config.environment import override
from verismo.config.flagtable import Flagged
from verismo.config.locate import KeyPath
from verismo.config.operations import read_operations
from verismo.config.reading import read_table
from verismo.config.references import check_references
from verismo.config.scaling import check_scaling
from verismo.config.schema import Config, ControlListen, Ledger, Listen, LogSettings, Telemetry
from verismo.config.siem import check_siem
from verismo.config.slack import check_slack
from verismo.config.slotable import check_slos
from verismo.config.source import Findings, Source, open_source
from verismo.config.tables import KeysTable, MainTable
from verismo.config.witnesses import read_witnesses
from verismo.model.errors import ConfigError
from verismo.model.ledger import YEAR_MAX, LogId, is_log_origin, is_log_region, origin_of
from verismo.model.limits import Limits

FILE_NAME: Final = "verismo.toml"
HOME_REGION: Final = "home"
"""Names the log of a gateway that has no tenants."""


def load_config(
    path: Path, environ: Mapping[str, str] | None = None, *, require_credentials: bool = False
) -> Config:
    """Read and check verismo.toml, operations/ and the credentials that they name.

    Args:
        path: the verismo.toml.
        environ: environment variables; None means the process's own.
        require_credentials: a provider without its credential is an error; otherwise a warning.

    Returns:
        The configuration, frozen, with warnings in it.

    Raises:
        ConfigError: its detail has one line for each problem, with file, line and the nearest
            known name; mend them and run `verismo config check`.
    """
    path = path.absolute()
    if not path.is_file():
        raise ConfigError(
            f"there is no configuration file {path}",
            next_step="Run `verismo init DIR` and work in DIR, or name the file with --config.",
        )
    findings = Findings()
    source = open_source(path, path.name, findings)
    if source is None:
        raise findings.as_error()
    main = read_table(MainTable, source.tree, source, ()) or MainTable()
    main = override(main, os.environ if environ is None else environ, findings)
    config = _assemble(
        main,
        source,
        environ=os.environ if environ is None else environ,
        require_credentials=require_credentials,
    )
    findings.raise_if_any()
    return msgspec.structs.replace(config, warnings=tuple(sorted(set(findings.warnings))))


def _assemble(
    main: MainTable, source: Source, *, environ: Mapping[str, str], require_credentials: bool
) -> Config:
    root = source.path.parent
    operations = read_operations(root, source.findings)
    check_references(main, source, operations)
    check_listeners(main.listen, main.control, source)
    _check_limits(main.limits, source)
    if "operations" in source.tree:
        source.error(("operations",), "operations stand in files under operations/, not here")
    if main.siem.sinks and not main.ledger.enabled:
        source.error(("siem", "sinks"), "events are made of the ledger's leaves: enable [ledger]")
    for key in ("scaling", "slo"):
        if getattr(main, key) and not main.adapt.enabled:
            source.error((key,), "reads what gateways count: enable [adapt]")
    if not main.tenants and "tenants" not in source.tree:
        source.warn(("tenants",), "there are no tenants, so nobody can call anything")
    flagged = Flagged(
        tenants=main.tenants,
        operations={one.operation.id: bool(one.operation.candidates) for one in operations},
        now_ms=time.time_ns() // 1_000_000,
        adapt=main.adapt,
    )
    return Config(
        path=source.path,
        root=root,
        data=root / main.data,
        listen=_listen(main, source),
        control=ControlListen(host=main.control.host, port=main.control.port),
        limits=main.limits,
        upstream_client=main.upstream.client,
        log=LogSettings(level=main.log.level, requests=main.log.requests),
        telemetry=Telemetry(
            otlp_endpoint=_optional_url(
                main.telemetry.otlp_endpoint, source, "telemetry", "otlp_endpoint"
            ),
            sample_ppm=main.telemetry.sample_ppm,
        ),
        policy=_policy(root / main.policy.bundle, source),
        keys=_key_rules(main.keys, source),
        ledger=_ledger(main, source),
        witness=read_witnesses(main.witness, source),
        archive=check_archive(main.archive, source, root, root / main.data),
        plan=compile_plan(main, source, operations),
        credentials=read_credentials(main.providers, source, environ, required=require_credentials),
        docs_base_url=_optional_url(main.docs_base_url, source, "docs_base_url"),
        siem=check_siem(
            main.siem, source, environ, data=root / main.data, required=require_credentials
        ),
        adapt=check_adapt(main.adapt, source),
        budgets=check_budgets(
            main.budgets, source, main.tenants, frozenset(one.operation.id for one in operations)
        ),
        canary=check_canary(main.canary, source, main.adapt.window_s, flagged),
        slack=check_slack(main.slack, source, environ, required=require_credentials),
        scaling=check_scaling(main.scaling, source, main.deployments),
        slos=check_slos(
            main.slo, source, main.tenants, frozenset(one.operation.id for one in operations)
        ),
    )


def _optional_url(url: str, source: Source, *path: str) -> str:
    return check_url(url, source, path) if url else ""


def _check_limits(limits: Limits, source: Source) -> None:
    for name in limits.__struct_fields__:
        if getattr(limits, name) < 1:
            source.error(("limits", name), "must be at least 1: with 0 nothing could be answered")


def _key_rules(keys: KeysTable, source: Source) -> KeyRules:
    """Spell the rules in ms; refuse those by which no key could follow another in time."""
    if keys.notice_s < 2 * keys.jwks_max_age_s:
        source.error(
            ("keys", "notice_s"),
            f"must be at least {2 * keys.jwks_max_age_s}, twice jwks_max_age_s: clients may keep "
            "a key set that long and would meet an unknown key",
        )
    if keys.active_s <= 2 * keys.notice_s + keys.handover_s:
        source.error(
            ("keys", "active_s"),
            f"must be over {2 * keys.notice_s + keys.handover_s}: two notices and the handover",
        )
    return KeyRules(
        active_ms=keys.active_s * 1_000,
        notice_ms=keys.notice_s * 1_000,
        overlap_ms=keys.overlap_s * 1_000,
        handover_ms=keys.handover_s * 1_000,
        jwks_max_age_ms=keys.jwks_max_age_s * 1_000,
    )


def _listen(main: MainTable, source: Source) -> Listen:
    listen, root = main.listen, source.path.parent
    if bool(listen.tls_cert) != bool(listen.tls_key):
        given, missing = ("tls_cert", "tls_key") if listen.tls_cert else ("tls_key", "tls_cert")
        source.error(("listen", given), f"needs {missing} as well")
    for name in ("tls_cert", "tls_key"):
        file = getattr(listen, name)
        if file and not (root / file).is_file():
            source.error(("listen", name), f"there is no file {root / file}")
    return Listen(
        host=listen.host,
        port=listen.port,
        workers=listen.workers,
        tls_cert=root / listen.tls_cert if listen.tls_cert else None,
        tls_key=root / listen.tls_key if listen.tls_key else None,
        trusted_proxies=listen.trusted_proxies,
        cors_origins=listen.cors_origins,
    )


def _ledger(main: MainTable, source: Source) -> Ledger:
    table = main.ledger
    if table.enabled:
        for name, tenant in main.tenants.items():
            if not is_log_region(tenant.region):
                source.error(("tenants", name, "region"), "names a log: no dot may stand in front")
            _check_origin(main.issuer, tenant.region, source, ("tenants", name, "region"))
        if table.home_region or not main.tenants:
            home = table.home_region or HOME_REGION
            _check_origin(main.issuer, home, source, ("ledger", "home_region"))
        if "+" in main.issuer:
            source.error(("issuer",), "names the logs: no `+` may stand in it")
    regions = [tenant.region for _, tenant in sorted(main.tenants.items())]
    return Ledger(
        enabled=table.enabled,
        home_region=table.home_region or next(iter(regions), HOME_REGION),
        tile_interval_ms=table.tile_interval_ms,
        checkpoint_interval_ms=table.checkpoint_interval_ms,
        delay_alarm_s=table.delay_alarm_s,
    )


def _check_origin(issuer: str, region: str, source: Source, path: KeyPath) -> None:
    if not is_log_origin(origin_of(issuer, LogId(region, YEAR_MAX))):
        source.error(
            path,
            f"names a log together with the issuer, of {len(issuer)} characters, and that name is "
            "too long for a file: write a shorter region or, if there is no ledger yet, a shorter "
            "issuer",
        )


def _policy(folder: Path, source: Source) -> Path:
    if not folder.is_dir():
        source.error(("policy", "bundle"), f"there is no folder {folder}")
    elif not any(folder.rglob("*.rego")):
        source.error(("policy", "bundle"), f"{folder} has no .rego file: no rules, no answers")
    return folder
