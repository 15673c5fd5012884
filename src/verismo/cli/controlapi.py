"""How commands reach the controllers: by the control API of the running gateway, with an admin key.

A command cannot act on the database itself: the one control process that decides records each act,
signs it and tells the gateways.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import click
import httpx2
import msgspec

from verismo.cli.options import config_option, printable
from verismo.config.load import load_config
from verismo.config.schema import Config, ControlListen
from verismo.control.acts import ROWS_MAX, DecisionView, NewAct, SteeringView
from verismo.model.decision import Action, Subject, Verdict
from verismo.model.errors import ConfigError, OperatorError

TIMEOUT_S: Final = 30.0
BODY_BYTES_MAX: Final = 67_108_864
KEY_VARIABLE: Final = "VERISMO_ADMIN_KEY"
_REFUSED: Final = frozenset({"malformed_request", "not_found"})
_ADVICE: Final = (
    "`verismo canary status` and `verismo budget show` say how things stand, --help what the "
    "command takes."
)
"""What the API says instead speaks to programs: of its paths and bodies."""

Command = TypeVar("Command", bound=Callable[..., object])
Answer = TypeVar("Answer")


class ToldDecision(msgspec.Struct, frozen=True):
    """The part of a decision that commands show."""

    verdict: Verdict
    action: Action
    reasons: tuple[str, ...]


class ToldAct(msgspec.Struct, frozen=True):
    """What an act came to; `control.acts.Decided` as it is read here."""

    n: int
    digest: str
    decision: ToldDecision
    steering: int


class _Records(msgspec.Struct, frozen=True):
    items: tuple[DecisionView, ...]


class _Problem(msgspec.Struct, frozen=True):
    code: str = ""
    detail: str = ""
    next_step: str = ""


def control_options(command: Command) -> Command:
    """Add `-c/--config`, `--url` and `--key`; the command takes them by these names."""
    key = click.option(
        "--key",
        metavar="va_...",
        envvar=KEY_VARIABLE,
        show_envvar=True,
        required=True,
        help="An admin key; `verismo apikey admin create` makes one.",
    )
    url = click.option("--url", help="The control listener; default: as the configuration says.")
    return config_option(url(key(command)))


class ControlClient:
    """Asks the control API; errors are for the operator.

    Args:
        client: with the address and the key.
        base: the address, for messages.
    """

    def __init__(self, client: httpx2.Client, base: str) -> None:
        self._client = client
        self._base = base

    def newest(self, rules: Sequence[str], subject: Subject) -> DecisionView | None:
        """Return the newest decision of some rules about a subject; None if there is none.

        Raises:
            OperatorError: the API refuses, or does not answer.
        """
        params: dict[str, str | Sequence[str]] = {
            name: getattr(subject, name) for name in subject.__struct_fields__
        }
        request = self._client.build_request(
            "GET", "/v1/decisions/newest", params={**params, "rule": list(rules)}
        )
        return self._ask(request, DecisionView, absent=True)

    def decisions(self) -> tuple[DecisionView, ...]:
        """Return the newest records, as many as there are in one answer.

        Raises:
            OperatorError: the API refuses, or does not answer.
        """
        request = self._client.build_request("GET", "/v1/decisions", params={"limit": ROWS_MAX})
        found = self._ask(request, _Records)
        return () if found is None else found.items

    def steering(self) -> SteeringView:
        """Return what gateways are told.

        Raises:
            OperatorError: the API refuses, or does not answer.
        """
        found = self._ask(self._client.build_request("GET", "/v1/steering"), SteeringView)
        return SteeringView(0, "", None, "") if found is None else found

    def act(self, asked: NewAct) -> ToldAct:
        """Have something done.

        Raises:
            OperatorError: it is refused, with what would not be; or the API does not answer.
        """
        request = self._client.build_request(
            "POST",
            "/v1/acts",
            content=msgspec.json.encode(asked),
            headers={"content-type": "application/json"},
        )
        found = self._ask(request, ToldAct)
        if found is None:
            raise self._strange("nothing")
        return found

    def _ask(
        self, request: httpx2.Request, wanted: type[Answer], *, absent: bool = False
    ) -> Answer | None:
        try:
            response = self._client.send(request)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise OperatorError(
                f"no control process answers at {self._base}: {str(error) or type(error).__name__}",
                next_step="`verismo serve` starts it; --url names another address.",
            ) from error
        try:
            if response.status_code in (200, 201):
                return msgspec.json.decode(response.content, type=wanted)
            problem = msgspec.json.decode(response.content, type=_Problem)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise self._strange(str(response.status_code)) from error
        if absent and problem.code == "not_found" and problem.detail == "no such decision":
            return None
        # The public listener knows none of these paths, and says so in the same form.
        if not problem.code or (request.method == "GET" and problem.code == "not_found"):
            raise self._strange(str(response.status_code))
        advice = _ADVICE if problem.code in _REFUSED else printable(problem.next_step)
        raise OperatorError(
            printable(problem.detail) or f"it answers {response.status_code}",
            next_step=advice or "Look at the gateway's log.",
        )

    def _strange(self, what: str) -> OperatorError:
        return OperatorError(
            f"{self._base} answers {what}, and not as the control API does",
            next_step="Name the control listener with --url.",
        )


@contextmanager
def open_control(config: Path, url: str | None, key: str) -> Iterator[tuple[ControlClient, Config]]:
    """Open the control API of a gateway for a command that needs its configuration.

    Args:
        config: the configuration file; it names the listener unless `url` does.
        url: of the control listener.
        key: an admin key.

    Raises:
        OperatorError: the configuration cannot be read, or does not say the address.
    """
    loaded = load_config(config)
    with _open_client(url or _configured_url(loaded), key) as client:
        yield client, loaded


@contextmanager
def reach_control(
    config: Path, url: str | None, key: str
) -> Iterator[tuple[ControlClient, Config | None]]:
    """Open the control API of a gateway for a command that an emergency may need.

    A mistake in a file has to keep nobody from a rollback: where `url` names the gateway, the
    configuration only saves typing. It is None where it cannot be read, and the reason is told.

    Args:
        config: the configuration file; it names the listener unless `url` does.
        url: of the control listener.
        key: an admin key.

    Raises:
        OperatorError: the configuration cannot be read, or does not say the address, and `url` is
            not given.
    """
    try:
        loaded = load_config(config)
    except ConfigError as error:
        if not url:
            raise ConfigError(
                error.detail, next_step=f"{error.advice} With --url it goes without."
            ) from error
        click.echo(f"without the configuration: {printable(error.detail)}", err=True)
        loaded = None
    base = url or (_configured_url(loaded) if loaded else "")
    with _open_client(base, key) as client:
        yield client, loaded


def _configured_url(config: Config) -> str:
    if config.control.port:
        return control_url(config.control)
    raise OperatorError(
        "the configuration lets the system choose the control port, so it is not known here",
        next_step="Set control.port and start the gateway again, or name the address with --url.",
    )


@contextmanager
def _open_client(url: str, key: str) -> Iterator[ControlClient]:
    base = url.rstrip("/")
    headers = {"authorization": f"Bearer {key.strip()}"}
    try:
        client = httpx2.Client(base_url=base, headers=headers, timeout=TIMEOUT_S, trust_env=False)
    except (httpx2.InvalidURL, UnicodeError) as error:
        raise OperatorError(
            f"the address or the key cannot be sent: {type(error).__name__}",
            next_step="Give --url as http://HOST:PORT and --key as it was printed.",
        ) from error
    with client:
        yield ControlClient(client, base)


def control_url(listen: ControlListen) -> str:
    """Return the address of the control API as a client on this machine would use it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host)
    return f"http://[{host}]:{listen.port}" if ":" in host else f"http://{host}:{listen.port}"
