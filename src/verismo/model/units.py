"""Units as types, so that a milliseconds value cannot be passed where micro-dollars are meant."""

from typing import NewType

Milliseconds = NewType("Milliseconds", int)
"""A duration, or a time since the Unix epoch, in whole milliseconds."""

UsdMicros = NewType("UsdMicros", int)
"""Money in millionths of a US dollar. Never a float: it is signed (decisions 1)."""

Ppm = NewType("Ppm", int)
"""A ratio in millionths, 0 to 1,000,000."""
