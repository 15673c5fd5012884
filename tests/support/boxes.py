"""Boxes of any size and with any inputs, to lay out."""

from collections.abc import Callable

from hypothesis import strategies as st

from verismo.attest.provlayers import Box


@st.composite
def boxes(draw: Callable, most: int = 40, *, with_leaves: bool = False) -> list[Box]:
    """Boxes that use and stand below earlier ones; with leaves, edges leave them anywhere."""
    count = draw(st.integers(1, most))
    made: list[Box] = []
    for position in range(count):
        before = st.lists(st.integers(0, position - 1), max_size=4, unique=True)
        inputs = tuple(draw(before)) if position else ()
        after = draw(st.none() | st.integers(0, position - 1)) if position else None
        width = 2 * draw(st.integers(10, 150))
        leaves = draw(st.none() | st.integers(0, width)) if with_leaves else None
        made.append(Box(width, draw(st.integers(20, 300)), inputs, after, leaves))
    return made
