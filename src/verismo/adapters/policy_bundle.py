"""A policy bundle on disk: which files count, their digest, and the standard archive of them.

Follows OPA's bundle format: `.rego` files, `data.json` files mounted where their folder says, and
`.manifest` in the root. `*_test.rego` files are read but are no part of what decides. Names that
begin with a dot are skipped (mounted volumes keep their history under such names).

Source: OPA documentation, "Bundles", bundle file format.
"""

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from verismo.model.errors import StateError

ROOT = "verismo"
"""The one root of a bundle (decisions 23): packages and data lie under it."""

BUNDLE_BYTES_MAX = 33_554_432
"""All files together; 100,000 document ids in `data.json` are 8 MB."""

BUNDLE_FILES_MAX = 1_000
"""Far over any hand-written policy; stops a wrong folder, such as `/`, early."""


class BundleFile(msgspec.Struct, frozen=True):
    """One file of a bundle.

    Args:
        path: relative to the bundle's folder, with forward slashes.
        content: octets as stored.
    """

    path: str
    content: bytes

    @property
    def is_test(self) -> bool:
        """Whether the file holds tests, which never decide."""
        return self.path.endswith("_test.rego")

    @property
    def is_policy(self) -> bool:
        """Whether the file holds rules that decide."""
        return self.path.endswith(".rego") and not self.is_test

    @property
    def is_data(self) -> bool:
        """Whether the file is a `data.json`."""
        return self.path == "data.json" or self.path.endswith("/data.json")

    def text(self) -> str:
        """Return the content as text.

        Raises:
            StateError: the file is not UTF-8.
        """
        try:
            return self.content.decode()
        except UnicodeDecodeError as error:
            raise StateError(
                f"{self.path}:1: the file is not UTF-8", next_step="Save it as UTF-8."
            ) from error

    def mounted(self) -> str:
        """Return the JSON of a `data.json`, wrapped in an object for each folder it lies in.

        Raises:
            StateError: not a JSON object, or (in the root) a key outside the bundle's root.
        """
        try:
            value = msgspec.json.decode(self.content, type=dict[str, msgspec.Raw])
        except msgspec.MsgspecError as error:
            raise StateError(
                f"{self.path}:1: not a JSON object: {error}",
                next_step="Mend the file; it must be one JSON object.",
            ) from error
        folders = self.path.split("/")[:-1]
        outside = [folders[0]] if folders else list(value)
        if any(name != ROOT for name in outside):
            raise StateError(
                f"{self.path}:1: data outside the root `{ROOT}`: {', '.join(sorted(outside))}",
                next_step=f'Put it under {{"{ROOT}": ...}} or into the folder {ROOT}/.',
            )
        text = self.text()
        for name in reversed(folders):
            text = f"{{{json.dumps(name)}:{text}}}"
        return text


def read_bundle(folder: Path) -> tuple[BundleFile, ...]:
    """Read a bundle's files, tests included, sorted by path.

    Raises:
        StateError: the folder cannot be read, holds too much, data in YAML, or a name that
            cannot be printed.
    """
    files: list[BundleFile] = []
    size_bytes = 0
    for path in _paths(folder):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise StateError(f"cannot read {path}: {error.strerror}") from error
        size_bytes += len(content)
        name = path.relative_to(folder).as_posix()
        if not name.isprintable():
            raise StateError(
                f"a file in {folder} has a name that cannot be printed: {name!r}",
                next_step="Rename it.",
            )
        files.append(BundleFile(name, content))
        if len(files) > BUNDLE_FILES_MAX or size_bytes > BUNDLE_BYTES_MAX:
            raise StateError(
                f"the policy folder {folder} holds more than {BUNDLE_FILES_MAX} files"
                f" or {BUNDLE_BYTES_MAX} bytes",
                next_step="Name the folder that holds only the policy.",
            )
    return tuple(sorted(files, key=lambda file: file.path))


Look = tuple[tuple[str, int, int, int], ...]


def look_at(folder: Path) -> Look:
    """Return name, inode, size and change time of a bundle's files: what a look can tell.

    Reading and hashing a bundle takes milliseconds; a look tells for a fraction of that whether
    there is anything to read. A file changed in place shows by its change time (ctime), which
    nobody can set back.

    Raises:
        StateError: the folder cannot be read.
    """
    try:
        seen = [(str(path), path.stat()) for path in _paths(folder)]
    except OSError as error:
        raise StateError(f"cannot look at {folder}: {error.strerror}") from error
    return tuple((name, at.st_ino, at.st_size, at.st_ctime_ns) for name, at in sorted(seen))


def _paths(folder: Path) -> Sequence[Path]:
    found: list[Path] = []

    def refuse(error: OSError) -> None:
        raise StateError(
            f"cannot read the policy folder {folder}: {error.strerror}",
            next_step="Name a folder of .rego files; `verismo init` writes one.",
        ) from error

    for where, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        here = Path(where)
        for name in names:
            if name in {"data.yaml", "data.yml"}:
                raise StateError(
                    f"{here / name} would not be read: data must be JSON",
                    next_step="Convert it to data.json.",
                )
            is_rego = name.endswith(".rego") and not name.startswith(".")
            if is_rego or name == "data.json" or (name == ".manifest" and here == folder):
                found.append(here / name)
    return found


def bundle_digest(files: Sequence[BundleFile]) -> str:
    """Return the hex SHA-256 that names a bundle.

    Hashed are, sorted by path and each as uint32(length of path) || path || uint64(length of
    content) || content: `.rego` files without `*_test.rego`, `data.json` files and `.manifest`.

    Args:
        files: in any order; files that do not count are passed over.
    """
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.path):
        if file.is_policy or file.is_data or file.path == ".manifest":
            path = file.path.encode()
            digest.update(len(path).to_bytes(4, "big") + path)
            digest.update(len(file.content).to_bytes(8, "big") + file.content)
    return digest.hexdigest()


def bundle_archive(files: Sequence[BundleFile]) -> bytes:
    """Return a standard OPA bundle (`.tar.gz`); the same files give the same bytes.

    The manifest is written anew: its revision is the digest of what was given.
    """
    manifest = {"revision": bundle_digest(files), "roots": [ROOT], "rego_version": 1}
    members = [BundleFile(".manifest", json.dumps(manifest, sort_keys=True).encode())]
    members += [file for file in files if file.is_policy or file.is_data]
    packed = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for file in sorted(members, key=lambda file: file.path):
            header = tarfile.TarInfo("/" + file.path)
            header.size = len(file.content)
            header.mode = 0o644
            archive.addfile(header, io.BytesIO(file.content))
    return packed.getvalue()
