"""The seal of a run that a client made itself: the gateway signs what it knows of it."""

import re

import httpx2
import msgspec

from verismo.attest.report import Report
from verismo.client.delivery import DETAIL_CHARS_MAX
from verismo.client.errors import SealRefused
from verismo.client.recorder import Recorder
from verismo.client.recording import report_of
from verismo.client.settings import Gateway
from verismo.client.site import Site
from verismo.client.transport import VerifyingTransport
from verismo.model.errors import ConfigError

RUNS_PREFIX = "/v1/runs/"
SEAL_S_MAX = 30.0
"""The gateway reads the graphs of all calls back before it signs."""
PROV_ID = "attest-prov-id"


_is_name = re.compile("[A-Za-z0-9._-]{1,128}").fullmatch


class Seal(msgspec.Struct, frozen=True):
    """The gateway's signed word on a run.

    Args:
        prov_id: names it; `GET /v1/prov/{prov_id}` shows the whole graph.
        commit: to the answer, hex: salted with the run's salt, as it stands in the graph.
        report: the verdict on the reply, None if no keys were given to verify it with.
        response: the reply with its proof, for `recording.save_exchange`.
    """

    prov_id: str
    commit: str
    report: Report | None
    response: httpx2.Response


class Way(msgspec.Struct, frozen=True):
    """How a gateway is reached.

    Args:
        gateway: its address, or with it what is demanded of its replies.
        api_key: of the tenant.
    """

    gateway: str | Gateway
    api_key: str

    @property
    def base_url(self) -> str:
        """The gateway's address."""
        return self.gateway if isinstance(self.gateway, str) else self.gateway.base_url

    def client(self) -> httpx2.Client:
        """Return a client for one seal; it verifies if there are keys to verify with."""
        if isinstance(self.gateway, Gateway):
            return httpx2.Client(transport=VerifyingTransport(self.gateway))
        return httpx2.Client(verify=self.base_url.startswith("https:"))


class Sealing:
    """Seals one run.

    Args:
        way: to the gateway.
        operation: of kind `agent`.
        recorder: of the run.

    Raises:
        ConfigError: the operation's name is none.
    """

    def __init__(self, way: Way, operation: str, recorder: Recorder) -> None:
        if not _is_name(operation):
            raise ConfigError(
                f"{operation!r} is no operation's name",
                next_step="Name the operation that the run is sealed for.",
            )
        self._way = way
        self._recorder = recorder
        self._url = Site(way.base_url).url_of(RUNS_PREFIX + operation)

    def seal(self, answer: bytes) -> Seal:
        """Seal the run under an answer; see `Run.seal`."""
        commit = self._recorder.commit(answer)
        headers = self._recorder.headers(self._recorder.context.run_span)
        headers["authorization"] = f"Bearer {self._way.api_key}"
        told = {"answer_commit": commit, "octets": len(answer)}
        with self._way.client() as client:
            response = client.post(self._url, json=told, headers=headers, timeout=SEAL_S_MAX)
        if response.status_code != 200:
            detail = response.text[:DETAIL_CHARS_MAX]
            raise SealRefused(f"the gateway answered {response.status_code}: {detail}")
        prov_id = response.headers.get(PROV_ID, "")
        return Seal(prov_id, commit, report_of(response), response)
