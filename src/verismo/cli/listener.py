"""The public listener: its address as the command line gives it, and its socket."""

import errno
import socket
from pathlib import Path

import msgspec

from verismo.config.schema import Config, Listen
from verismo.model.errors import StateError


def hold_address(listen: Listen) -> socket.socket:
    """Return a socket that holds the public address for this program and its workers.

    Ports that are shared (SO_REUSEPORT) are shared with any program of this user, so that a second
    instance would take half of the first one's requests. One attempt that shares nothing finds
    every other program; without SO_REUSEADDR the held port then is found by others too.

    Raises:
        StateError: the port is taken.
    """
    probe = bind_address(listen, socket.SO_REUSEADDR)
    probe.close()
    try:
        return _bind(listen, socket.SO_REUSEPORT)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise _unbindable(listen, error) from error
    # Only connections that another program has closed are left there.
    return bind_address(listen, socket.SO_REUSEADDR, socket.SO_REUSEPORT)


def bind_address(listen: Listen, *options: int) -> socket.socket:
    """Return a socket bound to the public address.

    Raises:
        StateError: the port is taken.
    """
    try:
        return _bind(listen, *options)
    except OSError as error:
        raise _unbindable(listen, error) from error


def _bind(listen: Listen, *options: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        for option in options:
            listener.setsockopt(socket.SOL_SOCKET, option, 1)
        listener.bind((listen.host, listen.port))
    except OSError:
        listener.close()
        raise
    return listener


def _unbindable(listen: Listen, error: OSError) -> StateError:
    is_taken = error.errno == errno.EADDRINUSE
    reason = "the port is taken" if is_taken else error.strerror
    return StateError(
        f"cannot bind {listen.host}:{listen.port}: {reason}",
        next_step="Choose another port with --port, or end the program that has it.",
    )


def with_listener(
    config: Config, host: str | None, port: int | None, workers: int | None
) -> Config:
    """Return the configuration with what the command line says about the listener."""
    listen = config.listen
    changed = {
        "host": listen.host if host is None else host,
        "port": listen.port if port is None else port,
        "workers": listen.workers if workers is None else workers,
    }
    return msgspec.structs.replace(config, listen=msgspec.structs.replace(listen, **changed))


def at_data(config: Config, data: Path) -> Config:
    """Return the configuration with another data folder."""
    return msgspec.structs.replace(config, data=data)


def base_url(config: Config) -> str:
    """Return the public base URL as a client on this machine would use it."""
    scheme = "https" if config.listen.tls_cert is not None else "http"
    host = "127.0.0.1" if config.listen.host in ("", "0.0.0.0") else config.listen.host
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{config.listen.port}"
