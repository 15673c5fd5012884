"""Metrics that others publish at a URL."""

from typing import Protocol

from verismo.model.errors import StateError


class ScrapeFailed(StateError):
    """A URL gave no metrics now; it may at the next try."""


class MetricsReader(Protocol):
    """Reads the text of a metrics page. Nothing is kept and nothing tried twice."""

    async def read(self, url: str) -> bytes:
        """Return the body of the page.

        Raises:
            ScrapeFailed: it could not be had, or is too large.
        """
        ...
