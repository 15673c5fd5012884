"""The files of one archived day: their names, and the tiles packed so that equal days are equal.

`attest/v1/<origin>/<yyyy>/<mm>/<dd>/` holds `rollup.dsse.json`, `checkpoint`, `keyring.json`,
`tiles-<a>-<b>.tar.gz`, `statements/<tenant handle>/<hh>.ndjson.gz.enc`, `manifest.json`, and where
there are any `checkpoint.witnessed`, `siem-manifest.json` and `logs.json`. In clear lie hashes
alone.
"""

import gzip
import io
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import TypeVar

import msgspec

from verismo.attest.tile import (
    TILE_WIDTH,
    Tile,
    TileRefused,
    encode_bundle,
    entries_path,
    parse_entries_path,
    read_bundle,
    read_tile,
    tiles_between,
)
from verismo.model import canonical
from verismo.model.errors import IntegrityError
from verismo.model.ledger import LogId
from verismo.ports.journal import Record
from verismo.ports.ledger import Run, TileFile, TileReader

ROOT = "attest/v1/"
ROLLUP = "rollup.dsse.json"
CHECKPOINT = "checkpoint"
WITNESSED = "checkpoint.witnessed"
KEYRING = "keyring.json"
SIEM = "siem-manifest.json"
OTHERS = "logs.json"
MANIFEST = "manifest.json"
STATEMENTS = "statements/"
KEPT = frozenset({ROLLUP, CHECKPOINT, WITNESSED, KEYRING, SIEM, OTHERS, MANIFEST})
"""What stays on this machine once a day is in the archive."""

CHUNK_LEAVES = 262_144
"""Leaves in one file of tiles: about 18 MB of hashes, which no level of compression makes smaller;
it is four full tiles of level 1, so that only a day's last file holds partial ones."""
UNPACKED_BYTES_MAX = 268_435_456
"""Of one file of the archive; a forged one must not fill the memory."""
_RUNS = "runs.ndjson"
_GZIP_LEVEL = 1
_place = re.compile(
    r"attest/v1/(?P<origin>.+/log/(?P<region>[^/]+)/(?P<year>[0-9]{4}))/"
    r"(?P<day>[0-9]{4}/[0-9]{2}/[0-9]{2})/(?P<name>.+)"
).fullmatch
_tiles = re.compile(r"tiles-(0|[1-9][0-9]*)-([1-9][0-9]*)\.tar\.gz").fullmatch


class ArchivedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a manifest."""

    name: str
    sha256: str
    bytes: int


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a day holds; it is uploaded last, so that a day with a manifest is whole."""

    v: int
    origin: str
    day: str
    files: tuple[ArchivedFile, ...]


