"""The shape of `[archive]` in verismo.toml, and what a checked one is."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from verismo.config.source import Source
from verismo.model.retention import LockMode

ArchiveKind = Literal["folder", "s3", "off"]


class ArchiveTable(msgspec.Struct, frozen=True):
    """Daily rollups, and where each day of the ledger is kept for seven calendar years.

    Args:
        kind: `folder` keeps days in a folder, which is no WORM store; `s3` keeps them in a bucket
            with Object Lock (extra `cluster`); `off` makes rollups and uploads nothing.
        folder: for `folder`, relative to this file; by default `archive` in the data folder.
        bucket: for `s3`, its name; it must have Object Lock.
        region: for `s3`, the bucket's; empty takes the environment's. Credentials come from where
            every AWS client takes them: environment, profile or instance role.
        endpoint: for `s3`, the URL of a store other than AWS.
        prefix: for `s3`, what every object's name begins with, without slashes at its ends.
        mode: `COMPLIANCE` locks for seven calendar years and eight days, and nobody can take that
            back; `GOVERNANCE`, for staging, locks for `governance_days`.
        governance_days: how long `GOVERNANCE` locks after the day's end, in days.
    """

    kind: ArchiveKind = "folder"
    folder: str = ""
    bucket: Annotated[
        str,
        msgspec.Meta(
            pattern=r"^([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])?\Z",
            description="3 to 63 lower-case letters, digits, `.` and `-`",
        ),
    ] = ""
    region: Annotated[
        str, msgspec.Meta(pattern=r"^[a-z0-9-]*\Z", description="lower-case letters, digits, `-`")
    ] = ""
    endpoint: str = ""
    prefix: Annotated[
        str,
        msgspec.Meta(
            pattern=r"^([A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*)?\Z",
            description="letters, digits, `_` and `-`, in parts with `/` between them",
        ),
    ] = ""
    mode: LockMode = "COMPLIANCE"
    governance_days: Annotated[int, msgspec.Meta(ge=1, le=3_650)] = 1


class ArchiveSettings(msgspec.Struct, frozen=True):
    """A checked `[archive]`; see `ArchiveTable`, of which every other field is as it was.

    Args:
        folder: for `folder`, absolute.
    """

    kind: ArchiveKind
    folder: Path
    bucket: str
    region: str
    endpoint: str
    prefix: str
    mode: LockMode
    governance_days: int


def check_archive(table: ArchiveTable, source: Source, root: Path, data: Path) -> ArchiveSettings:
    """Check that an archive has what its kind needs and nothing of another kind.

    Args:
        table: `[archive]`.
        source: the file, which takes the problems.
        root: the folder of the file.
        data: the data folder.
    """
    if table.kind == "s3" and not table.bucket:
        source.error(("archive", "kind"), "s3 needs bucket as well")
    for name in ("bucket", "region", "endpoint", "prefix"):
        if getattr(table, name) and table.kind != "s3":
            source.error(("archive", name), f"is for kind s3; this archive's is {table.kind}")
    if table.folder and table.kind != "folder":
        source.error(("archive", "folder"), f"is for kind folder; this archive's is {table.kind}")
    if table.endpoint and not table.endpoint.startswith(("https://", "http://")):
        source.error(("archive", "endpoint"), "must be a URL: https://s3.example.com")
    return ArchiveSettings(
        kind=table.kind,
        folder=root / table.folder if table.folder else data / "archive",
        bucket=table.bucket,
        region=table.region,
        endpoint=table.endpoint,
        prefix=table.prefix,
        mode=table.mode,
        governance_days=table.governance_days,
    )
