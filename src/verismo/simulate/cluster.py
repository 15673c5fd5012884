"""What a simulated Kubernetes API server holds, and what it answers.

Deployments with their scale, autoscalers that do nothing, and events. No pod runs: a change of
replicas is done at once and leaves the event that the deployment controller writes. Each event and
the version say that they are simulated.

Source: Kubernetes API, apps/v1 `/scale`, autoscaling/v2, core/v1 Event.
"""

import re
import threading
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final, Literal
from urllib.parse import parse_qs, urlsplit

import msgspec

from verismo.model.canonical import Json

VERSION: Final = "v1.35.0+simulated"
EVENTS_MAX: Final = 10_000
"""The oldest go first; a cluster forgets its events after an hour."""

Fault = Literal["none", "hang", "cut", "lose", "garbage", "401", "403", "409", "429", "500", "503"]
"""Of the next exchange: `none` has none, `hang` never answers, `cut` closes the connection, `lose`
does what was asked and closes it without an answer, `garbage` answers no JSON, and numbers are
answered."""

_scale_path = re.compile(
    r"/apis/apps/v1/namespaces/([a-z0-9.-]+)/deployments/([a-z0-9.-]+)/scale"
).fullmatch
_hpa_path = re.compile(
    r"/apis/autoscaling/v2/namespaces/([a-z0-9.-]+)/horizontalpodautoscalers"
).fullmatch
_events_path = re.compile(r"/api/v1(?:/namespaces/([a-z0-9.-]+))?/events").fullmatch


class _PatchMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""


class _PatchSpec(msgspec.Struct, frozen=True):
    replicas: int | None = None


class _Patch(msgspec.Struct, frozen=True):
    metadata: _PatchMeta = _PatchMeta()
    spec: _PatchSpec = _PatchSpec()


class _Workload:
    """One Deployment.

    Args:
        replicas: that it is asked to have.
        version: of the object.
    """

    def __init__(self, replicas: int, version: int) -> None:
        self.replicas = replicas
        self.version = version