class OtherLog(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far another log of the ledger was at a day's end.

    Args:
        origin: its name.
        size: of its tree.
        root: hex.
    """

    origin: str
    size: int
    root: str


class _Others(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    v: int
    logs: tuple[OtherLog, ...]


Versioned = TypeVar("Versioned", Manifest, _Others)


class ArchivedRecord(msgspec.Struct, frozen=True):
    """One line of a statements file, before it is encrypted: a leaf with all that it commits to."""

    index: int
    source: str
    leaf_type: int
    record: Record


class Place(msgspec.Struct, frozen=True):
    """Where an object of the archive belongs."""

    origin: str
    log: LogId
    day: date
    name: str


class _Run(msgspec.Struct, frozen=True, array_like=True):
    source: str
    first_seq: int
    count: int
    first_index: int


class TileChunk(msgspec.Struct, frozen=True):
    """What one file of tiles held: published files, and where its leaves came from."""

    files: tuple[TileFile, ...]
    runs: tuple[Run, ...]


def day_prefix(origin: str, day: date) -> str:
    """Return what the names of a day begin with, slash included."""
    return f"{ROOT}{origin}/{day.year:04d}/{day.month:02d}/{day.day:02d}/"


def read_place(name: str) -> Place | None:
    """Return where an object belongs, None if it is not of an archived day."""
    found = _place(name)
    if found is None:
        return None
    try:
        day = date.fromisoformat(found["day"].replace("/", "-"))
    except ValueError:
        return None
    return Place(found["origin"], LogId(found["region"], int(found["year"])), day, found["name"])


def manifest(origin: str, day: date, digests: Mapping[str, tuple[str, int]]) -> bytes:
    """Return the manifest of files given by name, digest and size."""
    files = tuple(ArchivedFile(name, *digests[name]) for name in sorted(digests))
    return canonical.encode(Manifest(1, origin, day.isoformat(), files))


def read_manifest(data: bytes) -> Manifest:
    """Read a manifest.

    Raises:
        IntegrityError: it is none, or of another version.
    """
    return _read(data, Manifest, MANIFEST)


def others(logs: Sequence[OtherLog]) -> bytes:
    """Return the document of the ledger's other logs."""
    return canonical.encode(_Others(1, tuple(sorted(logs, key=lambda log: log.origin))))


def read_others(data: bytes) -> tuple[OtherLog, ...]:
    """Read what a day tells of the other logs.

    Raises:
        IntegrityError: it is none, or of another version.
    """
    return _read(data, _Others, OTHERS).logs


def _read(data: bytes, kind: type[Versioned], name: str) -> Versioned:
    try:
        found = canonical.decode(data, kind)
    except canonical.NotCanonical as error:
        raise IntegrityError(f"{name} of a day is damaged: {error}") from error
    if found.v != 1:
        raise IntegrityError(f"{name} of version {found.v}; this program knows 1")
    return found


def chunks(first: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges of leaves that files of tiles hold, cut at multiples of `CHUNK_LEAVES`."""
    begin = first
    while begin < size:
        end = min(size, (begin // CHUNK_LEAVES + 1) * CHUNK_LEAVES)
        yield begin, end
        begin = end


def tiles_name(begin: int, end: int) -> str:
    """Return the name of the file with the leaves from `begin` to before `end`."""
    return f"tiles-{begin}-{end}.tar.gz"


def tiles_range(name: str) -> tuple[int, int] | None:
    """Return the leaves that a file of tiles holds; None if the name is not of one."""
    found = _tiles(name)
    return None if found is None else (int(found[1]), int(found[2]))


def pack_tiles(files: Sequence[TileFile], runs: Sequence[Run]) -> bytes:
    """Pack tiles and the origins of their leaves; the same content gives the same bytes."""
    lines = [_Run(run.source, run.first_seq, run.count, run.first_index) for run in runs]
    content = {file.path: file.content for file in files}
    content[_RUNS] = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(content):
            # No time, owner or mode of this machine: TarInfo's own are zeros.
            member = tarfile.TarInfo(path)
            member.size = len(content[path])
            tar.addfile(member, io.BytesIO(content[path]))
    return gzip.compress(packed.getvalue(), _GZIP_LEVEL, mtime=0)


def unpack_tiles(data: bytes, log: LogId) -> TileChunk:
    """Unpack what `pack_tiles` made.

    Raises:
        IntegrityError: damaged, or it holds something else.
    """
    files: list[TileFile] = []
    runs: tuple[Run, ...] = ()
    try:
        with tarfile.open(fileobj=io.BytesIO(gunzip(data)), mode="r:") as tar:
            for member in tar:
                opened = tar.extractfile(member) if member.isreg() else None
                if opened is None:
                    raise IntegrityError(f"a file of tiles holds {member.name[:64]!r}")
                content = opened.read()
                if member.name == _RUNS:
                    runs = _read_runs(content, log)
                else:
                    _check_path(member.name)
                    files.append(TileFile(member.name, content))
    except (tarfile.TarError, TileRefused, msgspec.MsgspecError, EOFError) as error:
        raise IntegrityError(f"a file of tiles is damaged: {error}") from error
    return TileChunk(tuple(files), runs)


def pack_lines(lines: Iterable[bytes]) -> bytes:
    """Pack JSON lines."""
    return gzip.compress(b"".join(lines), mtime=0)


def record_line(record: ArchivedRecord) -> bytes:
    """Return a record as one line of JSON."""
    return msgspec.json.encode(record) + b"\n"


def unpack_records(data: bytes) -> list[ArchivedRecord]:
    """Unpack a decrypted statements file.

    Raises:
        IntegrityError: damaged.
    """
    try:
        return [
            msgspec.json.decode(line, type=ArchivedRecord) for line in gunzip(data).splitlines()
        ]
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise IntegrityError(f"a statements file is damaged: {error}") from error


def gunzip(data: bytes) -> bytes:
    """Unpack gzip within a limit.

    Raises:
        IntegrityError: damaged, or larger than anything that was packed here.
    """
    inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        content = inflater.decompress(data, UNPACKED_BYTES_MAX)
    except zlib.error as error:
        raise IntegrityError(f"a file of the archive is damaged: {error}") from error
    if not inflater.eof or inflater.unused_data:
        raise IntegrityError("a file of the archive is cut off, or larger than any of ours")
    return content


def published_files(
    tiles: TileReader, log: LogId, first: int, end: int, *, is_last: bool
) -> list[TileFile]:
    """Return the tiles and bundles that the leaves from `first` to before `end` completed.

    Args:
        tiles: what is published.
        log: which log.
        first: first leaf.
        end: after the last leaf.
        is_last: with the partial ones of the tree of `end` leaves, which its root needs.

    Raises:
        IntegrityError: a tile is not there.
    """
    found: list[TileFile] = []
    for tile in tiles_between(first, end):
        if tile.width == TILE_WIDTH or is_last:
            found.append(TileFile(tile.path, read_hashes(tiles, log, tile)))
            if tile.level == 0:
                path = entries_path(tile.index, tile.width)
                bundle = read_entries(tiles, log, tile.index, tile.width)
                found.append(TileFile(path, encode_bundle(bundle)))
    return found


def read_hashes(tiles: TileReader, log: LogId, tile: Tile) -> bytes:
    """Return a tile's bytes; a partial one that is gone is cut from the full one.

    Raises:
        IntegrityError: neither is there, or it is damaged.
    """
    try:
        content = tiles.read(log, tile.path)
        if content is None and tile.width < TILE_WIDTH:
            content = tiles.read(log, tile.full.path)
            if content is not None:
                return b"".join(read_tile(content, TILE_WIDTH)[: tile.width])
        if content is not None:
            return b"".join(read_tile(content, tile.width))
    except TileRefused as error:
        raise IntegrityError(f"{log.path}/{tile.path} is damaged: {error}") from error
    raise IntegrityError(f"{log.path}/{tile.path} is missing from the published log")


def read_entries(tiles: TileReader, log: LogId, index: int, width: int) -> tuple[bytes, ...]:
    """Return the first entries of a bundle, from the full one where the partial one is gone.

    Raises:
        IntegrityError: neither is there, or it is damaged.
    """
    path = entries_path(index, width)
    content = tiles.read(log, path)
    if content is None:
        content = tiles.read(log, entries_path(index))
    if content is None:
        raise IntegrityError(f"{log.path}/{path} is missing from the published log")
    try:
        entries = read_bundle(content)[:width]
    except TileRefused as error:
        raise IntegrityError(f"{log.path}/{path} is damaged: {error}") from error
    if len(entries) != width:
        raise IntegrityError(f"{log.path}/{path} has {len(entries)} entries")
    return entries


def _check_path(path: str) -> None:
    if path.startswith("tile/entries/"):
        parse_entries_path(path)
    else:
        Tile.from_path(path)


def _read_runs(content: bytes, log: LogId) -> tuple[Run, ...]:
    found = [msgspec.json.decode(line, type=_Run) for line in content.splitlines()]
    return tuple(Run(one.source, one.first_seq, one.count, log, one.first_index) for one in found)
