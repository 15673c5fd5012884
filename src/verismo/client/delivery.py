"""Brings reports to a gateway. Nothing here raises for what goes wrong on the way: it is said."""

import threading
from typing import Literal

import httpx2
import msgspec

from verismo.client.site import Site
from verismo.model.errors import ConfigError

TRACES_PATH = "/v1/traces"
SEND_S_MAX = 2.0
"""How long the gateway may take to connect, and again to answer: an agent waits for this at its
end, and the gateway answers within milliseconds or is in trouble."""
DETAIL_CHARS_MAX = 300

Fate = Literal["delivered", "waiting", "lost"]
"""`waiting`: it did not arrive, and may when it is sent again."""

_LATER = frozenset({429, 502, 503, 504})


class Delivered(msgspec.Struct, frozen=True):
    """What became of a report.

    Args:
        fate: see `Fate`.
        refused: spans that the gateway refused for good.
        reason: for people, empty if all went well.
    """

    fate: Fate
    refused: int = 0
    reason: str = ""


class _PartialSuccess(msgspec.Struct, frozen=True, rename="camel"):
    rejected_spans: int | str = 0
    error_message: str = ""


class _Answer(msgspec.Struct, frozen=True, rename="camel"):
    partial_success: _PartialSuccess = _PartialSuccess()


class Delivery:
    """The way to one gateway for one API key. Safe for concurrent use.

    Args:
        base_url: of the gateway, without `/v1`.
        api_key: of the tenant whose run it is.
        http_client: sends the reports; one of its own if None. One that is given is not closed,
            and sharing it spares each run its connection.

    Raises:
        ConfigError: the address, the key or the client cannot be used.
    """

    def __init__(
        self, base_url: str, api_key: str, http_client: httpx2.Client | None = None
    ) -> None:
        self.site = Site(base_url)
        if not api_key.isascii() or not api_key.isprintable() or not api_key.strip():
            raise ConfigError(
                "the API key cannot stand in a header", next_step="Pass it as `vk_...`."
            )
        if not isinstance(http_client, httpx2.Client | None):
            raise ConfigError(
                "http_client is no httpx2.Client",
                next_step="Give a synchronous one; in asyncio it is used in a thread.",
            )
        self._url = self.site.url_of(TRACES_PATH)
        self._headers = {
            "authorization": f"Bearer {api_key}",
            "content-type": "application/json",
        }
        self._given = http_client
        self._own: httpx2.Client | None = None
        self._opening = threading.Lock()

    def send(self, report: bytes) -> Delivered:
        """Send one report and say what became of it; waits for the gateway."""
        try:
            response = self._client().post(
                self._url, content=report, headers=self._headers, timeout=SEND_S_MAX
            )
        except (httpx2.HTTPError, OSError) as error:
            return Delivered("waiting", reason=f"{type(error).__name__}: {error}")
        except RuntimeError as error:
            # The client that was given has been closed: the agent's own work goes on without it.
            return Delivered("lost", reason=str(error))
        if response.status_code in _LATER:
            return Delivered("waiting", reason=f"the gateway answered {response.status_code}")
        if response.status_code != 200:
            detail = response.text[:DETAIL_CHARS_MAX]
            return Delivered(
                "lost", reason=f"the gateway answered {response.status_code}: {detail}"
            )
        return _read(response.content)

    def close(self) -> None:
        """Close what was opened here."""
        own, self._own = self._own, None
        if own is not None:
            own.close()

    def _client(self) -> httpx2.Client:
        """Return the client; an own one is made when it is first needed, which takes its time."""
        if self._given is not None:
            return self._given
        with self._opening:
            if self._own is None:
                # Loading certificates takes tens of milliseconds that plain HTTP has no use for.
                self._own = httpx2.Client(verify=self._url.startswith("https:"))
            return self._own


def _read(content: bytes) -> Delivered:
    """Read how a report was taken; another kind of answer means that nobody took it."""
    try:
        partial = msgspec.json.decode(content, type=_Answer).partial_success
        refused = int(partial.rejected_spans)
    except (msgspec.MsgspecError, ValueError) as error:
        return Delivered("lost", reason=f"not a gateway's answer: {error}")
    return Delivered("delivered", refused, partial.error_message[:DETAIL_CHARS_MAX])
