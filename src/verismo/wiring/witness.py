"""Composes a witness: its folder, its key, its memory and its server."""

import asyncio
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from verismo.adapters.http_uvicorn import HttpServer, ServerSettings
from verismo.adapters.witness_key import WitnessKey
from verismo.adapters.witness_sqlite import SqliteWitness
from verismo.attest.note import (
    ALGORITHM_COSIGNATURE,
    ALGORITHM_ED25519,
    NoteRefused,
    VerifierKey,
    check_name,
    parse_vkey,
    verifier_key,
)
from verismo.attest.witnesspolicy import PolicyRefused, read_policy
from verismo.control.witness import Witness, witness_app
from verismo.model.errors import OperatorError, StateError
from verismo.model.ledger import read_log_id
from verismo.ports.witness import TrustedLog

KEY_FILE = "witness.key"
MEMORY_FILE = "witness.db"
BACKLOG = 128
_LIMITS = ServerSettings(header_bytes_max=16_384, head_s_max=10.0, drain_s_max=5, stall_s_max=10.0)


class OpenWitness(msgspec.Struct, frozen=True):
    """A witness's folder, opened.

    Args:
        name: of the witness.
        key: its private key.
        store: its memory.
    """

    name: str
    key: WitnessKey
    store: SqliteWitness

    @property
    def vkey(self) -> str:
        """The verifier key, for policy files."""
        return verifier_key(self.name, self.key.public_key, ALGORITHM_COSIGNATURE).vkey


def make_witness(folder: Path, name: str) -> str:
    """Make a new witness and return its verifier key.

    Args:
        folder: made if it is not there; nothing of a witness may be in it.
        name: a URL without its scheme, such as `witness.example/w1`.

    Raises:
        OperatorError: a name that notes cannot carry.
        StateError: there is a witness in it, or it cannot be written.
    """
    try:
        check_name(name)
    except NoteRefused as error:
        raise OperatorError(
            f"--name: {error}", next_step="Name it like a URL: witness.example/w1"
        ) from error
    if (folder / MEMORY_FILE).exists():
        raise StateError(f"{folder} has a witness already", next_step="Name another folder.")
    # A crash between the two leaves a key without a memory, which is never served.
    key = WitnessKey.make(folder / KEY_FILE)
    SqliteWitness.make(folder / MEMORY_FILE, name, key.public_key).close()
    return verifier_key(name, key.public_key, ALGORITHM_COSIGNATURE).vkey


@contextmanager
def open_witness(folder: Path) -> Iterator[OpenWitness]:
    """Open a witness's folder.

    Raises:
        StateError: there is none, or key and memory do not belong together.
    """
    key = WitnessKey(folder / KEY_FILE)
    store = SqliteWitness(folder / MEMORY_FILE)
    try:
        name, public = store.identity()
        if public != key.public_key:
            raise StateError(
                f"{folder / MEMORY_FILE} is the memory of another key",
                next_step="Put key and memory of one witness together.",
            )
        yield OpenWitness(name, key, store)
    finally:
        store.close()


def trusted_log(vkey: str, *, every_log: bool) -> TrustedLog:
    """Return what a log's verifier key asks to trust.

    Args:
        vkey: `name+hash+key`; the name is the log's origin.
        every_log: whether the key stands for the logs of every region and year of that gateway.

    Raises:
        OperatorError: no verifier key of a log, or an origin that names no region and year.
    """
    try:
        key = parse_vkey(vkey)
    except NoteRefused as error:
        raise OperatorError(
            f"--vkey: {error}", next_step="`verismo ledger status` of the gateway shows it."
        ) from error
    if key.algorithm != ALGORITHM_ED25519:
        raise OperatorError(
            f"{key.name} is the key of a witness", next_step="Name the key of a log."
        )
    return _trusted(key, every_log=every_log)


def policy_logs(file: Path, *, every_log: bool) -> Sequence[TrustedLog]:
    """Return the logs that a policy file names.

    Raises:
        OperatorError: the file cannot be read, or names no log.
    """
    try:
        logs = read_policy(file.read_bytes()).logs
    except (OSError, PolicyRefused) as error:
        raise OperatorError(f"{file}: {error}", next_step="Mend the named line.") from error
    if not logs:
        raise OperatorError(f"{file} names no log", next_step="Use --vkey.")
    return tuple(_trusted(one.key, every_log=every_log) for one in logs)


def serve_witness(folder: Path, host: str, port: int, ready: Callable[[str, str], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        folder: of the witness.
        host: address to bind; it speaks plain HTTP, so put a proxy with TLS before it.
        port: TCP port; 0 lets the system choose.
        ready: told the URL and the verifier key once requests are answered.

    Raises:
        StateError: the folder cannot be used, or the port is taken.
    """
    with open_witness(folder) as opened, _bound(host, port) as listener:
        witness = Witness(opened.store, opened.key, opened.name, lambda: int(time.time()))
        server = HttpServer(witness_app(witness), _LIMITS)
        bound = listener.getsockname()
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        url = f"http://{shown}:{bound[1]}"
        asyncio.run(server.serve(listener, lambda: ready(url, opened.vkey)))


def _trusted(key: VerifierKey, *, every_log: bool) -> TrustedLog:
    if not every_log:
        return TrustedLog(key.name, key.raw)
    prefix, _, rest = key.name.rpartition("/log/")
    region, _, year = rest.partition("/")
    if not prefix or read_log_id(region, year) is None:
        raise OperatorError(
            f"{key.name} does not end in /log/REGION/YEAR",
            next_step="Trust this log alone: leave --every-log out.",
        )
    return TrustedLog(f"{prefix}/log/", key.raw, every_log=True)


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise StateError(
            f"cannot bind {host}:{port}: {error.strerror}",
            next_step="Name another --port, or end the program that has it.",
        ) from error
    return listener
