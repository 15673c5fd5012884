"""The replicas of one Kubernetes Deployment, read and set through its scale subresource.

A change says which version of the object it was decided on (`resourceVersion`), so that it fails
where somebody else was quicker. Versions also move when only the status does: then the object is
read again, and the change is sent again while the replicas are what the caller saw. Nothing is
changed while a HorizontalPodAutoscaler has the same target, or if that cannot be told: two rules
on one number would undo each other's work.

Source: Kubernetes API, apps/v1 Deployment `/scale` (autoscaling/v1 Scale), autoscaling/v2;
RFC 7386 (JSON merge patch); API conventions, "Concurrency control".
"""

import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from verismo.adapters.timed_http import Asked, Unanswered, exchange
from verismo.model.errors import StateError
from verismo.model.units import Milliseconds
from verismo.ports.replicas import ChangeResult

MERGE_PATCH: Final = "application/merge-patch+json"
READ_S_MAX: Final = 1.0
"""A read that takes longer is no data: the loop has other work."""
TRIES_MAX: Final = 5
"""Conflicts in five seconds; a Deployment's status moves a few times while pods start."""
BODY_BYTES_MAX: Final = 8 * 1024 * 1024
TOKEN_BYTES_MAX: Final = 65_536
PAGE_ITEMS: Final = 250
PAGES_MAX: Final = 20
"""5,000 autoscalers in one namespace; more are not read, and so nothing is changed."""

log = logging.getLogger("verismo.scaling")


class ScalePlace(msgspec.Struct, frozen=True):
    """Which Deployment of which cluster.

    Args:
        api_url: of the API server, without a trailing slash.
        namespace: of the Deployment.
        name: of the Deployment.
        token_file: the service account's token; read for each exchange, since it is renewed.
        ca_file: PEM certificates to trust; None for the system's.
    """

    api_url: str
    namespace: str
    name: str
    token_file: Path
    ca_file: Path | None


class _Meta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""


class _ScaleSpec(msgspec.Struct, frozen=True):
    # Kubernetes leaves a 0 out.
    replicas: int = 0


class _Scale(msgspec.Struct, frozen=True):
    metadata: _Meta
    spec: _ScaleSpec


class _TargetRef(msgspec.Struct, frozen=True):
    kind: str
    name: str


class _HpaSpec(msgspec.Struct, frozen=True, rename="camel"):
    scale_target_ref: _TargetRef


class _Hpa(msgspec.Struct, frozen=True):
    spec: _HpaSpec


class _ListMeta(msgspec.Struct, frozen=True, rename={"next": "continue"}):
    next: str = ""


class _HpaList(msgspec.Struct, frozen=True):
    items: list[_Hpa]
    metadata: _ListMeta = _ListMeta()


_Body = TypeVar("_Body", _Scale, _HpaList)


