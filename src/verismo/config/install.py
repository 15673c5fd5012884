"""Writes a new configuration folder, and says beforehand what that would overwrite."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from verismo.config.scaffold import Recipe, recipe_for, scaffold
from verismo.config.writing import write_whole
from verismo.model.errors import OperatorError


class Installation(msgspec.Struct, frozen=True):
    """What would happen to a folder.

    Args:
        folder: where.
        files: content by path relative to the folder.
        overwritten: existing files whose content would change.
        stale: files that stand as another provider's samples wrote them and would not fit now.
    """

    folder: Path
    files: dict[str, bytes]
    overwritten: tuple[str, ...]
    stale: tuple[str, ...]


def prepare(folder: Path, recipe: Recipe) -> Installation:
    """Compare a folder with what a recipe would write; changes nothing.

    Args:
        folder: it need not exist.
        recipe: what to set up.

    Raises:
        OperatorError: a path that is needed is not a plain file, or cannot be read.
    """
    if folder.exists() and not folder.is_dir():
        raise OperatorError(f"{folder} is not a folder", next_step="Name another folder.")
    files = scaffold(recipe)
    changed = [n for n, data in files.items() if _content(folder / n) not in (None, data)]
    stale = {
        name
        for name, data in _samples()
        if name.startswith("operations/") and name not in files and _content(folder / name) == data
    }
    return Installation(
        folder=folder,
        files=files,
        overwritten=tuple(sorted(changed)),
        stale=tuple(sorted(stale)),
    )


def install(installation: Installation) -> None:
    """Write every file and remove the stale samples.

    verismo.toml is written last: until then a new folder does not count as a configuration.

    Raises:
        OperatorError: a file cannot be written; run the command again once that is mended.
    """
    for name in installation.stale:
        (installation.folder / name).unlink(missing_ok=True)
    for name in sorted(installation.files, key=lambda name: (name == "verismo.toml", name)):
        write_whole(installation.folder / name, installation.files[name])


def _samples() -> Iterator[tuple[str, bytes]]:
    for provider in ("simulator", "openai", "anthropic"):
        yield from scaffold(recipe_for(provider)).items()


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise OperatorError(
            f"{path} cannot be read: {error.strerror}",
            next_step="Move it away, or name another folder.",
        ) from error
