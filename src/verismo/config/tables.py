"""The shape of verismo.toml: one Struct for each table; `operationtable.py` has operations/.

Types, ranges and defaults stand here once; `reading.py` checks files against them and
`reference.py` turns the docstrings into docs/configuration.md.
"""

from decimal import Decimal
from typing import Annotated, Literal

import msgspec

from verismo.config.adapttable import AdaptTable
from verismo.config.archivetable import ArchiveTable
from verismo.config.budgettable import BudgetsTable
from verismo.config.canarytable import CanaryTable
from verismo.config.scalingtable import ScalingTable
from verismo.config.schema import LogLevel, UpstreamClient
from verismo.config.siemtable import SiemTable
from verismo.config.slacktable import SlackTable
from verismo.config.slotable import SloTable
from verismo.model.limits import Limits
from verismo.model.operation import ProviderKind, Timeouts
from verismo.model.tenant import Enforcement, RateLimit

Name = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z0-9._-]{1,128}\Z",
        description="1 to 128 letters, digits, `.`, `_` and `-`",
    ),
]
Alias = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z0-9._:/@-]{1,128}\Z",
        description="1 to 128 letters, digits, `.`, `_`, `:`, `/`, `@` and `-`",
    ),
]
"""What clients put into `model`: vendors use `/`, `:` and `@` there as well."""
Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
VariableName = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?\Z",
        description="the name of an environment variable, not the credential itself",
    ),
]
HeaderName = Annotated[
    str, msgspec.Meta(pattern=r"^[A-Za-z0-9-]*\Z", description="letters, digits and `-`")
]
Printable = Annotated[
    str, msgspec.Meta(pattern=r"^[ -~]*\Z", description="printable ASCII characters")
]
Model = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[!-~]{0,256}\Z", description="at most 256 ASCII characters without spaces"
    ),
]
ModelPattern = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[!-~]{1,256}\Z", description="1 to 256 ASCII characters without spaces"
    ),
]
Issuer = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[!-~]{1,128}\Z", description="1 to 128 ASCII characters without spaces"
    ),
]
DocumentId = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^(sha256:[0-9a-f]{64})?\Z",
        description="`sha256:` and 64 lower-case hex digits",
    ),
]


class ListenTable(msgspec.Struct, frozen=True):
    """The public listener.

    Args:
        host: address to bind; `0.0.0.0` for every interface. VERISMO_HOST overrides it.
        port: TCP port; 0 lets the system choose. VERISMO_PORT overrides it.
        workers: gateway processes that share the port, 1 to 64; about one for each core.
            VERISMO_WORKERS overrides it.
        tls_cert: PEM certificate chain; set it together with `tls_key`. Without TLS, here or at a
            proxy, browsers do not verify answers: WebCrypto needs a secure context.
        tls_key: PEM private key.
        trusted_proxies: networks (CIDR) whose `X-Forwarded-For` is believed; empty believes nobody.
        cors_origins: origins that may call from a browser, such as `https://app.example.com`;
            `*` for any.
    """

    host: str = "127.0.0.1"
    port: Port = 8080
    workers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    tls_cert: str = ""
    tls_key: str = ""
    trusted_proxies: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()


class ControlTable(msgspec.Struct, frozen=True):
    """The control listener: admin API with its own keys, never part of the public listener.

    Args:
        host: address to bind; it speaks plain HTTP, so keep it on loopback.
        port: TCP port, another one than the public listener's.
    """

    host: str = "127.0.0.1"
    port: Port = 8081


class LogTable(msgspec.Struct, frozen=True):
    """Structured logs on standard error, never with content.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        requests: one line for each request. Off: the journal has them all, and the lines cost time.
    """

    level: LogLevel = "info"
    requests: bool = False


class UpstreamTable(msgspec.Struct, frozen=True):
    """How providers are connected to.

    Args:
        client: `keepalive`, our own HTTP/1.1 client, is the fastest; `pyreqwest` also speaks
            HTTP/2 and compressed answers.
    """

    client: UpstreamClient = "keepalive"


class TelemetryTable(msgspec.Struct, frozen=True):
    """OpenTelemetry traces.

    Args:
        otlp_endpoint: base URL of an OTLP/HTTP collector, such as `http://127.0.0.1:4318`; empty
            sends nothing.
        sample_ppm: share of new traces that is recorded, in millionths (10000 is 1 %).
    """

    otlp_endpoint: str = ""
    sample_ppm: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 10_000