class _Answered(Exception):
    """An answer other than 2xx.

    Args:
        status: of the answer.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"the API server answered {status}")
        self.status = status


class KubernetesScale:
    """A `ReplicaPlatform` over one Deployment.

    Args:
        place: which one.
        now_ms: returns Unix ms.
    """

    def __init__(self, place: ScalePlace, now_ms: Callable[[], int]) -> None:
        self._place = place
        self._now_ms = now_ms
        self._trusted: ssl.SSLContext | None = None

    def replicas(self) -> int:
        """Return the replicas that the Deployment is asked to have.

        Raises:
            StateError: the API server does not say; its `next_step` depends on the answer.
        """
        try:
            return self._read(READ_S_MAX).spec.replicas
        except (Unanswered, _Answered) as error:
            raise StateError(
                f"the replicas of {self._named()} cannot be read: {error}",
                next_step=_advice(error),
            ) from error

    def change(self, before: int, after: int, until_ms: Milliseconds) -> ChangeResult:
        """Set the replicas if they are what the caller saw and no autoscaler has the target.

        Args:
            before: what they are as far as the caller knows.
            after: what they are to be.
            until_ms: Unix ms; nothing is sent later than this.
        """
        try:
            result = self._change(before, after, until_ms)
        except _Answered as error:
            result = "not_allowed" if error.status in (401, 403, 404) else "refused"
            self._tell(result, error)
        except Unanswered as error:
            result = "unreachable"
            self._tell(result, error)
        return result

    def _change(self, before: int, after: int, until_ms: int) -> ChangeResult:
        if self._left_s(until_ms) <= 0:
            return "late"
        if self._has_autoscaler(until_ms):
            self._tell("autoscaler_present", 'delete the HPA, or use mode = "gauge"')
            return "autoscaler_present"
        for _ in range(TRIES_MAX):
            left_s = self._left_s(until_ms)
            if left_s <= 0:
                return "late"
            seen = self._read(left_s)
            if seen.spec.replicas != before:
                return "changed_elsewhere"
            left_s = self._left_s(until_ms)
            if left_s <= 0:
                return "late"
            result = self._send_change(seen.metadata.resource_version, after, left_s)
            if result is not None:
                return result
        return "refused"

    def _send_change(self, version: str, after: int, left_s: float) -> ChangeResult | None:
        """Send the change once; None if the object has moved on meanwhile."""
        try:
            self._patch(version, after, left_s)
        except _Answered as error:
            if error.status == 409:
                return None
            if error.status < 500:
                raise
            # A proxy's 504, say: the API server may have obeyed all the same.
            self._tell("unknown", error)
            return "unknown"
        except Unanswered as error:
            # Sent, and perhaps obeyed: the next look at the replicas tells.
            self._tell("unknown", error)
            return "unknown"
        return "done"

    def _left_s(self, until_ms: int) -> float:
        return (until_ms - self._now_ms()) / 1_000

    def _has_autoscaler(self, until_ms: int) -> bool:
        """Look through the namespace's autoscalers for one with this target."""
        path = f"/apis/autoscaling/v2/namespaces/{self._place.namespace}/horizontalpodautoscalers"
        after = ""
        for _ in range(PAGES_MAX):
            params = {"limit": str(PAGE_ITEMS), **({"continue": after} if after else {})}
            left_s = self._left_s(until_ms)
            if left_s <= 0:
                raise Unanswered("no time is left to look for autoscalers")
            body = self._send("GET", path, left_s, params=params)
            page = _decode(body, _HpaList)
            targets = [
                (one.spec.scale_target_ref.kind, one.spec.scale_target_ref.name)
                for one in page.items
            ]
            if ("Deployment", self._place.name) in targets:
                return True
            after = page.metadata.next
            if not after:
                return False
        raise Unanswered(f"over {PAGE_ITEMS * PAGES_MAX} autoscalers in the namespace")

    def _read(self, timeout_s: float) -> _Scale:
        scale = _decode(self._send("GET", self._scale_path(), timeout_s), _Scale)
        if scale.spec.replicas < 0 or not scale.metadata.resource_version:
            raise Unanswered("the answer is no scale with a version")
        return scale

    def _patch(self, version: str, replicas: int, timeout_s: float) -> None:
        body = msgspec.json.encode(
            {"metadata": {"resourceVersion": version}, "spec": {"replicas": replicas}}
        )
        answer = _decode(self._send("PATCH", self._scale_path(), timeout_s, content=body), _Scale)
        if answer.spec.replicas != replicas:
            raise Unanswered(f"asked for {replicas} replicas, it says {answer.spec.replicas}")

    def _scale_path(self) -> str:
        place = self._place
        return f"/apis/apps/v1/namespaces/{place.namespace}/deployments/{place.name}/scale"

    def _send(
        self,
        method: str,
        path: str,
        timeout_s: float,
        *,
        params: dict[str, str] | None = None,
        content: bytes | None = None,
    ) -> bytes:
        """Return the body of a 2xx answer.

        Raises:
            _Answered: another status.
            Unanswered: no whole answer, or the token cannot be read.
        """
        headers = {"authorization": f"Bearer {self._token()}", "accept": "application/json"}
        if content is not None:
            headers["content-type"] = MERGE_PATCH
        asked = Asked(method, self._place.api_url + path, headers, params or {}, content)
        told = exchange(asked, self._trust(), timeout_s, BODY_BYTES_MAX)
        if not 200 <= told.status < 300:
            raise _Answered(told.status)
        return told.body

    def _trust(self) -> ssl.SSLContext:
        if self._trusted is None:
            try:
                self._trusted = ssl.create_default_context(cafile=self._place.ca_file)
            except OSError as error:
                raise Unanswered(f"{self._place.ca_file}: {error}") from error
        return self._trusted

    def _token(self) -> str:
        file = self._place.token_file
        try:
            with file.open("rb") as stream:
                text = stream.read(TOKEN_BYTES_MAX).decode("ascii").strip()
        except OSError as error:
            raise Unanswered(f"the token {file} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise Unanswered(f"the token {file} is not ASCII text") from error
        if not text:
            raise Unanswered(f"the token {file} is empty")
        return text

    def _named(self) -> str:
        return f"{self._place.namespace}/{self._place.name}"

    def _tell(self, result: str, reason: object) -> None:
        fields = {"target": self._named(), "result": result, "reason": str(reason)}
        log.warning("the replicas were not surely changed", extra={"fields": fields})


def _decode(body: bytes, kind: type[_Body]) -> _Body:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Unanswered(f"the answer is not what Kubernetes documents: {error}") from error


def _advice(error: Unanswered | _Answered) -> str:
    if isinstance(error, _Answered) and error.status == 401:
        return "Check `token_file`: the API server does not know the token."
    if isinstance(error, _Answered) and error.status == 403:
        return "Give the service account the role in docs/adapt-scaling.md."
    if isinstance(error, _Answered) and error.status == 404:
        return "Check `target`: there is no such Deployment."
    return "Check `api_url`, `ca_file` and `token_file`; it is tried again."
