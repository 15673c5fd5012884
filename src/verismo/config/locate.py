"""Which line of a TOML text a key stands on; tomllib reads values but forgets where they stood.

The scanner follows TOML 1.0's lexical rules over a text that tomllib has already accepted, so it
never judges: it only walks. It keeps one line for each key path and each array element.
"""

import bisect
import tomllib
from collections.abc import Sequence
from typing import Final

KeyPath = tuple[str | int, ...]
"""Table names and keys from the top of the file; an int is the index in an array."""

_BLANK: Final = " \t\r\n"
_BARE_END: Final = ",]}\n#"


class Lines:
    """The lines of every key path in one TOML text.

    Args:
        text: TOML that `tomllib.loads` accepts.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._starts = [0, *(i + 1 for i, char in enumerate(text) if char == "\n")]
        self._lines: dict[KeyPath, int] = {}
        self._counts: dict[KeyPath, int] = {}
        self._scan()

    def of(self, path: Sequence[str | int]) -> int:
        """Return the line of a key path, counted from 1.

        Args:
            path: table names and keys; where the file has not got it, its nearest parent counts.

        Returns:
            The line; 1 if not even the first part is there.
        """
        for length in range(len(path), 0, -1):
            line = self._lines.get(tuple(path[:length]))
            if line is not None:
                return line
        return 1

    def _scan(self) -> None:
        prefix: KeyPath = ()
        while self._skip_blank():
            start = self._at
            if self._text.startswith("[", start):
                prefix = self._header()
            else:
                self._pair(prefix)

    def _header(self) -> KeyPath:
        start = self._at
        is_array = self._text.startswith("[[", start)
        self._at += 2 if is_array else 1
        path = self._resolve(self._keys())
        self._at += 2 if is_array else 1
        if is_array:
            index = self._counts.get(path, 0)
            self._counts[path] = index + 1
            self._note(path, start)
            path = (*path, index)
        self._note(path, start)
        return path

    def _resolve(self, keys: KeyPath) -> KeyPath:
        """Add the index of the newest element wherever a key names an array of tables."""
        path: KeyPath = ()
        for position, key in enumerate(keys):
            path = (*path, key)
            if path in self._counts and position < len(keys) - 1:
                path = (*path, self._counts[path] - 1)
        return path

    def _pair(self, prefix: KeyPath) -> None:
        start = self._at
        path = prefix
        for key in self._keys():
            path = (*path, key)
            self._note(path, start)
        self._at += 1  # the equals sign
        self._value(path)

    def _keys(self) -> KeyPath:
        keys: list[str] = []
        while True:
            self._skip_blank()
            start = self._at
            if self._text[start] in "\"'":
                self._string()
                keys.append(_unquoted(self._text[start : self._at]))
            else:
                while self._text[self._at] not in " \t.=]":
                    self._at += 1
                keys.append(self._text[start : self._at])
            self._skip_blank()
            if self._text[self._at] != ".":
                return tuple(keys)
            self._at += 1

    def _value(self, path: KeyPath) -> None:
        self._skip_blank()
        char = self._text[self._at]
        if char in "\"'":
            self._string()
        elif char == "[":
            self._array(path)
        elif char == "{":
            self._inline_table(path)
        else:
            while self._at < len(self._text) and self._text[self._at] not in _BARE_END:
                self._at += 1

    def _array(self, path: KeyPath) -> None:
        self._at += 1
        index = 0
        while self._skip_blank() and self._text[self._at] != "]":
            self._note((*path, index), self._at)
            self._value((*path, index))
            index += 1
            self._skip_blank()
            if self._text[self._at] == ",":
                self._at += 1
        self._at += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._at += 1
        while self._skip_blank() and self._text[self._at] != "}":
            self._pair(path)
            self._skip_blank()
            if self._text[self._at] == ",":
                self._at += 1
        self._at += 1

    def _string(self) -> None:
        quote = self._text[self._at]
        is_long = self._text.startswith(quote * 3, self._at)
        closing = quote * 3 if is_long else quote
        self._at += len(closing)
        while not self._text.startswith(closing, self._at):
            escaped = quote == '"' and self._text[self._at] == "\\"
            self._at += 2 if escaped else 1
        self._at += len(closing)
        if is_long:  # up to two more quotes belong to the text: """a"""""
            while self._text.startswith(quote, self._at):
                self._at += 1

    def _skip_blank(self) -> bool:
        """Move past white space, line ends and comments; say whether anything is left."""
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == "#":
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
            elif char in _BLANK:
                self._at += 1
            else:
                return True
        return False

    def _note(self, path: KeyPath, at: int) -> None:
        self._lines.setdefault(path, bisect.bisect_right(self._starts, at))


def _unquoted(key: str) -> str:
    (name,) = tomllib.loads(f"{key} = 0")
    return name
