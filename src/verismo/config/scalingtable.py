"""The shape of `[scaling.NAME]` in verismo.toml, and what a checked one is."""

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from verismo.adapt.scalingsettings import GAP_MS_MIN, REPLICAS_MAX, ScalingSettings
from verismo.model.ids import DeploymentId
from verismo.model.units import Milliseconds

ScalingMode = Literal["gauge", "strict"]
ReplicaSource = Literal["none", "scale", "prometheus"]

ACCOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where Kubernetes puts a pod's token and the certificate of its API server."""


class ScalingTable(msgspec.Struct, frozen=True):
    """How many replicas one Kubernetes Deployment is to have: docs/adapt-scaling.md.

    Args:
        deployment: a `[deployments.NAME]` that this target alone serves; what the gateways have in
            flight there is its load.
        target: the Kubernetes Deployment, `NAMESPACE/NAME`.
        slots: requests that one replica works on at a time.
        replicas_min: never fewer.
        replicas_max: never more.
        late_ms: the promise: a request gets its first byte within this.
        mode: `gauge` shows the replicas as a metric that an HPA follows; `strict` sets them at the
            API server, with no HPA on the same target.
        cold_start_ms: from the request for a replica to its first answer.
        gap_ms: between two actions.
        late_ppm: share of a minute's requests that may be late, in millionths.
        replicas_from: in gauge mode, where the replicas are read that are asked for now: `scale`
            at the API server, `prometheus` by `replicas_query`, `none` nowhere: nothing is decided
            then. Strict mode reads them at the API server.
        prometheus_url: base URL of the Prometheus that is queried.
        replicas_query: PromQL with one sample: the replicas that the target is asked to have.
        queue_query: PromQL with one sample: the requests that wait for a slot. Without it they are
            not told apart from those being worked on; they are part of the load all the same.
        api_url: the cluster's API server.
        token_file: the service account's token; read anew for each call.
        ca_file: PEM certificates that an API server is trusted by over https; empty takes the
            system's.
        hpa_tolerance: whether the cluster's HPAs know `behavior.*.tolerance`; for the manifest.
    """

    deployment: str
    target: str
    slots: Annotated[int, msgspec.Meta(ge=1, le=10_000)]
    replicas_min: Annotated[int, msgspec.Meta(ge=1, le=REPLICAS_MAX)]
    replicas_max: Annotated[int, msgspec.Meta(ge=1, le=REPLICAS_MAX)]
    late_ms: Annotated[int, msgspec.Meta(ge=1, le=3_600_000)]
    mode: ScalingMode = "gauge"
    cold_start_ms: Annotated[int, msgspec.Meta(ge=0, le=3_600_000)] = 60_000
    gap_ms: Annotated[int, msgspec.Meta(ge=GAP_MS_MIN, le=3_600_000)] = GAP_MS_MIN
    late_ppm: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 10_000
    replicas_from: ReplicaSource = "none"
    prometheus_url: str = ""
    replicas_query: str = ""
    queue_query: str = ""
    api_url: str = "https://kubernetes.default.svc"
    token_file: str = f"{ACCOUNT}/token"
    ca_file: str = f"{ACCOUNT}/ca.crt"
    hpa_tolerance: bool = False


class ScalingTarget(msgspec.Struct, frozen=True):
    """A checked `[scaling.NAME]`; see `ScalingTable`.

    Args:
        name: of the table; `target` of decisions and of metrics.
        deployment: whose load it is.
        namespace: of the Kubernetes Deployment.
        workload: its name.
        mode: how the answer reaches the cluster.
        settings: of the rule.
        late_ms: the promise.
        replicas_from: where the replicas are read; `scale` in strict mode.
        prometheus_url, replicas_query, queue_query: what is asked of Prometheus.
        api_url: the API server, without a trailing slash.
        token_file: the service account's token.
        ca_file: certificates to trust; None for the system's.
        hpa_tolerance: whether the cluster's HPAs have a tolerance of their own.
    """

    name: str
    deployment: DeploymentId
    namespace: str
    workload: str
    mode: ScalingMode
    settings: ScalingSettings
    late_ms: Milliseconds
    replicas_from: ReplicaSource
    prometheus_url: str
    replicas_query: str
    queue_query: str
    api_url: str
    token_file: Path
    ca_file: Path | None
    hpa_tolerance: bool
