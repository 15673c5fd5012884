"""The public port: held for this program, found taken whoever has it; and what ends the whole."""

import asyncio
import socket
import sys
from collections.abc import Iterator

import msgspec
import pytest

from verismo.cli import serve as serve_module
from verismo.cli.listener import bind_address, hold_address
from verismo.config.install import install, prepare
from verismo.config.load import load_config
from verismo.config.scaffold import recipe_for
from verismo.config.schema import Listen
from verismo.control.supervisor import Child, Supervisor
from verismo.model.errors import OperatorError, StateError

READY = "import os, sys, time; os.write(int(sys.argv[-1]), b'1'); time.sleep(60)"
WORKER = (socket.SO_REUSEADDR, socket.SO_REUSEPORT)


@pytest.fixture
def listen(tmp_path) -> Listen:
    install(prepare(tmp_path, recipe_for("simulator")))
    listen = load_config(tmp_path / "verismo.toml").listen
    return msgspec.structs.replace(listen, host="127.0.0.1", port=0)


@pytest.fixture
def held(listen: Listen) -> Iterator[Listen]:
    """An address that one instance holds; none of its workers listens."""
    with hold_address(listen) as holding:
        yield msgspec.structs.replace(listen, port=holding.getsockname()[1])


def test_second_instance_cannot_share_a_held_port(held: Listen):
    with pytest.raises(StateError, match="the port is taken") as raised:
        hold_address(held)
    assert "--port" in raised.value.advice


def test_second_instance_cannot_share_the_port_of_a_listening_worker(held: Listen):
    with bind_address(held, *WORKER) as worker:
        worker.listen()
        with pytest.raises(StateError, match="the port is taken"):
            hold_address(held)


def test_workers_share_the_held_port(held: Listen):
    with bind_address(held, *WORKER) as first, bind_address(held, *WORKER) as second:
        first.listen()
        second.listen()
        socket.create_connection((held.host, held.port)).close()


@pytest.mark.parametrize("options", [(socket.SO_REUSEADDR,), WORKER], ids=["alone", "shared"])
def test_port_with_connections_that_were_just_closed_can_be_held(
    listen: Listen, options: tuple[int, ...]
):
    with bind_address(listen, *options) as before:
        before.listen()
        address = before.getsockname()
        with socket.create_connection(address) as client:
            accepted, _ = before.accept()
            accepted.close()  # the side that closes first keeps the address for a minute
            assert client.recv(1) == b""
    hold_address(msgspec.structs.replace(listen, port=address[1])).close()


def test_address_of_another_machine_is_refused_with_a_next_step(listen: Listen):
    with pytest.raises(StateError, match="cannot bind 192\\.0\\.2\\.1"):
        hold_address(msgspec.structs.replace(listen, host="192.0.2.1"))


def test_policy_that_is_refused_leaves_the_folder_as_it_was(verismo, initialised):
    (initialised / "policy" / "bad.rego").write_text("package verismo.bad\nx { true }\n")
    before = sorted(initialised.rglob("*"))
    outcome = verismo("serve", "--port", 0)
    assert outcome.code == 2
    assert "bad.rego:2:" in outcome.err
    assert sorted(initialised.rglob("*")) == before


@pytest.fixture
async def running(monkeypatch: pytest.MonkeyPatch):
    """Runs the whole with one child."""
    monkeypatch.setattr(serve_module, "supervise", lambda _, beside: Supervisor(beside, 1))

    async def run(ready, code: str = READY) -> int:
        child = Child("one", (sys.executable, "-S", "-c", code))
        return await asyncio.wait_for(serve_module._run(None, ready, (child,)), 10)

    return run


async def test_announcement_that_fails_ends_the_whole_with_1(running, capsys):
    async def ready(config, supervisor) -> None:
        raise OperatorError("the call failed", next_step="Look at the log.")

    assert await running(ready) == 1
    assert capsys.readouterr().err == "error: the call failed\nnext:  Look at the log.\n"


async def test_mistake_in_the_announcement_ends_the_whole_and_is_raised(running):
    async def ready(config, supervisor) -> None:
        raise LookupError("a mistake of ours")

    with pytest.raises(LookupError):
        await running(ready)


async def test_announcement_says_the_exit_code_itself(running):
    async def ready(config, supervisor) -> None:
        supervisor.end(0)

    assert await running(ready) == 0


async def test_child_that_never_becomes_ready_announces_nothing(running):
    announced: list[object] = []

    async def ready(config, supervisor) -> None:
        announced.append(config)

    assert await running(ready, "import sys; sys.exit(2)") == 2
    assert announced == []