class LedgerTable(msgspec.Struct, frozen=True):
    """The public log of everything that was signed.

    Args:
        enabled: put what the journals hold into the ledger. Off: answers are signed and kept, but
            nobody can see that none was removed or backdated.
        home_region: whose log takes what belongs to no tenant: recorded gaps and versions of the
            key ring. Empty takes the region of the alphabetically first tenant; set it, since a log
            that exists goes on.
        tile_interval_ms: how often new records are put into the tree.
        checkpoint_interval_ms: how often the tree's head is signed, at most; a proof is there once
            it is.
        delay_alarm_s: a record that waits longer than this for its proof is an alarm.
    """

    enabled: bool = True
    home_region: Annotated[
        str,
        msgspec.Meta(
            pattern=r"^([A-Za-z0-9_-][A-Za-z0-9._-]{0,127})?\Z",
            description="1 to 128 letters, digits, `.`, `_` and `-`, no dot in front",
        ),
    ] = ""
    tile_interval_ms: Annotated[int, msgspec.Meta(ge=10, le=60_000)] = 250
    checkpoint_interval_ms: Annotated[int, msgspec.Meta(ge=10, le=3_600_000)] = 1_000
    delay_alarm_s: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 60


class WitnessTable(msgspec.Struct, frozen=True):
    """Who is asked to cosign the public log's checkpoints.

    Args:
        policy: file with the witnesses, their keys and URLs, and the quorum (C2SP tlog-policy),
            relative to this file. Give the same file to whoever verifies proofs. Empty: nobody is
            asked, and only this gateway says what its log is.
        urls: submission prefixes of witnesses that the policy file names without one or with
            another, by their names there.
        timeout_ms: how long one witness may take for one checkpoint.
    """

    policy: str = ""
    urls: dict[str, str] = {}
    timeout_ms: Annotated[int, msgspec.Meta(ge=100, le=60_000)] = 5_000


class PolicyTable(msgspec.Struct, frozen=True):
    """The rules that allow or refuse every call.

    Args:
        bundle: folder of the Rego bundle, relative to this file.
    """

    bundle: str = "policy"


class ObserveTable(msgspec.Struct, frozen=True):
    """Where unregistered operations of tenants in `observe` go, by kind and in fallback order.

    The model asked for is the deployment's, whatever the client named. A kind without deployments
    is refused.

    Args:
        chat: deployments for chats.
        embedding: deployments for embeddings, best of one model: vectors of two models cannot be
            compared.
        graphql: deployments for GraphQL documents.
        deployments: the older form, for all kinds in one list: a deployment at a provider of kind
            `openai` gets the kinds of the registered operations that name it; if none does, it
            must stand in a list above instead.
    """

    chat: tuple[Name, ...] = ()
    embedding: tuple[Name, ...] = ()
    graphql: tuple[Name, ...] = ()
    deployments: tuple[Name, ...] = ()


class ProviderTable(msgspec.Struct, frozen=True):
    """An upstream service.

    Args:
        kind: the protocol it speaks: `openai`, `anthropic`, `graphql`, `http` or `mcp`.
        base_url: `http://` or `https://`, without credentials, query or fragment; for `openai` it
            usually ends in `/v1`, for `graphql` it is the whole address.
        api_key_env: name of the environment variable that holds the credential.
        api_key_file: file that holds the credential instead; only its owner may read it (mode
            0600 or 0400). With neither, calls carry no credential.
        auth_header: header that carries the credential; by default `authorization`, for
            `anthropic` `x-api-key`.
        auth_scheme: text before the credential; by default `Bearer `, for `anthropic` nothing.
        timeouts: deadlines of one try.
    """

    kind: ProviderKind
    base_url: str
    api_key_env: VariableName = ""
    api_key_file: str = ""
    auth_header: HeaderName | None = None
    auth_scheme: Printable | None = None
    timeouts: Timeouts = Timeouts()


class PriceTable(msgspec.Struct, frozen=True):
    """An override of the public price list, exact to a millionth of a dollar.

    Args:
        input_usd_per_mtok: US dollars for a million input tokens.
        output_usd_per_mtok: US dollars for a million output tokens.
    """

    input_usd_per_mtok: Decimal
    output_usd_per_mtok: Decimal


class DeploymentTable(msgspec.Struct, frozen=True):
    """One provider, model, region and price.

    Args:
        provider: name of a `[providers.NAME]` table.
        region: where the data goes; policy compares it with the tenant's region.
        model: the model name that the provider is asked for; for `http` and `mcp` the path, such
            as `/search`, empty for the base URL itself; for `graphql` a label, by default
            `graphql`.
        price: set it for models that the public price list does not know.
    """

    provider: Name
    region: Name
    model: Model = ""
    price: PriceTable | None = None


