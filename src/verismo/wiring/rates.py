"""Opens the rate limits of a worker, shared with the others where there are others."""

from verismo.adapters.rates_mapped import FILE_NAME, MappedRates
from verismo.config.schema import Config
from verismo.gateway.ratelimit import RateLimiter
from verismo.ports.rates import RateTable
from verismo.wiring.telemetry import run_folder


class Rates:
    """The limiters of one worker, and their end.

    Args:
        config: the validated configuration.

    Raises:
        StateError: the common file cannot be used.
    """

    def __init__(self, config: Config) -> None:
        self._workers = config.listen.workers
        self._table: RateTable | None = None
        if self._workers > 1:
            self._table = MappedRates(run_folder(config.data) / FILE_NAME)

    def limiter(self, kind: str) -> RateLimiter:
        """Return the limiter of one kind of request, such as `calls`."""
        return RateLimiter(self._workers, self._table, kind)

    def close(self) -> None:
        """Close the common file; after the last request."""
        if self._table is not None:
            self._table.close()
