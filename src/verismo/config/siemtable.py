"""The shape of `[siem]` in verismo.toml."""

from typing import Annotated, Literal

import msgspec

SinkKind = Literal["file", "syslog", "http"]
Count = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
StructuredDataId = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z0-9._-]{1,16}@[0-9]{1,10}(\.[0-9]{1,10})*\Z",
        description="a name, `@` and an enterprise number",
    ),
]
Hostname = Annotated[
    str,
    msgspec.Meta(pattern=r"^[!-~]{0,255}\Z", description="printable ASCII without spaces"),
]
VariableName = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?\Z",
        description="the name of an environment variable, not the credential itself",
    ),
]
Printable = Annotated[
    str, msgspec.Meta(pattern=r"^[ -~]*\Z", description="printable ASCII characters")
]


class SinkTable(msgspec.Struct, frozen=True):
    """Where events go: a folder of NDJSON files, a syslog receiver, or an HTTP collector.

    Args:
        kind: `file`, `syslog` or `http`; each takes its own keys.
        path: of a `file` sink, the folder; by default `siem/NAME` in the data folder.
        rotate_bytes_max: of a `file` sink, a file that would grow past this is closed first.
        rotate_s_max: of a `file` sink, a new file begins at each multiple of this, UTC, seconds.
        address: of a `syslog` sink, `HOST:PORT`; TCP with octet counting.
        tls: of a `syslog` sink, speak TLS.
        hostname: of a `syslog` sink, the HOSTNAME of messages; by default the issuer's host.
        structured_data_id: of a `syslog` sink, the SD-ID; put your own enterprise number there.
        message_bytes_max: of a `syslog` sink, the longest message its receiver takes whole; longer
            events become dead letters, never cut ones.
        received_file: of a `syslog` sink, the file that its receiver writes, to look at parity.
        url: of an `http` sink, where batches are posted.
        token_env: of an `http` sink, name of the environment variable that holds the token.
        token_file: of an `http` sink, file that holds the token instead (mode 0600 or 0400).
        auth_scheme: of an `http` sink, text before the token in `authorization`.
        query_url: of an `http` sink, where a span of time is read back, to look at parity.
        ca_file: PEM certificates to trust instead of the system's; for `https` and `tls`.
        timeout_ms: for each step with a receiver.
    """

    kind: SinkKind
    path: str = ""
    rotate_bytes_max: Annotated[int, msgspec.Meta(ge=65_536)] = 134_217_728
    rotate_s_max: Annotated[int, msgspec.Meta(ge=60)] = 86_400
    address: str = ""
    tls: bool = False
    hostname: Hostname = ""
    structured_data_id: StructuredDataId = "verismo@32473"
    message_bytes_max: Annotated[int, msgspec.Meta(ge=480, le=1_048_576)] = 8_192
    received_file: str = ""
    url: str = ""
    token_env: VariableName = ""
    token_file: str = ""
    auth_scheme: Printable = "Bearer "
    query_url: str = ""
    ca_file: str = ""
    timeout_ms: Annotated[int, msgspec.Meta(ge=100, le=600_000)] = 10_000


class SiemTable(msgspec.Struct, frozen=True):
    """The export of the ledger's records to SIEMs, as OCSF events.

    Args:
        interval_ms: how often new records are looked for.
        batch_events_max: events of one batch; memory for each sink grows with it.
        parity: compare each hour with each sink that can be read back, once it is over.
        sinks: where events go, by name; a name is for good, since cursors are kept under it.
    """

    interval_ms: Annotated[int, msgspec.Meta(ge=10, le=60_000)] = 1_000
    batch_events_max: Count = 500
    parity: bool = True
    sinks: dict[str, SinkTable] = {}
