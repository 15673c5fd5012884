"""Which names may become label values: those of the configuration, and a few that are not in it.

A label value is a time series for ever, and in observe mode a client can invent operations. So
names that the configuration knows keep their own label, the first unknown ones do too, and the
rest share `other`: a client can neither exhaust memory nor crowd out a configured name.
"""

from collections.abc import Iterable

UNKNOWN_NAMES_MAX = 100
"""Unknown names with a label of their own: enough to see what observe mode meets first."""
LABEL_CHARACTERS_MAX = 128
OTHER = "other"


class LabelNames:
    """The label values of one label. Used from one thread."""

    def __init__(self) -> None:
        self._known: frozenset[str] = frozenset()
        self._unknown: set[str] = set()

    def know(self, names: Iterable[str]) -> None:
        """Take the names of a configuration; they replace those of the one before."""
        self._known = frozenset(names)

    def label(self, name: str) -> str:
        """Return the label value for a name: the name itself or `other`."""
        if name in self._known or name in self._unknown:
            return name
        if len(self._unknown) >= UNKNOWN_NAMES_MAX or len(name) > LABEL_CHARACTERS_MAX:
            return OTHER
        # A lone surrogate, which JSON can spell, cannot be written as UTF-8.
        if not name.isascii() and name != name.encode("utf-8", "replace").decode("utf-8"):
            return OTHER
        self._unknown.add(name)
        return name
