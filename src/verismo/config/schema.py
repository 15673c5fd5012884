"""What a checked configuration is: frozen values, and secrets that mask themselves.

The shape of the *files* is in `tables.py`; this is what the rest of Verismo is given.
"""

import hmac
from pathlib import Path
from typing import Final, Literal

import msgspec

from verismo.attest.note import VerifierKey
from verismo.attest.succession import KeyRules
from verismo.attest.witnesspolicy import WitnessPolicy
from verismo.config.adapttable import AdaptTable
from verismo.config.archivetable import ArchiveSettings
from verismo.config.budgettable import Budgets
from verismo.config.canarytable import Canary
from verismo.config.scalingtable import ScalingTarget
from verismo.config.slotable import Slo
from verismo.config.source import Problem
from verismo.model.decision import Controller
from verismo.model.ids import ProviderId
from verismo.model.limits import Limits
from verismo.model.plan import Plan

MASK: Final = "********"

LogLevel = Literal["debug", "info", "warning", "error"]
UpstreamClient = Literal["keepalive", "pyreqwest"]


class Secret:
    """A text that shows itself only when it is asked to.

    It is no Struct and no str on purpose: no encoder, formatter or log call can spell it out.
    Equality takes the same time wherever two secrets differ.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself; call this only where it is sent to its owner."""
        return self._text

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))


class Listen(msgspec.Struct, frozen=True):
    """The public listener.

    Args:
        host: address to bind.
        port: TCP port; 0 lets the system choose a free one.
        workers: gateway processes, at least 1.
        tls_cert: PEM certificate chain; None together with `tls_key` means plain HTTP.
        tls_key: PEM private key.
        trusted_proxies: networks in CIDR notation whose `X-Forwarded-For` is believed.
        cors_origins: origins that browsers may call from; `*` for any.
    """

    host: str
    port: int
    workers: int
    tls_cert: Path | None
    tls_key: Path | None
    trusted_proxies: tuple[str, ...]
    cors_origins: tuple[str, ...]


class ControlListen(msgspec.Struct, frozen=True):
    """The control listener: admin API, never reachable on the public one."""

    host: str
    port: int


class LogSettings(msgspec.Struct, frozen=True):
    """Structured logs on standard error; they never hold content.

    Args:
        level: least level that is written.
        requests: whether each request gets a line.
    """

    level: LogLevel
    requests: bool


class Telemetry(msgspec.Struct, frozen=True):
    """Traces.

    Args:
        otlp_endpoint: base URL of an OTLP/HTTP collector; empty sends nothing.
        sample_ppm: share of new traces that is recorded, millionths.
    """

    otlp_endpoint: str
    sample_ppm: int


class Ledger(msgspec.Struct, frozen=True):
    """The public log.

    Args:
        enabled: whether records are put into it.
        home_region: whose log takes what belongs to no tenant.
        tile_interval_ms: between two steps of the integrator.
        checkpoint_interval_ms: least time between two checkpoints of a log.
        delay_alarm_s: longest wait of a record for its proof without an alarm.
    """

    enabled: bool
    home_region: str
    tile_interval_ms: int
    checkpoint_interval_ms: int
    delay_alarm_s: int


class Sink(msgspec.Struct, frozen=True):
    """One place that SIEM events go to; only what belongs to its kind means anything.

    Args:
        name: its name, for good.
        kind: `file`, `syslog` or `http`.
        folder, rotate_bytes_max, rotate_s_max: of a file sink.
        host, port, tls, hostname, structured_data_id, message_bytes_max: of a syslog sink.
        received_file: what a syslog receiver writes; None if that cannot be read here.
        url, auth_scheme, query_url: of an HTTP sink.
        token: of an HTTP sink; None for none.
        ca_file: certificates to trust; None for the system's.
        timeout_ms: for each step with a receiver.
    """

    name: str
    kind: Literal["file", "syslog", "http"]
    folder: Path
    rotate_bytes_max: int
    rotate_s_max: int
    host: str
    port: int
    tls: bool
    hostname: str
    structured_data_id: str
    message_bytes_max: int
    received_file: Path | None
    url: str
    token: Secret | None
    auth_scheme: str
    query_url: str
    ca_file: Path | None
    timeout_ms: int


class Siem(msgspec.Struct, frozen=True):
    """The export of records to SIEMs.

    Args:
        interval_ms: between two looks for new records.
        batch_events_max: events of one batch.
        parity: whether each hour is compared with each sink that can be read back.
        sinks: by name; empty exports nothing.
    """

    interval_ms: int = 1_000
    batch_events_max: int = 500
    parity: bool = True
    sinks: tuple[Sink, ...] = ()


class WitnessUrl(msgspec.Struct, frozen=True):
    """Where one of the policy's witnesses is asked.

    Args:
        name: as in the policy.
        key: it cosigns with.
        url: its submission prefix.
    """

    name: str
    key: VerifierKey
    url: str


class Witnesses(msgspec.Struct, frozen=True):
    """Who cosigns the public log.

    Args:
        policy: the witnesses and the quorum; None if nobody is asked.
        urls: the witnesses that can be asked, in the order of the policy.
        timeout_ms: for one checkpoint at one witness.
    """

    policy: WitnessPolicy | None
    urls: tuple[WitnessUrl, ...]
    timeout_ms: int


class Slack(msgspec.Struct, frozen=True):
    """Cards of decisions to Slack.

    Args:
        webhook: where they are posted; None sends none.
        timeout_ms: for each step with Slack.
        controllers: whose decisions become cards.
    """

    webhook: Secret | None = None
    timeout_ms: int = 5_000
    controllers: tuple[Controller, ...] = ()


class Config(msgspec.Struct, frozen=True):
    """A whole configuration that passed every check.

    Args:
        path: the verismo.toml that it came from, absolute.
        root: the folder of that file; every relative path in it starts here.
        data: folder for keys, journals and state.
        listen: the public listener.
        control: the control listener.
        limits: named limits of the request path.
        upstream_client: which HTTP client calls the providers.
        log: log settings.
        telemetry: trace settings.
        policy: folder of the policy bundle.
        keys: how long signing keys live.
        ledger: the public log.
        witness: who cosigns it.
        archive: where its days are kept.
        plan: tenants, providers, deployments and operations.
        credentials: of the providers that have one; a provider that should have one and has not
            is missing here and named in `warnings`.
        docs_base_url: start of the `type` links in error bodies; empty means none.
        siem: where events go.
        adapt: the controllers.
        budgets: what routes may spend within a minute.
        canary: by what candidates are judged.
        scaling: whose replicas are decided about, by name.
        slos: what routes promise, by name.
        slack: where cards of decisions go.
        warnings: what is allowed but probably not meant.
    """

    path: Path
    root: Path
    data: Path
    listen: Listen
    control: ControlListen
    limits: Limits
    upstream_client: UpstreamClient
    log: LogSettings
    telemetry: Telemetry
    policy: Path
    keys: KeyRules
    ledger: Ledger
    witness: Witnesses
    archive: ArchiveSettings
    plan: Plan
    credentials: dict[ProviderId, Secret]
    docs_base_url: str
    siem: Siem = Siem()
    adapt: AdaptTable = AdaptTable()
    budgets: Budgets = Budgets()
    canary: Canary = Canary()
    slack: Slack = Slack()
    scaling: tuple[ScalingTarget, ...] = ()
    slos: tuple[Slo, ...] = ()
    warnings: tuple[Problem, ...] = ()