class Refused(Exception):
    """The server answers with a Status.

    Args:
        status: of HTTP.
        message: for people.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Cluster:
    """What the server holds; any thread may call it.

    Args:
        token: that callers must bring.
        now_s: returns Unix seconds.
    """

    def __init__(self, token: str, now_s: Callable[[], float]) -> None:
        self.token = token
        self.faults: deque[Fault] = deque()
        self.asked: list[tuple[str, str]] = []
        self._now_s = now_s
        self._lock = threading.Lock()
        self._version = 1_000
        self._workloads: dict[tuple[str, str], _Workload] = {}
        self._autoscalers: list[tuple[str, str, str]] = []
        self._events: deque[dict[str, Json]] = deque(maxlen=EVENTS_MAX)

    def deploy(self, namespace: str, name: str, replicas: int) -> None:
        """Make a Deployment."""
        with self._lock:
            self._workloads[namespace, name] = _Workload(replicas, self._next())

    def autoscale(self, namespace: str, name: str, deployment: str) -> None:
        """Make a HorizontalPodAutoscaler; it does nothing but be there."""
        with self._lock:
            self._autoscalers.append((namespace, name, deployment))

    def touch(self, namespace: str, name: str) -> None:
        """Move an object's version as a change of its status does."""
        with self._lock:
            self._workloads[namespace, name].version = self._next()

    def replicas(self, namespace: str, name: str) -> int:
        """Return what a Deployment is asked to have."""
        with self._lock:
            return self._workloads[namespace, name].replicas

    def scale(self, namespace: str, name: str) -> dict[str, Json]:
        """Return the scale of a Deployment.

        Raises:
            Refused: there is none.
        """
        with self._lock:
            return _scale(namespace, name, self._found(namespace, name))

    def patch(self, namespace: str, name: str, body: bytes) -> dict[str, Json]:
        """Merge a patch into the scale of a Deployment and return it.

        Raises:
            Refused: there is none, the patch is no patch, or the object has moved on.
        """
        try:
            patch = msgspec.json.decode(body, type=_Patch)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise Refused(400, f"error decoding patch: {error}") from error
        with self._lock:
            workload = self._found(namespace, name)
            version = patch.metadata.resource_version
            if version and version != str(workload.version):
                raise Refused(
                    409,
                    f'Operation cannot be fulfilled on deployments.apps "{name}": the object has '
                    "been modified; please apply your changes to the latest version and try again",
                )
            wanted = workload.replicas if patch.spec.replicas is None else patch.spec.replicas
            if wanted < 0:
                raise Refused(
                    422, "spec.replicas: Invalid value: must be greater than or equal to 0"
                )
            if wanted != workload.replicas:
                self._tell(namespace, name, workload.replicas, wanted)
                workload.replicas, workload.version = wanted, self._next()
            return _scale(namespace, name, workload)

    def autoscalers(self, namespace: str, limit: int, after: int) -> dict[str, Json]:
        """Return one page of a namespace's autoscalers."""
        with self._lock:
            found = [one for one in self._autoscalers if one[0] == namespace]
        page = found[after : after + limit]
        rest = str(after + limit) if after + limit < len(found) else ""
        return {
            "kind": "HorizontalPodAutoscalerList",
            "apiVersion": "autoscaling/v2",
            "metadata": {"continue": rest} if rest else {},
            "items": [_autoscaler(*one) for one in page],
        }

    def events(self, namespace: str | None) -> dict[str, Json]:
        """Return the events of a namespace, or of all."""
        with self._lock:
            found = list(self._events)
        kept = [
            one
            for one in found
            if namespace is None or _text(one["metadata"], "namespace") == namespace
        ]
        return {"kind": "EventList", "apiVersion": "v1", "metadata": {}, "items": [*kept]}

    def _found(self, namespace: str, name: str) -> _Workload:
        workload = self._workloads.get((namespace, name))
        if workload is None:
            raise Refused(404, f'deployments.apps "{name}" not found')
        return workload

    def _next(self) -> int:
        self._version += 1
        return self._version

    def _tell(self, namespace: str, name: str, before: int, after: int) -> None:
        """Write the deployment controller's event; its times have whole seconds."""
        way = "up" if after > before else "down"
        at = datetime.fromtimestamp(int(self._now_s()), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._events.append(
            {
                "kind": "Event",
                "apiVersion": "v1",
                "metadata": {
                    "name": f"{name}.{self._version:016x}",
                    "namespace": namespace,
                    "annotations": {"simulated": "true"},
                },
                "involvedObject": {
                    "kind": "Deployment",
                    "apiVersion": "apps/v1",
                    "namespace": namespace,
                    "name": name,
                },
                "reason": "ScalingReplicaSet",
                "message": f"Scaled {way} replica set {name}-5d9c7b6f4 from {before} to {after}",
                "source": {"component": "deployment-controller"},
                "firstTimestamp": at,
                "lastTimestamp": at,
                "count": 1,
                "type": "Normal",
            }
        )


def _scale(namespace: str, name: str, workload: _Workload) -> dict[str, Json]:
    # As in Kubernetes, a spec of 0 replicas is left out.
    spec: dict[str, Json] = {"replicas": workload.replicas} if workload.replicas else {}
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "resourceVersion": str(workload.version),
        },
        "spec": spec,
        "status": {"replicas": workload.replicas, "selector": f"app={name}"},
    }


def _autoscaler(namespace: str, name: str, deployment: str) -> dict[str, Json]:
    target: dict[str, Json] = {"kind": "Deployment", "name": deployment, "apiVersion": "apps/v1"}
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 10},
    }


def _text(value: Json, name: str) -> str:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""


def answer(
    cluster: Cluster, method: str, target: str, headers: Mapping[str, str], body: bytes
) -> Json:
    """Return what the API server answers with 200.

    Args:
        cluster: what it holds.
        method: of HTTP.
        target: path and query.
        headers: by lower-case name.
        body: of the request.

    Raises:
        Refused: it answers with another status.
    """
    parts = urlsplit(target)
    if parts.path == "/version":
        return {"major": "1", "minor": "35", "gitVersion": VERSION}
    if headers.get("authorization") != f"Bearer {cluster.token}":
        raise Refused(401, "Unauthorized")
    found = _scale_path(parts.path)
    if found and method == "PATCH":
        if headers.get("content-type") != "application/merge-patch+json":
            raise Refused(415, "the body of the request was in an unknown format")
        return cluster.patch(found[1], found[2], body)
    if method != "GET":
        raise Refused(405, "the server does not allow this method on the requested resource")
    return cluster.scale(found[1], found[2]) if found else _listed(cluster, parts.path, parts.query)


def _listed(cluster: Cluster, path: str, query: str) -> Json:
    if found := _hpa_path(path):
        asked = parse_qs(query)
        limit, after = asked.get("limit", ["500"])[0], asked.get("continue", ["0"])[0]
        if not (limit.isdecimal() and after.isdecimal()):
            raise Refused(400, "limit or continue cannot be read")
        return cluster.autoscalers(found[1], int(limit) or 500, int(after))
    if found := _events_path(path):
        return cluster.events(found[1])
    raise Refused(404, "the server could not find the requested resource")