class TenantTable(msgspec.Struct, frozen=True):
    """One customer of the platform.

    Args:
        region: home region; policy compares it with the regions of deployments.
        purposes: what its data may be used for; operations name the purpose they serve. The first
            one is the default of its API keys.
        models: model names or `prefix*` patterns that it may reach; empty means none.
        enforcement: `observe` runs unknown operations too and records them without values,
            `safelist` runs registered ones only, `id-only` runs them only by id. Omitted:
            `observe` until an operation names this tenant in its `tenants`, then `safelist`.
        budget_usd_per_day: fixed budget in US dollars, exact to a millionth; 0 allows no spending.
        rate: limits for the tenant as a whole.
        cache_ttl_s: lifetime of exact-cache entries, seconds, up to 30 days; 0 turns the cache off.
        capture: keep content, encrypted under the tenant's own key. Off unless you ask for it.
    """

    region: Name
    purposes: tuple[Name, ...]
    models: tuple[ModelPattern, ...] = ()
    enforcement: Enforcement | None = None
    budget_usd_per_day: Decimal = Decimal(0)
    rate: RateLimit = RateLimit()
    cache_ttl_s: Annotated[int, msgspec.Meta(ge=0, le=2_592_000)] = 0
    capture: bool = False


class KeysTable(msgspec.Struct, frozen=True):
    """How long signing keys live; a change counts for the keys that are made after it.

    Args:
        signer: who holds the private keys; `file` keeps them in the data folder.
        active_s: how long a token key signs before its successor takes over, seconds.
        notice_s: how long before its use a new token key is published, seconds; at least twice
            `jwks_max_age_s`.
        overlap_s: how long a retired key stays in the key set, seconds.
        handover_s: how long the old key may still sign after the new one has taken over, seconds.
        jwks_max_age_s: how long clients may keep the key set, seconds.
    """

    signer: Literal["file"] = "file"
    active_s: Annotated[int, msgspec.Meta(ge=1, le=63_244_800)] = 2_592_000
    notice_s: Annotated[int, msgspec.Meta(ge=0, le=2_592_000)] = 86_400
    overlap_s: Annotated[int, msgspec.Meta(ge=0, le=63_244_800)] = 604_800
    handover_s: Annotated[int, msgspec.Meta(ge=1, le=3_600)] = 60
    jwks_max_age_s: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 300


class MainTable(msgspec.Struct, frozen=True):
    """The top of verismo.toml.

    Args:
        data: folder for keys, journals and state, relative to this file. VERISMO_DATA overrides it
            (relative to the current folder).
        issuer: who signs: the `iss` of every statement. Set it to the URL that your clients call.
        docs_base_url: start of the `type` links in error bodies; empty means none.
        listen: the public listener.
        control: the control listener.
        limits: named limits of the request path.
        upstream: connections to providers.
        log: logs.
        telemetry: traces.
        policy: the policy bundle.
        keys: lifetime of signing keys.
        ledger: the public log.
        witness: who cosigns it.
        archive: where its days are kept.
        siem: the export to SIEMs.
        adapt: the controllers.
        budgets: what routes may spend within a minute.
        canary: by what candidates are judged.
        scaling: how many replicas Kubernetes Deployments are to have, by name.
        slo: what routes promise, by name.
        slack: cards of decisions.
        observe: unregistered operations.
        providers: upstream services by name.
        deployments: models at providers by name.
        tenants: customers by id.
    """

    data: Annotated[str, msgspec.Meta(min_length=1)] = "var"
    issuer: Issuer = "verismo"
    docs_base_url: str = ""
    listen: ListenTable = ListenTable()
    control: ControlTable = ControlTable()
    limits: Limits = Limits()
    upstream: UpstreamTable = UpstreamTable()
    log: LogTable = LogTable()
    telemetry: TelemetryTable = TelemetryTable()
    policy: PolicyTable = PolicyTable()
    keys: KeysTable = KeysTable()
    ledger: LedgerTable = LedgerTable()
    witness: WitnessTable = WitnessTable()
    archive: ArchiveTable = ArchiveTable()
    siem: SiemTable = SiemTable()
    adapt: AdaptTable = AdaptTable()
    budgets: BudgetsTable = BudgetsTable()
    canary: CanaryTable = CanaryTable()
    slack: SlackTable = SlackTable()
    scaling: dict[str, ScalingTable] = {}
    slo: dict[str, SloTable] = {}
    observe: ObserveTable = ObserveTable()
    providers: dict[str, ProviderTable] = {}
    deployments: dict[str, DeploymentTable] = {}
    tenants: dict[str, TenantTable] = {}
