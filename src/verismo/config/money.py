"""US dollars as written in a file, to whole micros, exactly or not at all."""

from decimal import Decimal

from verismo.config.locate import KeyPath
from verismo.config.source import Source
from verismo.model.units import UsdMicros

USD_MAX = 1_000_000_000
"""A billion dollars: its micros still fit the integers that may be signed (below 2**53)."""


def usd_micros(amount: Decimal, source: Source, path: KeyPath) -> UsdMicros:
    """Convert dollars to micros; a problem is noted and counts as 0.

    Args:
        amount: dollars, 0 to a billion, at most six decimal places.
        source: takes the problem.
        path: where the amount stands.
    """
    if not amount.is_finite() or not 0 <= amount <= USD_MAX:
        source.error(path, f"must be from 0 to {USD_MAX} US dollars")
        return UsdMicros(0)
    micros = amount.scaleb(6)
    if micros != micros.to_integral_value():
        source.error(path, "has more than six decimal places; a millionth of a dollar is the unit")
        return UsdMicros(0)
    return UsdMicros(int(micros))
